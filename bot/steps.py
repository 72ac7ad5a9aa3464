"""What each step does to a job: one exchange with the outside, then one guarded write of what came of it.

Every step returns when to look at the job next (UTC milliseconds), or None when nobody need look.
"""

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.collector import Collector
from bot.core.cards import Reply
from bot.core.errors import (
    BadPicture,
    DownloadFailed,
    HostNotAllowed,
    ModelGone,
    NotSearchable,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    RunLost,
    SubmitUnknown,
)
from bot.core.jobs import MINUTE, WAIT_LIMIT, WATCH_LIMIT, Cancel, Job, Observation, Reference, State, is_news
from bot.core.polling import WATCH_DELAY, Timing, backoff, poll_delay
from bot.core.routes import Route, wire_inputs
from bot.delivery import DeliverLater
from bot.hosts import Hosts
from bot.providers.base import CancelOutcome, Provider
from bot.service import Service
from bot.store.store import Store

log = logging.getLogger(__name__)

SUBMIT_LEASE = 5 * MINUTE  # longer than any submit takes; after a restart nobody waits for it
CANCEL_TRIES = 3
CONFIRM_TRIES = 3
CHECK_TRIES = 3
FIND_EVERY = 15.0  # seconds between searches for a lost submit
AGAIN = 2.0  # seconds until an unfinished collection, or an unconfirmed card, is tried again; longer each time
BLOCKED_EVERY = 60.0

Find = Callable[[Reply], Awaitable[tuple[int, bool] | None]]
Peek = Callable[[tuple[Reference, ...]], Awaitable[None]]


