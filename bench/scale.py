"""100 shards with 50 jobs a second in virtual time: what is used, what waits, and where it bends first.

Queue, schedules, learnt durations, poll budgets and Discord's limit are the product's own code with a clock of ours;
runs, members and the network are drawn. What a job costs otherwise is taken from the measurements of this folder. The
rate grows until something has no more to give.
"""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from bot.core.budgets import LocalTimeline, Pace
from bot.core.durations import DurationKey
from bot.core.fair_queue import FairQueue, Waiting
from bot.core.jobs import MINUTE, SECOND, State
from bot.core.polling import Timing
from bot.core.processes import Process, Role, next_worker
from bot.core.rate_limit import RateLimit
from bot.jobs.poll_timing import PolledRun, PollTiming
from bot.jobs.schedule import Schedule
from bot.jobs.share import Share
from bot.jobs.worker import MAX_POLLS
from bot.store.notes import Notes
from tests.kit import catalog

HOST, MODEL = "runcomfy", "nano-banana-2"
MEDIAN, SPREAD = 12.0, 0.3  # seconds that runs take
MEMBERS = 100_000
WORKERS = 8
WARM_UP, LASTS = 45 * SECOND, 60 * SECOND  # virtual time that is left out, and measured
SCENARIOS = {  # max_in_flight, polls_per_second, jobs a second
    "default_limits": (4, 20, (10,)),
    "few_polls": (1_000, 20, (50,)),
    "high_limits": (1_000, 250, (10, 50, 100, 200)),
}
BY_BOT = 0.05  # of cards are final ones that need the bot's token: their own has expired, or is lost
BOT_PACE = Pace(1 / 45, late=0.05)

# From bench/many.py and bench/accept.py, on two cores that ran everything.
CPU_PER_JOB = 0.019  # seconds of a worker, whose load is light
ACCEPTANCES = 900  # a second on one database
ROUND_TRIPS = 114  # of a worker for each job
PICTURE = 2.0  # megabytes, received and sent

Row = dict[str, Any]


@dataclass
class Time:
    now: int = MINUTE

    def __call__(self) -> int:
        return self.now


@dataclass
class Worker:
    """The scheduling parts of one worker process."""

    timing: PollTiming
    schedule: Schedule
    share: Share
    runs: dict[str, tuple[PolledRun, int]] = field(default_factory=dict)  # with the end of each
    armed_at: int = 0


@dataclass
class Found:
    """What was seen of one rate."""

    queued: list[int] = field(default_factory=list)  # milliseconds until a slot was free
    unseen: list[int] = field(default_factory=list)  # from the end of a run until it was seen
    late: list[float] = field(default_factory=list)  # seconds until a card could be sent with the bot's token
    polls: int = 0
    waiting: int = 0  # jobs for a slot, at the end
    running: int = 0


