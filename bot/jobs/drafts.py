"""Drafts of requests: what a member typed, kept for a quarter of an hour behind a form or a button."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ulid import ULID

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.jobs import MINUTE, ImageRequest, Job, Reference, Verb
from bot.core.request_draft import RequestDraft
from bot.jobs.availability import Availability
from bot.store import drafts

DRAFT_LIFE = 15 * MINUTE
# What the model is told where no seed makes the same picture again.
UPSCALE_PROMPT = "Recreate this image exactly as it is, with finer detail. Change nothing else."


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
            parent_id=job.parent_id if job.parent_picture else job.id,  # another edit of the same picture
            source=job.source,
            style=job.request.style,
        )

    def variation(self, job: Job, picture: Reference, *, source: str | None) -> RequestDraft:
        """An edit of a result of *job* with the same words and options, and a new seed; *source* as `Job.source`."""
        draft = self._edit(job, picture, prompt=job.request.prompt, options=job.request.options, source=source)
        return replace(draft, style=job.request.style)

    def edit(self, job: Job, picture: Reference, *, prompt: str, source: str | None) -> RequestDraft:
        """An edit of a result of *job* with other words and the same model, if it edits."""
        return self._edit(job, picture, prompt=prompt, options={}, source=source)

    def upscale(self, job: Job, picture: Reference | None, *, resolution: str, source: str | None) -> RequestDraft:
        """A result of *job* in a larger *resolution*: with the same words and seed, or as an edit of the *picture*."""
        request = job.request
        if can_upscale_by_seed(request, self._availability.offered):
            asked = RequestedOptions(**{**request.options, "resolution": resolution})  # type: ignore[arg-type]
            words = {"verb": request.verb, "prompt": request.prompt, "model": request.model}
            return RequestDraft(**words, asked=asked, parent_id=job.id, source=source, style=request.style)  # type: ignore[arg-type]
        if picture is None:
            raise UserError("references.none_in_message")
        options = {**request.options, "count": 1, "resolution": resolution}
        return self._edit(job, picture, prompt=UPSCALE_PROMPT, options=options, source=source)

    def _edit(
        self, job: Job, picture: Reference, *, prompt: str, options: Mapping[str, Any], source: str | None
    ) -> RequestDraft:
        offered = self._availability.offered
        model = offered.edit_model(job.request.model)
        if model is None:
            raise UserError("option.no_host")
        asked = RequestedOptions(**{name: value for name, value in options.items() if name != "seed"})
        return RequestDraft(
            verb=Verb.EDIT,
            prompt=prompt,
            model=model,
            asked=offered.still_offered(model, Verb.EDIT, asked),
            references=(picture,),
            parent_id=job.id,
            source=source,
        )


def can_upscale_by_seed(request: ImageRequest, offered: Catalog) -> bool:
    """Whether the same words and seed make the same picture again, without an edit of it."""
    model = offered.models.get(request.model)
    endpoint = model.endpoint(request.verb) if model else None
    return (
        request.verb is Verb.IMAGINE
        and request.count == 1
        and "seed" in request.options
        and endpoint is not None
        and endpoint.options.seed is not None
    )
