"""The schedule of jobs in memory: a heap of due times, and the jobs being attended to. It reads no rows.

Times are UTC milliseconds. A restart rebuilds the schedule from the rows.
"""

import heapq
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from bot.core.clock import Clock


class Schedule:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}  # the heap's valid entries
        self._busy: set[str] = set()
        self._woken: set[str] = set()  # woken while busy: attend to them again at once
        self._moved_up: set[str] = set()  # moved up in the queue while busy: again at once only if they still wait

    @property
    def busy(self) -> AbstractSet[str]:
        """Jobs that were taken and are not done."""
        return self._busy

    @property
    def due(self) -> AbstractSet[str]:
        """Jobs with a due time."""
        return self._due.keys()

    @property
    def earliest(self) -> int | None:
        """The earliest due time; None where nothing is due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:  # of a job that was rescheduled
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def knows(self, job_id: str) -> bool:
        return job_id in self._due or job_id in self._busy

    def set(self, job_id: str, at: int | None) -> None:
        """Attend to a job at *at*; None: not at all."""
        if at is None:
            self._due.pop(job_id, None)
        elif self._due.get(job_id) != at:
            self._due[job_id] = at
            heapq.heappush(self._heap, (at, job_id))

    def bring_forward(self, job_id: str, at: int) -> None:
        """Attend to a job at *at* at the latest."""
        self.set(job_id, min(at, self._due.get(job_id, at)))

    def wake(self, job_ids: Iterable[str]) -> None:
        """Attend to jobs now; to busy ones once more as soon as they are done."""
        for job_id in job_ids:
            if job_id in self._busy:
                self._woken.add(job_id)
            else:
                self.bring_forward(job_id, self._clock())

    def move_up(self, job_id: str) -> None:
        """Mark a waiting job as possibly next. A busy one may have been submitted meanwhile: it asks `has_moved_up`."""
        if job_id in self._busy:
            self._moved_up.add(job_id)
        else:
            self.bring_forward(job_id, self._clock())

    def has_moved_up(self, job_id: str) -> bool:
        return job_id in self._moved_up

    def clear_moved_up(self, job_id: str) -> None:
        self._moved_up.discard(job_id)

    def take_due(self) -> list[tuple[str, int]]:
        """The jobs that are due, with their due times; they are busy until `done`."""
        taken: list[tuple[str, int]] = []
        now = self._clock()
        while (at := self.earliest) is not None and at <= now:
            job_id = heapq.heappop(self._heap)[1]
            del self._due[job_id]
            self._busy.add(job_id)
            taken.append((job_id, at))
        return taken

    def begin(self, job_id: str) -> None:
        """A job that was taken is attended to now: this answers whatever has woken it since it was taken."""
        self._woken.discard(job_id)

    def done(self, job_id: str, at: int | None) -> None:
        """A job is no longer busy; attend to it again at *at*, or now if it was woken meanwhile."""
        self._busy.discard(job_id)
        self._moved_up.discard(job_id)
        if job_id in self._woken:
            self._woken.discard(job_id)
            at = self._clock()
        self.set(job_id, at)
