"""Runs of the local image service, and the queue that advances them.

There are no timers: a run's state is computed from the clock whenever it is read.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from bot.sandbox.faults import Faults
from bot.sandbox.models import ImageModel, Inputs

RunState = Literal["in_queue", "in_progress", "completed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that every run queues and runs, and how many run at once (None: any number)."""

    queue_s: float = 0.4
    run_s: float = 0.8
    slots: int | None = 4


@dataclass(slots=True, eq=False)
class Run:
    """One accepted run. Times are UTC milliseconds."""

    id: str
    model: str
    inputs: dict[str, Any]
    asked: Inputs
    entry: ImageModel
    queue: "RunQueue"
    created_at: int
    faults: Faults = field(default_factory=Faults)
    started_at: int | None = None
    finished_at: int | None = None
    stored: RunState = "in_queue"
    ready: float = 0.0  # seconds on the queue's clock
    finishes: float = math.inf
    place: int = 3  # its initial position in the provider's queue
    stuck: bool = False
    host: ClassVar[str] = "runcomfy"

    @property
    def about(self) -> tuple[str, ...]:
        """Texts that a fault's *match* is searched in."""
        return (self.prompt, self.id)

    @property
    def references(self) -> tuple[str, ...]:
        """The caller's references; RunComfy has none."""
        return ()

    @property
    def state(self) -> RunState:
        self.queue.settle()
        return self.stored

    @property
    def prompt(self) -> str:
        return self.asked.prompt

    @property
    def count(self) -> int:
        return int(self.asked.value("num_images", 1))

    @property
    def images(self) -> tuple[str, ...]:
        """Paths of its pictures."""
        return tuple(f"/files/{self.id}/{index + 1}.{self.asked.output_format}" for index in range(self.count))

    @property
    def cost_micro_usd(self) -> int:
        return self.entry.cost_micro_usd(self.asked, images=self.count)

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "host": self.host,
            "model": self.model,
            "inputs": self.inputs,
            "state": self.state,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
            "images": list(self.images),
        }


class RunQueue:
    """All unfinished runs in order of arrival, and the clock that advances them. `hold` stops the clock."""

    def __init__(self, pace: Pace, now: Callable[[], float]) -> None:
        self.pace = pace
        self.ended: Callable[[Run], None] = lambda _: None
        self.changed: Callable[[], None] = lambda: None
        self._now = now
        self._skipped = 0.0
        self._held_at: float | None = None
        self._waiting: dict[str, Run] = {}
        self._running: dict[str, Run] = {}
        self._slot_free_at = -math.inf

    @property
    def hold(self) -> bool:
        return self._held_at is not None

    @hold.setter
    def hold(self, wanted: bool) -> None:
        if wanted and self._held_at is None:
            self.settle()
            self._held_at = self._now()
        elif not wanted and self._held_at is not None:
            self._skipped += self._now() - self._held_at
            self._held_at = None
        self.changed()

    @property
    def time(self) -> float:
        return (self._now() if self._held_at is None else self._held_at) - self._skipped

    def join(self, run: Run) -> None:
        run.ready = self.time + self.pace.queue_s
        self._waiting[run.id] = run
        self.changed()

    def keep_queued(self, run: Run) -> None:
        """Leave *run* in the queue for ever, without delaying the runs behind it."""
        run.stuck = True
        self._waiting.pop(run.id, None)

    def position_of(self, run: Run) -> int:
        """Return the position of *run* in the queue, counting down to 1."""
        if run.stuck:
            return run.place
        ahead = list(self._waiting).index(run.id) + 1 if run.id in self._waiting else 1
        left = (run.ready - self.time) / self.pace.queue_s if self.pace.queue_s > 0 else 0.0
        return max(ahead, min(run.place, math.ceil(run.place * left)), 1)

    def settle(self) -> None:
        """Apply every transition that is due, in order."""
        while not self.hold:
            head, start, first, finish = self._next()
            if min(start, finish) > self.time:
                return
            if head and start < finish:
                self._start(head, at=start)
            elif first:
                self.move(first, "completed", at=finish)
            else:
                return

    def wait(self) -> float | None:
        """Return the seconds until the next transition, None if there is none."""
        _, start, _, finish = self._next()
        due = min(start, finish)
        return None if self.hold or due == math.inf else max(due - self.time, 0.0)

    def _next(self) -> tuple[Run | None, float, Run | None, float]:
        """Return the run that starts next and its time, and the run that finishes next and its time."""
        first = min(self._running.values(), key=lambda each: each.finishes, default=None)
        head = next(iter(self._waiting.values()), None)
        start = max(head.ready, self._slot_free_at) if head and self._has_room() else math.inf
        return head, start, first, first.finishes if first else math.inf

    def move(self, run: Run, state: RunState, *, at: float | None = None) -> None:
        """Set the state of *run*; it advances from there."""
        moment = self.time if at is None else at
        self._waiting.pop(run.id, None)
        if self._running.pop(run.id, None):
            self._slot_free_at = moment
        run.stored, run.stuck = state, False
        if state == "in_progress":
            self._start(run, at=moment)
        elif state == "in_queue":
            run.ready = moment + self.pace.queue_s
            self._waiting[run.id] = run
        ended = state in ("completed", "cancelled")
        run.finished_at = utc_ms() if ended else None
        self.changed()
        if ended:
            self.ended(run)

    def _start(self, run: Run, *, at: float) -> None:
        self._waiting.pop(run.id, None)
        run.stored, run.finishes, run.started_at = "in_progress", at + self.pace.run_s, utc_ms()
        self._running[run.id] = run

    def _has_room(self) -> bool:
        return self.pace.slots is None or len(self._running) < self.pace.slots


def iso(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")


def utc_ms() -> int:
    return time.time_ns() // 1_000_000
