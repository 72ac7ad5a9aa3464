"""Drafts of requests: what a member typed, kept for a quarter of an hour behind a form or a button."""

from typing import Any

from ulid import ULID

from bot.core.catalog import RequestedOptions
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.jobs import MINUTE, Job
from bot.core.request_draft import RequestDraft
from bot.jobs.availability import Availability
from bot.store import drafts

DRAFT_LIFE = 15 * MINUTE


class Drafts:
    def __init__(self, stored: drafts.Drafts, *, availability: Availability, clock: Clock) -> None:
        self._stored = stored
        self._availability = availability
        self._clock = clock

    async def keep(self, draft: RequestDraft, *, user_id: int) -> str:
        """Keep *draft*; returns the id that names it in a button or a form."""
        draft_id = str(ULID())
        expires_at = self._clock() + DRAFT_LIFE
        await self._stored.keep(draft_id, draft.dump(), user_id=user_id, expires_at=expires_at)
        return draft_id

    async def load(self, draft_id: str, *, user_id: int) -> RequestDraft:
        """A member's own draft; `UserError` when it has expired."""
        body = await self._stored.load(draft_id, user_id=user_id, now=self._clock())
        if body is None:
            raise UserError("draft.expired")
        return RequestDraft.load(body)

    def repeat(self, job: Job) -> RequestDraft:
        """The request of *job* once more, with a new seed and without options that are no longer offered."""
        options: dict[str, Any] = {name: value for name, value in job.request.options.items() if name != "seed"}
        return RequestDraft(
            verb=job.request.verb,
            prompt=job.request.prompt,
            model=job.request.model,
            asked=self._availability.offered.still_offered(
                job.request.model, job.request.verb, RequestedOptions(**options)
            ),
            references=tuple(each.unchecked for each in job.request.references),
            parent_id=job.id,
        )