class Simulation:
    def __init__(self, per_second: float, *, slots: int, polls: float) -> None:
        self.dice = random.Random(1)
        self.time = Time()
        self.per_second = per_second
        self.slots = slots
        self.events: list[tuple[int, int, str, Any]] = []
        self.numbers = itertools.count()
        self.queue = FairQueue()
        self.asked: dict[str, tuple[int, int]] = {}  # job → when, member
        self.bot = LocalTimeline(BOT_PACE)
        self.found = Found()
        self.live = [Process(n + 1, (Role.WORKER,), "", "", 0, "", 0) for n in range(WORKERS)]
        self.assigned = 0
        self.workers = {each.id: self._worker(polls) for each in self.live}
        for one, other in itertools.permutations(self.workers.values(), 2):
            one.timing.on_learnt(other.timing.learn)

    def _worker(self, polls: float) -> Worker:
        timing = PollTiming(
            cast("Notes", None),
            catalog=catalog(HOST),
            polls_per_second={HOST: polls},
            workers=lambda: WORKERS,
            clock=self.time,
        )
        return Worker(timing, Schedule(self.time), Share(limit=MAX_POLLS, rate=RateLimit(timing.budget(HOST))))

    @property
    def measures(self) -> bool:
        return self.time.now >= MINUTE + WARM_UP

    def at(self, when: int, kind: str, what: Any = None) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), kind, what))

    def run(self) -> Found:
        self.at(self.time.now, "ask")
        while self.events and self.events[0][0] < MINUTE + WARM_UP + LASTS:
            self.time.now, _, kind, what = heapq.heappop(self.events)
            match kind:
                case "ask":
                    self._ask()
                case "look":
                    self._look(what)
        self.found.waiting, self.found.running = len(self.queue.waiting), self.queue.running
        return self.found

    def _ask(self) -> None:
        number, now = next(self.numbers), self.time.now
        job = Waiting(f"job-{number}", self.dice.randrange(MEMBERS), now)
        self.asked[job.job_id] = now, job.user_id
        self.queue.wait(job)
        self._submit()
        self.at(now + max(1, round(SECOND * self.dice.expovariate(self.per_second))), "ask")

    def _submit(self) -> None:
        """Submit the next jobs while there are slots."""
        for job_id in self.queue.first(self.slots - self.queue.running):
            asked_at, member = self.asked[job_id]
            self.queue.run(job_id, member)
            if self.measures:
                self.found.queued.append(self.time.now - asked_at)
            self.assigned = next_worker(self.live, before=self.assigned)
            self._poll(self.assigned, job_id)

    def _poll(self, number: int, job_id: str) -> None:
        worker, now = self.workers[number], self.time.now
        run = PolledRun(
            job_id=job_id, provider=HOST, run_id="", state=State.QUEUED, position=None, submitted_at=now,
            deadline=now + 60 * MINUTE, timing=Timing(), key=DurationKey(HOST, MODEL, "1K", 1, "imagine"),
            calls_back=False, seen_at=now, started_after=now,
        )  # fmt: skip
        ends_at = now + round(SECOND * MEDIAN * self.dice.lognormvariate(0, SPREAD))
        worker.runs[job_id] = run, ends_at
        worker.schedule.set(job_id, worker.timing.next_look(run))
        self._arm(number)

    def _arm(self, number: int) -> None:
        """Have a worker look when something of it is due, as its loop does."""
        worker = self.workers[number]
        times = (worker.schedule.earliest, worker.share.next_at(self.time.now))
        at = min((each for each in times if each is not None), default=None)
        if at is not None and (worker.armed_at <= self.time.now or at < worker.armed_at):
            worker.armed_at = max(at, self.time.now + 1)
            self.at(worker.armed_at, "look", number)

    def _look(self, number: int) -> None:
        worker, now = self.workers[number], self.time.now
        for job_id, due_at in worker.schedule.take_due():
            worker.share.add(job_id, due_at, urgent=False)
        worker.timing.steer(HOST, waiting=worker.share.waiting)
        while (taken := worker.share.take(now)) is not None:
            job_id, _ = taken
            run, ends_at = worker.runs[job_id]
            worker.timing.polled(HOST)
            self.found.polls += self.measures
            if now < ends_at:
                worker.timing.unfinished(run)
                worker.schedule.done(job_id, worker.timing.next_look(run))
            else:
                worker.timing.finished(run, called_back=False)
                worker.schedule.done(job_id, None)
                del worker.runs[job_id]
                self._seen(job_id, now - ends_at)
            worker.share.done()
        self._arm(number)

    def _seen(self, job_id: str, unseen: int) -> None:
        self.queue.leave(job_id)
        del self.asked[job_id]
        self._submit()
        if self.measures:
            self.found.unseen.append(unseen)
        if self.dice.random() < BY_BOT:
            slot = self.bot.take(self.time.now / SECOND)
            if self.measures:
                self.found.late.append(slot.begins - self.time.now / SECOND)


def main() -> list[Row]:
    rows = []
    for name, (slots, polls, rates) in SCENARIOS.items():
        for per_second in rates:
            found = Simulation(per_second, slots=slots, polls=polls).run()
            rows += list(_rows(f"{name}_{per_second}_jobs", found, per_second, polls=polls))
    return rows + list(_bends())


def _rows(name: str, found: Found, per_second: float, *, polls: float) -> Iterator[Row]:
    yield _row(f"{name}_slot_wait_p95", _at(found.queued, 95) / SECOND, "s")
    yield _row(f"{name}_waiting_at_the_end", found.waiting, "")
    yield _row(f"{name}_in_flight", found.running, "")
    yield _row(f"{name}_polls_per_second", found.polls * SECOND / LASTS, f"/s of {polls:.0f}")
    yield _row(f"{name}_end_to_seen_p50", _at(found.unseen, 50) / SECOND, "s")
    yield _row(f"{name}_end_to_seen_p95", _at(found.unseen, 95) / SECOND, "s")
    yield _row(f"{name}_bot_token_wait_p95", _at(found.late, 95), "s")
    yield _row(f"{name}_worker_cores", per_second * CPU_PER_JOB, "")
    yield _row(f"{name}_acceptances", 100 * per_second / ACCEPTANCES, "% of measured")
    yield _row(f"{name}_round_trips_per_second", per_second * ROUND_TRIPS, "/s")
    yield _row(f"{name}_pictures", 8 * 2 * per_second * PICTURE, "Mbit/s")


def _bends() -> Iterator[Row]:
    """From how many jobs a second on each limit is reached, by what one job needs of it."""
    needs = {
        "max_in_flight_4": 4 / (MEDIAN + 1),
        "max_in_flight_1000": 1_000 / (MEDIAN + 1),
        "bot_token_at_5_percent": 1 / BOT_PACE.gap / BY_BOT,
        "gigabit_network": 1_000 / (8 * 2 * PICTURE),
        "8_worker_cores": 8 / CPU_PER_JOB,
        "acceptances": float(ACCEPTANCES),
    }
    for name, most in sorted(needs.items(), key=lambda each: each[1]):
        yield _row(f"bends_at_{name}", most, "jobs/s")


def _at(values: list[Any], percent: int) -> float:
    return float(sorted(values)[len(values) * percent // 100]) if values else 0.0


def _row(name: str, value: float, unit: str) -> Row:
    return {"name": name, "value": round(value, 2 if value < 10 else 0), "unit": unit}
