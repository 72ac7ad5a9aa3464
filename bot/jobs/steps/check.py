"""Checks the whole reference pictures before the paid request, so that unreadable ones cost nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from bot.core.errors import DownloadFailed
from bot.core.jobs import Job, Reference, State
from bot.core.polling import backoff
from bot.core.references import ReferenceLimits
from bot.jobs.steps.context import StepContext

MAX_ATTEMPTS = 3  # at pictures that take too long to decode
RETRY_DELAY = 2.0  # seconds


class CheckReferences(Protocol):
    async def __call__(
        self, references: Sequence[Reference], *, limits: ReferenceLimits, job_id: str
    ) -> tuple[Reference, ...]: ...  # fmt: skip


class Check:
    def __init__(self, context: StepContext, check_references: CheckReferences) -> None:
        self._context = context
        self._check_references = check_references

    async def run(self, job: Job) -> int | None:
        at = self._context
        limits = at.catalog.reference_limits(job.request)
        try:
            references = await self._check_references(job.request.references, limits=limits, job_id=job.id)
        except DownloadFailed as exc:  # not a fault of the pictures; the job's deadline ends the retries
            at.outages.seen(exc)
            return at.after(backoff(at.attempt(job, "check"), retry_after=None, jitter=at.random()))
        except TimeoutError:
            if at.attempt(job, "check slowly") < MAX_ATTEMPTS:
                return at.after(RETRY_DELAY)
            await at.end(job, State.FAILED, reason="bad_input_picture")
            return None
        request = replace(job.request, references=references)
        if any(each.fault for each in references):
            await at.end(job, State.FAILED, reason="bad_input_picture", request=request)
            return None
        await at.store.update(job, now=at.clock(), checked=True, request=request, due_at=at.clock())
        return at.clock()
