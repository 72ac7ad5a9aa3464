"""What each step does to a job: one exchange with the outside, then one guarded write of what came of it.

Every step returns when to look at the job next (UTC milliseconds), or None when nobody need look.
"""

from dataclasses import replace
from typing import Any

from bot.core.errors import (
    AnswerUnreadable,
    DeliverLater,
    DownloadFailed,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    RunLost,
)
from bot.core.jobs import MINUTE, WAIT_LIMIT, WATCH_LIMIT, Cancel, Job, Observation, State, is_news
from bot.core.polling import WATCH_DELAY, backoff, poll_delay
from bot.jobs.steps.submit import Submits
from bot.providers.base import CancelOutcome

CANCEL_TRIES = 3
CONFIRM_TRIES = 3
CHECK_TRIES = 3
BLOCKED_EVERY = 60.0
UNREADABLE_EVERY = 15.0
UNREADABLE_LIMIT = 2 * MINUTE  # how long answers of an unknown form may come before the job ends
AGAIN = 2.0  # seconds until an unfinished collection, or an unconfirmed card, is tried again; longer each time


class Steps(Submits):
    # --- before the host

    async def confirm(self, job: Job) -> int | None:
        """Find out whether Discord shows the card of a job whose acknowledgement was never recorded."""
        record = await self._store.job_record(job.id)
        now = self._clock()
        if record is None or record.reply.token is None or now >= job.created_at + WAIT_LIMIT:
            await self._end(job, State.CANCELLED, reason="unacknowledged")
            return None
        try:
            found = await self._find_reply(record.reply)
        except DeliverLater as exc:
            return self._in(exc.retry_after or AGAIN * self._again(job, "confirm"))
        if found is not None:
            await self._store.acknowledged(job.id, message_id=found[0], ephemeral=found[1], now=now)
            return now
        if (looks := self._again(job, "confirm")) < CONFIRM_TRIES:  # Discord has denied messages that were there
            return self._in(AGAIN * looks)
        await self._end(job, State.CANCELLED, reason="unacknowledged")
        return None

    async def check(self, job: Job) -> int | None:
        """Read the reference pictures whole: what no model can read is not paid for."""
        limits = self._catalog.reference_limits(job.request)
        try:
            references = await self._check_references(job.request.references, limits=limits)
        except DownloadFailed as exc:  # that says nothing of the pictures: `expire` ends the waiting
            self._service.outages.seen(exc)
            return self._in(backoff(self._again(job, "check"), retry_after=None, jitter=self._draw()))
        except TimeoutError:
            if self._again(job, "check slowly") < CHECK_TRIES:
                return self._in(AGAIN)
            await self._end(job, State.FAILED, reason="bad_input_picture")
            return None
        request = replace(job.request, references=references)
        if any(each.fault for each in references):
            await self._end(job, State.FAILED, reason="bad_input_picture", request=request)
            return None
        await self._store.update(job, now=self._clock(), checked=True, request=request, due_at=self._clock())
        return self._clock()

    async def expire(self, job: Job) -> int | None:
        now = self._clock()
        links_died = job.inputs_expire_at is not None and now >= job.inputs_expire_at
        reason = (
            "inputs_expired" if links_died else self._service.availability.outages.get(job.provider, "expired_waiting")
        )
        await self._end(job, State.FAILED, reason=reason)
        return None

    # --- at the host

    async def poll(self, job: Job) -> int | None:
        """Ask what the run has come to, and write it down if that is news."""
        if (until := self._hosts.retry_after_until(job.provider, "poll")) > self._clock():
            return until + int(self._draw() * 1000)
        try:
            seen = await self._observe(job)
        except AnswerUnreadable as exc:
            return await self._unreadable(await self._begun(job, exc), exc)
        except ProviderUnavailable as exc:
            await self._begun(job, exc)
            return self._in(await self._failed(job, "poll", exc))
        except ProviderPaused as exc:
            await self._begun(job, exc)
            await self._hosts.on_paused(job.provider, exc)
            return self._in(BLOCKED_EVERY)
        except RunLost as exc:
            self._say(job, "run_lost", exc)
            await self._end(job, State.FAILED, reason="run_lost", may_be_billed=True)
            return None
        await self._hosts.on_answered(job.provider, job_id=job.id)
        self._tries.pop((job.id, "poll"), None)
        if not is_news(job, seen):
            return await self._wait(job)
        return await self._observed(job, seen)

    async def _observe(self, job: Job) -> Observation:
        """What its host says of a job's run; only answers of an unknown form, one after the other, are too many."""
        assert job.run_id is not None
        try:
            seen = await self._host(job).observe(job.run_id)
        except AnswerUnreadable:
            raise
        except ProviderError:
            self._unreadable_since.pop(job.id, None)
            raise
        self._unreadable_since.pop(job.id, None)
        return seen

    async def _begun(self, job: Job, exc: ProviderError) -> Job:
        """*job* as it is now: what its host calls finished is queued no more, though its result cannot be had yet."""
        if not exc.finished or job.state is not State.QUEUED:
            return job
        now = self._clock()
        return await self._store.move(job, State.RUNNING, now=now, due_at=now, started_at=now) or job

    async def _unreadable(self, job: Job, exc: AnswerUnreadable) -> int | None:
        """Ask again for a while; if the form stays unknown, the job ends, free unless a picture is in hand."""
        now = self._clock()
        if job.id not in self._unreadable_since:
            self._say(job, "answer_unreadable", exc)
        if now - self._unreadable_since.setdefault(job.id, now) < UNREADABLE_LIMIT:
            return self._in(UNREADABLE_EVERY)
        await self._service.availability.report_unreadable(job.provider, exc.shape)
        return await self._end_with_what_is_there(job, reason="unreadable")

    async def _wait(self, job: Job) -> int:
        age = (self._clock() - (job.submitted_at or job.changed_at)) / 1000
        timing = self._timing(job)
        if age >= timing.soft and job.id not in self._slow:
            self._slow.add(job.id)
            await self._store.request_redraw([job.id], now=self._clock())
        return self._in(poll_delay(timing, age=age, jitter=self._draw()))

    async def _observed(self, job: Job, seen: Observation) -> int | None:
        now = self._clock()
        if seen.reason:
            self._say(job, seen.state.value, RuntimeError(seen.reason))
        if seen.state.is_final:
            await self._end_as_seen(job, seen)
            return None
        due_at = now if seen.state is State.COLLECTING else await self._wait(job)
        started: dict[str, Any] = {"started_at": now} if seen.state is State.RUNNING else {}
        flagged = bool(seen.flagged)
        moved = await self._store.move(
            job, seen.state, now=now, due_at=due_at, position=seen.position, flagged=flagged, **started
        )
        if moved is not None and moved.state is State.COLLECTING:
            return await self.collect(moved, seen=seen)
        return due_at

    async def _end_as_seen(self, job: Job, seen: Observation) -> None:
        reasons = {State.FAILED: "no_output" if seen.empty else "host_failed", State.REFUSED: "refused"}
        reason = reasons.get(seen.state, None if job.cancel in (Cancel.ASKED, Cancel.WANTED) else "cancelled_by_host")
        await self._end(
            job,
            seen.state,
            reason=reason,
            cost=seen.cost_micro_usd,
            # Nobody promises that failures are free, nor runs that had begun: seldom seen where we are called back.
            may_be_billed=seen.state is not State.CANCELLED or bool(job.started_at or self._callback_url(job)),
        )

    async def cancel(self, job: Job) -> int | None:
        """Ask the host to stop; what its next report says decides, not its answer. What it never had just ends."""
        if job.run_id is None:
            await self._end(job, State.CANCELLED, reason=None)
            return None
        try:
            outcome = await self._host(job).cancel(job.run_id)
        except (ProviderUnavailable, ProviderPaused):
            outcome = CancelOutcome.UNKNOWN
        if outcome is CancelOutcome.UNKNOWN and self._again(job, "cancel") < CANCEL_TRIES:
            return await self.poll(job)
        answer = Cancel.ASKED if outcome is CancelOutcome.CANCELLED else Cancel.TOO_LATE
        noted = await self._store.update(job, now=self._clock(), show=True, cancel=answer, due_at=self._clock())
        return await self.poll(noted) if noted is not None else self._clock()

    # --- at the end

    async def collect(self, job: Job, *, seen: Observation | None = None) -> int | None:
        """Bring the pictures to disk; then, and only then, settle for those in hand."""
        if seen is None:
            try:
                seen = await self._observe(job)
            except AnswerUnreadable as exc:
                return await self._unreadable(job, exc)
            except ProviderUnavailable as exc:
                return self._in(await self._failed(job, "collect", exc))
            except ProviderPaused:
                return self._in(BLOCKED_EVERY)
            except RunLost:
                seen = Observation(State.COLLECTING)
        if seen.state in (State.QUEUED, State.RUNNING):  # not everywhere at the host is it known to be ready
            return self._in(AGAIN * self._again(job, "collect"))
        result = await self._collector.download(job, seen.image_urls)
        if result.blocked_host is not None:
            await self._service.availability.report_blocked_host(job, result.blocked_host)
            return self._in(BLOCKED_EVERY)
        if result.incomplete:
            return self._in(AGAIN * self._again(job, "collect"))
        await self._finish(job, result.downloaded, cost=seen.cost_micro_usd)
        return None

    async def _finish(self, job: Job, downloaded: int, *, cost: int | None) -> None:
        self._service.availability.blocked.pop(job.id, None)
        state = State.SUCCEEDED if downloaded else State.FAILED
        reason = None if downloaded else "no_pictures"
        await self._end(job, state, reason=reason, images=downloaded, cost=cost, may_be_billed=True)

    async def give_up(self, job: Job) -> int | None:
        """Past the deadline: the member gets everything back, and a late picture is a present."""
        if job.state is State.COLLECTING:
            return await self._give_up_collecting(job)
        return await self._end_watched(job, reason="unknown" if job.state is State.UNKNOWN else "gave_up")

    async def _give_up_collecting(self, job: Job) -> int | None:
        blocked = job.id in self._service.availability.blocked
        return await self._end_with_what_is_there(job, reason="result_host_blocked" if blocked else "no_pictures")

    async def _end_with_what_is_there(self, job: Job, *, reason: str) -> int | None:
        self._service.availability.blocked.pop(job.id, None)
        record = await self._store.job_record(job.id)
        if record is not None and record.pictures:
            await self._finish(job, len(record.pictures), cost=None)
            return None
        return await self._end_watched(job, reason=reason)

    async def _end_watched(self, job: Job, *, reason: str) -> int | None:
        """End free for the member, but go on looking where there is something to look at."""
        host = self._providers.get(job.provider)
        watched: dict[str, int] = {}
        if job.run_id is not None or (host is not None and host.searchable):
            watched = {"watch_until": self._clock() + WATCH_LIMIT, "due_at": self._in(WATCH_DELAY)}
        await self._end(job, State.FAILED, reason=reason, may_be_billed=True, **watched)
        return watched.get("due_at")

    async def watch(self, job: Job) -> int | None:
        """Look at a run we gave up on, or never found: its picture, should it still come, is delivered free."""
        if job.run_id is None:
            return await self._watch_for_run(job)
        now = self._clock()
        try:
            seen = await self._host(job).observe(job.run_id)
        except (ProviderUnavailable, ProviderPaused, AnswerUnreadable):
            return self._in(WATCH_DELAY)
        except RunLost:
            seen = Observation(State.FAILED)
        if seen.state in (State.QUEUED, State.RUNNING):
            return self._in(WATCH_DELAY)
        if seen.cost_micro_usd is not None:
            await self._store.cost_became_known(job, now=now, micro_usd=seen.cost_micro_usd)
        result = await self._collector.download(job, seen.image_urls)
        if result.incomplete or result.blocked_host:
            return self._in(WATCH_DELAY)
        changes: dict[str, Any] = {"watch_until": None, "due_at": None, "images": result.downloaded}
        if result.downloaded:
            changes["reason"] = "late"
        await self._store.update(job, now=now, show=result.downloaded > 0, **changes)
        return None

    async def _watch_for_run(self, job: Job) -> int | None:
        try:
            run_id = await self._host(job).find(job.id)
        except (ProviderUnavailable, ProviderPaused):
            run_id = None
        if run_id is None or await self._belongs_to_another(job, run_id):
            return self._in(WATCH_DELAY)
        found = await self._store.update_unguarded(job, run_id=run_id)
        return await self.watch(found) if found is not None else None
