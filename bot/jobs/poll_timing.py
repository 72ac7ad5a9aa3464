"""When each run is polled: where a poll is worth most, by what has been learnt about runs of its kind.

docs/polling.md explains it. The learnt distributions are kept in the database, and are lost at a crash for the last
half minute only.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.durations import UNKNOWN_RANGE, Distribution, DurationKey, Durations, Phase, mixed_quantile
from bot.core.jobs import SECOND, Job, State
from bot.core.polling import POLL_PRICE, Timing, poll_price, safety_delay
from bot.store.notes import Notes

log = logging.getLogger(__name__)

NOTE = "durations"
KNOWN = 10  # runs of a kind from which on times shown to members come from them
TRUSTED = 5  # runs seen in a phase from which on the phase decides when to look
WORTH_STARTS = 0.5  # as uncertain as that or less is the end once the start is seen: then it is worth looking for
START_PRICE = 9.0  # times the price of a poll for the end: a third of the polls, measured in bench/polling.py
CALLBACK_GRACE = 3.0  # seconds after the time at which hardly any callback is still to come
EXACT = 0.2  # seconds by which the end of a run is known from its callback
POLLS_PER_SECOND = 20.0
HARDLY_ANY = 0.99  # of the runs have ended by then


@dataclass(slots=True)
class PolledRun:
    """What a poll needs to know of a job, in memory, so that one without news reads no row.

    Times are UTC milliseconds.
    """

    job_id: str
    provider: str
    run_id: str
    state: State
    position: int | None
    submitted_at: int
    deadline: int
    timing: Timing
    key: DurationKey
    calls_back: bool  # its provider sends a callback once it has ended
    seen_at: int  # when it was last seen unfinished
    started_after: int = 0  # it started between these two, if it has
    started_before: int = 0


class PollTiming:
    def __init__(
        self,
        notes: Notes,
        *,
        catalog: Catalog,
        polls_per_second: Mapping[str, float],
        workers: Callable[[], int] = lambda: 1,
        clock: Clock,
    ) -> None:
        """*workers*: how many processes poll; they share *polls_per_second* evenly."""
        self._notes = notes
        self._workers = workers
        self._catalog = catalog
        self._polls_per_second = polls_per_second
        self._clock = clock
        self._begun_at = clock()
        self._learnt: dict[tuple[DurationKey, Phase], Durations] = {}
        self._keys: dict[DurationKey, DurationKey] = {}  # one object for all runs of a kind
        self._unfinished: dict[str, DurationKey] = {}  # job → the kind of its run, once it was seen unfinished
        self._in_flight: Counter[DurationKey] = Counter()  # how many those are
        self._prices: dict[str, float] = {}  # provider → seconds of delay that one of its polls is worth
        self._counted_at: dict[str, int] = {}  # provider → since when its polls are counted
        self._polls: Counter[str] = Counter()  # since then
        self._rates: dict[str, float] = {}  # provider → polls a second made or wanted before then
        self._changed = False
        self._listeners: list[Callable[[Sequence[Any]], None]] = []

    def budget(self, provider: str) -> float:
        """Polls a second that the provider may have from this process."""
        return self._polls_per_second.get(provider, POLLS_PER_SECOND) / self._workers()

    def run_of(self, job: Job, *, calls_back: bool) -> PolledRun:
        model = self._catalog.models.get(job.request.model)
        since = job.submitted_at or job.changed_at
        return PolledRun(
            job_id=job.id,
            provider=job.provider,
            run_id=job.run_id or "",
            state=job.state,
            position=job.position,
            submitted_at=since,
            deadline=job.deadline,
            timing=model.timing if model else Timing(),
            key=self.key_of(job),
            calls_back=calls_back,
            seen_at=job.changed_at,
            started_after=since,
            started_before=job.started_at or 0,
        )

    def key_of(self, job: Job) -> DurationKey:
        request = job.request
        resolution = str(request.options.get("resolution", "1K"))
        key = DurationKey(job.provider, request.model, resolution, request.count, request.verb.value)
        return self._keys.setdefault(key, key)

    # --- when to look

    def next_look(self, run: PolledRun, *, called_back: bool = False) -> int:
        """When to look at an unfinished run again, in UTC milliseconds: at its deadline at the latest."""
        now = self._clock()
        at = min(self._next_look(run, now, called_back=called_back), run.deadline)
        return max(at, now + int(run.timing.shortest * SECOND))

    def _next_look(self, run: PolledRun, now: int, *, called_back: bool) -> int:
        age = (now - run.submitted_at) / SECOND
        if run.calls_back and not called_back:
            return run.submitted_at + int(self._look_without_callback(run, age) * SECOND)
        if age >= run.timing.hard:
            return now + int(run.timing.rare * SECOND)
        since, distribution, factor = self._basis(run)
        price = self._prices.get(run.provider, POLL_PRICE) * factor
        at = distribution.next_look((now - since) / SECOND, price=price)
        return since + int(at * SECOND)

    def _look_without_callback(self, run: PolledRun, age: float) -> float:
        total, (_, longest) = self._of(run.key, Phase.TOTAL), self._usual_of(run.key) or UNKNOWN_RANGE
        known = total.seen >= KNOWN
        late = total.distribution.quantile(HARDLY_ANY) if known else min(run.timing.soft, 2 * longest)
        return late + CALLBACK_GRACE if age < late + CALLBACK_GRACE else age + safety_delay(age)

    def _basis(self, run: PolledRun) -> tuple[int, Distribution, float]:
        """What is known best about what comes next: since when time counts, its distribution, the factor of the price.

        To see the start late costs little: it only makes the end less certain.
        """
        total = self._of(run.key, Phase.TOTAL).distribution
        running, queued = self._of(run.key, Phase.RUNNING), self._of(run.key, Phase.QUEUED)
        if running.seen < TRUSTED or queued.seen < TRUSTED:
            return run.submitted_at, total, 1.0
        width, total_width = _width(running.distribution), _width(total)
        if run.state is State.RUNNING:
            unsure = (run.started_before - run.started_after) / SECOND
            if width + unsure / 4 < total_width:
                return _started_at(run), running.distribution, 1.0
        elif width < WORTH_STARTS * total_width:
            return run.submitted_at, queued.distribution, START_PRICE
        return run.submitted_at, total, 1.0

    def polled(self, provider: str) -> None:
        """A run of the provider is polled now."""
        self._polls[provider] += 1

    def rate(self, provider: str) -> float:
        """Polls of single runs in the last second."""
        return self._rates.get(provider, 0.0)

    def steer(self, provider: str, *, waiting: int) -> None:
        """Adjust the price of a poll; *waiting*: how many are due and wait for the budget."""
        self._prices[provider] = poll_price(waiting / self.budget(provider))
        now, before = self._clock(), self._counted_at.get(provider)
        if before is not None and now - before < SECOND:
            return
        if before is not None:
            self._rates[provider] = (self._polls[provider] + waiting) * SECOND / (now - before)
        self._counted_at[provider], self._polls[provider] = now, 0

    # --- what is learnt

    def unfinished(self, run: PolledRun) -> None:
        """The run was seen unfinished, in the same state as before."""
        now, counted_at = self._clock(), self._counted_until(run)
        if run.job_id not in self._unfinished:
            self._unfinished[run.job_id] = run.key
            self._in_flight[run.key] += 1
        for phase, since in _phases(run):
            age, before = max(0, now - since) / SECOND, max(0, counted_at - since) / SECOND
            self._of(run.key, phase).unfinished(age, before=min(before, age), among=self._in_flight[run.key])
        run.seen_at = now

    def forget(self, job_id: str) -> None:
        """The job's run is no longer polled."""
        if (key := self._unfinished.pop(job_id, None)) is not None:
            self._in_flight[key] -= 1

    def started(self, run: PolledRun) -> None:
        """The run was seen running for the first time."""
        now = self._clock()
        self._ended(
            run, Phase.QUEUED, run.submitted_at, between=(run.seen_at - run.submitted_at, now - run.submitted_at)
        )
        run.state, run.started_after, run.started_before = State.RUNNING, run.seen_at, now
        self.unfinished(run)

    def finished(self, run: PolledRun, *, called_back: bool) -> None:
        """The run was seen finished, with pictures."""
        now = self._clock()
        seen_at = max(run.seen_at, now - int(EXACT * SECOND)) if called_back else run.seen_at
        for phase, since in _phases(run):
            between = seen_at - since, now - since
            if phase is Phase.RUNNING:
                between = seen_at - run.started_before, now - run.started_after
            if phase is not Phase.QUEUED or not called_back:  # a start that was not looked for says nothing
                self._ended(run, phase, since, between=between)
        self.forget(run.job_id)

    def _counted_until(self, run: PolledRun) -> int:
        """When the run was last counted as unfinished; those that ended before the bot was started were not counted."""
        return max(run.seen_at, self._begun_at)

    def _ended(self, run: PolledRun, phase: Phase, since: int, *, between: tuple[int, int]) -> None:
        low, high = (max(0.0, each / SECOND) for each in between)
        before = max(0, self._counted_until(run) - since) / SECOND
        among = max(1, self._in_flight[run.key])
        self._of(run.key, phase).ended(low, high, before=min(before, high), among=among)
        self._changed = True
        for each in self._listeners:
            each([asdict(run.key), phase, low, high])

    def on_learnt(self, listener: Callable[[Sequence[Any]], None]) -> None:
        """Call *listener* with what `learn` takes, when the end of a run or of a phase of it was seen."""
        self._listeners.append(listener)

    def learn(self, seen: Sequence[Any]) -> None:
        """Another process has seen the end of a run, or of a phase of it."""
        dumped, phase, low, high = seen
        key = DurationKey(**dumped)
        key = self._keys.setdefault(key, key)
        self._of(key, Phase(phase)).ended(low, high, before=0.0, among=max(1, self._in_flight[key]))

    def _of(self, key: DurationKey, phase: Phase) -> Durations:
        if (found := self._learnt.get((key, phase))) is None:
            found = self._learnt[key, phase] = Durations.expected(self._usual_of(key))
        return found

    def _usual_of(self, key: DurationKey) -> tuple[float, float] | None:
        model = self._catalog.models.get(key.model)
        return model.usual.get(key.resolution) if model else None

    # --- what members are told

    def usual(self, job: Job) -> tuple[float, float] | None:
        """How long such a job usually takes: seconds, from and to. The catalogue's answer until ten have been seen."""
        key = self.key_of(job)
        total = self._of(key, Phase.TOTAL)
        if total.seen < KNOWN:
            return self._usual_of(key)
        low, high = (max(1, round(total.distribution.quantile(share))) for share in (0.1, 0.9))
        return low, high

    def quantiles(self, model: str, providers: Collection[str], *, shares: Sequence[float]) -> Sequence[float] | None:
        """Seconds within which each share of the model's runs ends now, over all kinds seen; None until ten were."""
        seen = [
            (float(each.seen), each.distribution)
            for (key, phase), each in self._learnt.items()
            if phase is Phase.TOTAL and key.model == model and key.provider in providers and each.seen
        ]
        if sum(weight for weight, _ in seen) < KNOWN:
            return None
        return [mixed_quantile(seen, share) for share in shares]

    def slow_after(self, key: DurationKey, timing: Timing) -> float:
        """Seconds from which a run takes longer than usual."""
        total = self._of(key, Phase.TOTAL)
        return total.distribution.quantile(HARDLY_ANY) if total.seen >= KNOWN else timing.soft

    def ready_at(self, job: Job) -> int | None:
        """When a submitted job is likely to be ready, in UTC milliseconds; None until ten of its kind were seen."""
        total = self._of(self.key_of(job), Phase.TOTAL)
        if job.submitted_at is None or total.seen < KNOWN:
            return None
        age = (self._clock() - job.submitted_at) / SECOND
        return job.submitted_at + int(total.distribution.median_after(age) * SECOND)

    # --- on disk

    async def load(self) -> None:
        """Restore what was learnt before a restart."""
        try:
            entries = [
                (DurationKey(**each["key"]), Phase(each["phase"]), Durations.load(each["learnt"]))
                for each in json.loads(await self._notes.get(NOTE) or "[]")
            ]
        except (KeyError, TypeError, ValueError):  # written by another version
            log.warning("What was learnt about durations cannot be read", extra={"event": "durations_unreadable"})
            return
        for key, phase, learnt in entries:
            if key.model in self._catalog.models:
                self._learnt[self._keys.setdefault(key, key), phase] = learnt

    async def save(self) -> None:
        """Store what was learnt since the last call."""
        if not self._changed:
            return
        self._changed = False
        learnt = self._learnt.items()
        entries = [{"key": asdict(key), "phase": phase, "learnt": each.dump()} for (key, phase), each in learnt]
        await self._notes.set(NOTE, json.dumps(entries))


def _phases(run: PolledRun) -> Sequence[tuple[Phase, int]]:
    """The phases in which the run is, each with the time of its begin."""
    second = (Phase.RUNNING, _started_at(run)) if run.started_before else (Phase.QUEUED, run.submitted_at)
    return (Phase.TOTAL, run.submitted_at), second


def _started_at(run: PolledRun) -> int:
    return (run.started_after + run.started_before) // 2


def _width(distribution: Distribution) -> float:
    """How many seconds the end of a run is uncertain by, about."""
    return distribution.spread * distribution.quantile(0.5)