class Steps:
    def __init__(
        self,
        store: Store,
        service: Service,
        *,
        hosts: Hosts,
        providers: Mapping[str, Provider],
        collector: Collector,
        find: Find,
        peek: Peek,
        callback_url: Callable[[Job], str | None] = lambda _: None,  # where its host calls when the run has ended
        draw: Callable[[], float] = random.random,
    ) -> None:
        """*find* asks Discord whether a card is shown; *peek* reads the first bytes of reference pictures."""
        self._store = store
        self._service = service
        self._catalog = service.catalog
        self._clock = service.clock
        self._hosts = hosts
        self._providers = providers
        self._collector = collector
        self._find_reply = find
        self._peek = peek
        self._callback_url = callback_url
        self._draw = draw
        self._runs: dict[str, str] = {}  # submitted, but not yet on disk
        self._tries: Counter[tuple[str, str]] = Counter()
        self._slow: set[str] = set()

    # --- before the host

    async def confirm(self, job: Job) -> int | None:
        """Find out whether Discord shows the card of a job whose acknowledgement was never recorded."""
        dossier = await self._store.dossier(job.id)
        now = self._clock()
        if dossier is None or dossier.reply.token is None or now >= job.created_at + WAIT_LIMIT:
            await self._end(job, State.CANCELLED, reason="unacknowledged")
            return None
        try:
            found = await self._find_reply(dossier.reply)
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
        """Look at reference pictures that could not be looked at before the acknowledgement."""
        try:
            await self._peek(job.request.references)
        except (BadPicture, HostNotAllowed):
            await self._end(job, State.FAILED, reason="bad_input_picture")
            return None
        except DownloadFailed as exc:
            if exc.lasting or self._again(job, "check") >= CHECK_TRIES:
                await self._end(job, State.FAILED, reason="bad_input_picture")
                return None
            return self._in(AGAIN)
        await self._store.note(job, now=self._clock(), checked=True, due_at=self._clock())
        return self._clock()

    async def expire(self, job: Job) -> int | None:
        now = self._clock()
        links_died = job.inputs_expire_at is not None and now >= job.inputs_expire_at
        reason = "inputs_expired" if links_died else self._service.troubles.get(job.provider, "expired_waiting")
        await self._end(job, State.FAILED, reason=reason)
        return None

    async def begin_submit(self, job: Job) -> Job | None:
        """Say on disk that the paid request is about to be sent; None when the job is not to be sent after all."""
        if self._route(job) is None:  # the operator took the model out while the job waited
            await self._end(job, State.FAILED, reason="model_gone")
            return None
        now = self._clock()
        return await self._store.move(job, State.SUBMITTING, now=now, submitted_at=now, due_at=now + SUBMIT_LEASE)

    async def submit(self, job: Job) -> int | None:
        """Send the paid request, once, and write down what came of it. *job* is on disk as submitting."""
        route = self._route(job)
        assert route is not None  # begin_submit looked
        try:
            run_id = await self._providers[job.provider].submit(
                job.route, wire_inputs(route, job.request), job_id=job.id, callback_url=self._callback_url(job)
            )
        except ProviderUnavailable as exc:
            return await self._not_taken(job, wait=await self._failed(job, "submit", exc))
        except ProviderPaused as exc:
            self._say(job, "not_taken", exc)
            await self._hosts.paused(job.provider, exc, submitting=True)
            return await self._not_taken(job, wait=BLOCKED_EVERY)
        except ProviderRefused as exc:
            self._say(job, "refused", exc)
            await self._end(job, State.REFUSED, reason="refused")
        except ProviderRejected as exc:
            self._say(job, "rejected", exc)
            if isinstance(exc, ModelGone):
                await self._service.tell_operator("operator.model_gone", model=job.request.model, route=job.route)
            await self._end(job, State.FAILED, reason="model_gone" if isinstance(exc, ModelGone) else "rejected")
        except SubmitUnknown as exc:
            self._say(job, "submit_unknown", exc)
            return await self._not_known(job)
        else:
            self._runs[job.id] = run_id  # kept until it is on disk: a full disk must not lose a paid run
            return await self._submitted(job, run_id)
        return None

    async def _not_taken(self, job: Job, *, wait: float) -> int | None:
        due_at = self._in(wait)
        back = await self._store.move(job, State.ACCEPTED, now=self._clock(), due_at=due_at, submitted_at=None)
        return self._clock() if back is not None and back.cancel is Cancel.WANTED else due_at

    async def _not_known(self, job: Job) -> int:
        """Whether the host took it, nobody can say: it is never sent again, only looked for."""
        now = self._clock()
        await self._store.move(job, State.UNKNOWN, now=now, due_at=now)
        return now

    async def _submitted(self, job: Job, run_id: str) -> int | None:
        owner = await self._store.by_run(job.provider, run_id)
        if owner is not None and owner.id != job.id:  # whatever the host meant, ours is not the run it named
            self._say(job, "run_of_another", SubmitUnknown(f"run {run_id} belongs to {owner.id}"))
            self._runs.pop(job.id, None)
            return await self._not_known(job) if job.state is State.SUBMITTING else self._in(FIND_EVERY)
        due_at = self._in(poll_delay(self._timing(job), age=0, jitter=self._draw()))
        moved = await self._store.move(job, State.QUEUED, now=self._clock(), run_id=run_id, due_at=due_at)
        self._runs.pop(job.id, None)
        await self._hosts.worked(job.provider, took=True)
        return due_at if moved is not None else None

    async def recover(self, job: Job) -> int | None:
        """A job found as submitting: nobody knows whether its request was taken, unless we still hold its run."""
        if (run_id := self._runs.get(job.id)) is not None:
            return await self._submitted(job, run_id)
        return await self._not_known(job)

    async def find(self, job: Job) -> int | None:
        """Look for the run of a submit whose answer was lost; never send it again."""
        try:
            run_id = await self._providers[job.provider].find(job.id)
        except NotSearchable:
            await self._end(job, State.FAILED, reason="unknown", may_be_billed=True)
            return None
        except (ProviderUnavailable, ProviderPaused):
            return self._in(FIND_EVERY)
        return self._in(FIND_EVERY) if run_id is None else await self._submitted(job, run_id)

    # --- at the host

    async def poll(self, job: Job) -> int | None:
        """Ask what the run has come to, and write it down if that is news."""
        assert job.run_id is not None
        if (until := self._hosts.quiet_until(job.provider, "poll")) > self._clock():
            return until + int(self._draw() * 1000)
        try:
            seen = await self._providers[job.provider].observe(job.run_id)
        except ProviderUnavailable as exc:
            return self._in(await self._failed(job, "poll", exc))
        except ProviderPaused as exc:
            await self._hosts.paused(job.provider, exc)
            return self._in(BLOCKED_EVERY)
        except RunLost as exc:
            self._say(job, "run_lost", exc)
            await self._end(job, State.FAILED, reason="run_lost", may_be_billed=True)
            return None
        await self._hosts.worked(job.provider)
        self._tries.pop((job.id, "poll"), None)
        if not is_news(job, seen):
            return await self._wait(job)
        return await self._observed(job, seen)

    async def _wait(self, job: Job) -> int:
        age = (self._clock() - (job.submitted_at or job.changed_at)) / 1000
        timing = self._timing(job)
        if age >= timing.soft and job.id not in self._slow:
            self._slow.add(job.id)
            await self._store.want([job.id], now=self._clock())
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
        reasons = {State.FAILED: "host_failed", State.REFUSED: "refused"}
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
            outcome = await self._providers[job.provider].cancel(job.run_id)
        except (ProviderUnavailable, ProviderPaused):
            outcome = CancelOutcome.UNKNOWN
        if outcome is CancelOutcome.UNKNOWN and self._again(job, "cancel") < CANCEL_TRIES:
            return await self.poll(job)
        answer = Cancel.ASKED if outcome is CancelOutcome.CANCELLED else Cancel.TOO_LATE
        noted = await self._store.note(job, now=self._clock(), show=True, cancel=answer, due_at=self._clock())
        return await self.poll(noted) if noted is not None else self._clock()

    # --- at the end

    async def collect(self, job: Job, *, seen: Observation | None = None) -> int | None:
        """Bring the pictures to disk; then, and only then, settle for those in hand."""
        assert job.run_id is not None
        if seen is None:
            try:
                seen = await self._providers[job.provider].observe(job.run_id)
            except ProviderUnavailable as exc:
                return self._in(await self._failed(job, "collect", exc))
            except ProviderPaused:
                return self._in(BLOCKED_EVERY)
            except RunLost:
                seen = Observation(State.COLLECTING)
        if seen.state in (State.QUEUED, State.RUNNING):  # not everywhere at the host is it known to be ready
            return self._in(AGAIN * self._again(job, "collect"))
        haul = await self._collector.collect(job, seen.image_urls)
        if haul.blocked_host is not None:
            await self._service.result_blocked(job, haul.blocked_host)
            return self._in(BLOCKED_EVERY)
        if haul.wanting:
            return self._in(AGAIN * self._again(job, "collect"))
        await self._finish(job, haul.in_hand, cost=seen.cost_micro_usd)
        return None

    async def _finish(self, job: Job, in_hand: int, *, cost: int | None) -> None:
        self._service.blocked.pop(job.id, None)
        state = State.SUCCEEDED if in_hand else State.FAILED
        reason = None if in_hand else "no_pictures"
        await self._end(job, state, reason=reason, images=in_hand, cost=cost, may_be_billed=True)

    async def give_up(self, job: Job) -> int | None:
        """Past the deadline: the member gets everything back, and a late picture is a present."""
        if job.state is State.UNKNOWN:
            await self._end(job, State.FAILED, reason="unknown", may_be_billed=True)
            return None
        if job.state is State.COLLECTING:
            await self._give_up_collecting(job)
            return None
        until, due_at = self._clock() + WATCH_LIMIT, self._in(WATCH_DELAY)
        changes = {"watch_until": until, "due_at": due_at}
        await self._end(job, State.FAILED, reason="gave_up", may_be_billed=True, **changes)
        return due_at

    async def _give_up_collecting(self, job: Job) -> None:
        dossier = await self._store.dossier(job.id)
        in_hand = len(dossier.pictures) if dossier else 0
        blocked = self._service.blocked.pop(job.id, None)
        if in_hand or not blocked:
            await self._finish(job, in_hand, cost=None)
        else:
            await self._end(job, State.FAILED, reason="result_host_blocked", may_be_billed=True)

    async def watch(self, job: Job) -> int | None:
        """Look at a run we gave up on: its picture, should it still come, is delivered free."""
        assert job.run_id is not None
        now = self._clock()
        try:
            seen = await self._providers[job.provider].observe(job.run_id)
        except (ProviderUnavailable, ProviderPaused):
            return self._in(WATCH_DELAY)
        except RunLost:
            seen = Observation(State.FAILED)
        if seen.state in (State.QUEUED, State.RUNNING):
            return self._in(WATCH_DELAY)
        haul = await self._collector.collect(job, seen.image_urls)
        if haul.wanting or haul.blocked_host:
            return self._in(WATCH_DELAY)
        changes: dict[str, Any] = {"watch_until": None, "due_at": None, "images": haul.in_hand}
        if haul.in_hand:
            changes["reason"] = "late"
        if seen.cost_micro_usd is not None:
            await self._store.cost_became_known(job, now=now, micro_usd=seen.cost_micro_usd)
        await self._store.note(job, now=now, show=haul.in_hand > 0, **changes)
        return None

    # --- shared

    async def _end(
        self, job: Job, state: State, *, reason: str | None, cost: int | None = None, may_be_billed: bool = False,
        **changes: Any,
    ) -> None:  # fmt: skip
        ended = await self._store.move(
            job, state, now=self._clock(), cost_micro_usd=cost, may_be_billed=may_be_billed, reason=reason, **changes
        )
        for key in [each for each in self._tries if each[0] == job.id]:
            del self._tries[key]
        self._slow.discard(job.id)
        self._service.called.discard(job.id)
        if ended is not None:
            extra = {"event": "job_ended", "job_id": job.id, "state": state.value, "reason": reason}
            log.info("A job has ended", extra=extra)

    async def _failed(self, job: Job, what: str, exc: ProviderUnavailable) -> float:
        """Seconds to leave the host alone."""
        self._say(job, "unavailable", exc)
        await self._hosts.failed(job.provider, what, exc)
        return backoff(self._again(job, what), retry_after=exc.retry_after, jitter=self._draw())

    def _again(self, job: Job, what: str) -> int:
        self._tries[job.id, what] += 1
        return self._tries[job.id, what]

    def _route(self, job: Job) -> Route | None:
        model = self._catalog.models.get(job.request.model)
        endpoint = model.endpoint(job.request.verb) if model and job.provider in self._providers else None
        routes = endpoint.routes if endpoint else ()
        return next((each for each in routes if (each.provider, each.id) == (job.provider, job.route)), None)

    def _timing(self, job: Job) -> Timing:
        model = self._catalog.models.get(job.request.model)
        timing = model.timing if model else Timing()
        waits = self._callback_url(job) is not None and job.id not in self._service.called
        return timing.called_back() if waits else timing

    def _in(self, seconds: float) -> int:
        return self._clock() + int(seconds * 1000)

    def _say(self, job: Job, event: str, exc: Exception) -> None:
        said = str(exc).replace(job.request.prompt, "…") if job.request.prompt else str(exc)  # some hosts echo it
        log.warning("%s: %s", job.provider, said, extra={"event": event, "job_id": job.id, "run_id": job.run_id})
