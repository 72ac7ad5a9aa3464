"""The schedule of replies in memory: which are due, final cards first, and which are being delivered. It reads no rows.

Times are UTC milliseconds. The rows are authoritative: each change of a row is passed on here, and a restart rebuilds
the schedule from them.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum

from bot.core.clock import Clock
from bot.store.replies import DueReply


class Priority(StrEnum):
    """Of deliveries, most urgent first; each has slots of its own."""

    FINAL = "final"
    LARGE = "large"  # final cards whose pictures must be made smaller
    WAITING = "waiting"  # cards of unfinished jobs


class ReplySchedule:
    """At most *slots* deliveries at a time, of which at most so many are large, or for cards of unfinished jobs."""

    def __init__(self, clock: Clock, *, slots: int, large_slots: int, waiting_slots: int) -> None:
        self._clock = clock
        self._slots = {Priority.FINAL: slots, Priority.LARGE: large_slots, Priority.WAITING: waiting_slots}
        self._rows: dict[str, DueReply] = {}  # as on disk, without those that are not due at any time
        self._not_before: dict[str, int] = {}  # after a card of an unfinished job, an error, or at a rate limit
        self._large: set[str] = set()  # jobs whose final card is large
        self._heaps = {priority: _Heap() for priority in Priority}
        self._at: dict[str, int] = {}  # the heaps' valid entries
        self._busy: dict[str, Priority] = {}
        self._in_use = Counter[Priority]()
        self._changed: set[str] | None = None  # while the rows are read: jobs whose rows have changed since

    # --- rows

    def set(self, due: DueReply) -> bool:
        """Take over a changed row; whether the next delivery is due earlier than before."""
        if self._changed is not None:
            self._changed.add(due.job_id)
        return self._set(due)

    def begin_reading(self) -> None:
        """Note which rows change from now on: those read may be older."""
        self._changed = set()

    def replace(self, rows: Mapping[str, DueReply]) -> None:
        """Take over all rows, read since `begin_reading`."""
        changed = self._end_reading()
        for job_id in self._rows.keys() - rows.keys() - changed:
            self.drop(job_id)
        for job_id, due in rows.items():
            if job_id not in changed and self._rows.get(job_id) != due:
                self._set(due)

    def add_missing(self, rows: Mapping[str, DueReply]) -> Sequence[str]:
        """Add those of *rows*, read since `begin_reading`, that are not in the schedule; returns their jobs."""
        changed = self._end_reading()
        missing = sorted(rows.keys() - self._rows.keys() - changed)
        for job_id in missing:
            self._set(rows[job_id])
        return missing

    def drop(self, job_id: str) -> None:
        self._rows.pop(job_id, None)
        self._at.pop(job_id, None)
        self._large.discard(job_id)

    def _end_reading(self) -> AbstractSet[str]:
        changed, self._changed = self._changed or set(), None
        now = self._clock()
        self._not_before = {job_id: at for job_id, at in self._not_before.items() if at > now}
        return changed

    def _set(self, due: DueReply) -> bool:
        if due.final:
            before = self._rows.get(due.job_id)
            if before is None or not before.final:  # the end of a job does not wait for what its progress waits for
                self._not_before.pop(due.job_id, None)
        if due.due_at is None:
            self.drop(due.job_id)
            return False
        self._rows[due.job_id] = due
        return self._push(due.job_id, due.due_at)

    def _push(self, job_id: str, due_at: int) -> bool:
        """Add an entry, unless the job is busy: then `done` adds it. Returns whether it is the first one now."""
        if job_id in self._busy:
            return False
        at, heap = max(due_at, self._not_before.get(job_id, 0)), self._heaps[self._priority(job_id)]
        first = heap.next_at is None or at < heap.next_at
        self._at[job_id] = at
        heap.push(at, job_id)
        return first

    def _priority(self, job_id: str) -> Priority:
        if not self._rows[job_id].final:
            return Priority.WAITING
        return Priority.LARGE if job_id in self._large else Priority.FINAL

    # --- deliveries

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being delivered."""
        return not self._busy

    @property
    def next_at(self) -> int | None:
        """When the next delivery may begin, if no other ends before."""
        times = [self._heaps[priority].next_at for priority in Priority if self._is_free(priority)]
        return min((each for each in times if each is not None), default=None)

    def take_due(self) -> list[str]:
        """The jobs whose replies are to be delivered now, final cards first; they are busy until `done`."""
        return [job_id for priority in Priority for job_id in self._take(priority)]

    def _take(self, priority: Priority) -> list[str]:
        now, taken = self._clock(), []
        while self._is_free(priority) and (entry := self._heaps[priority].pop_due(now)) is not None:
            at, job_id = entry
            if self._at.get(job_id) != at or self._priority(job_id) is not priority:
                continue  # outdated: the row has changed
            del self._at[job_id]
            self._busy[job_id] = priority
            self._in_use[priority] += 1
            taken.append(job_id)
        return taken

    def _is_free(self, priority: Priority) -> bool:
        return len(self._busy) < self._slots[Priority.FINAL] and self._in_use[priority] < self._slots[priority]

    def claim_large_slot(self, job_id: str) -> bool:
        """Whether the large card that is being delivered has a slot for large ones; else `done` queues it for one."""
        if self._busy.get(job_id) is not Priority.FINAL:
            return True
        self._large.add(job_id)
        return False

    def done(self, job_id: str, *, not_before: int | None = None) -> None:
        """A delivery has ended: the next one for the same job begins at *not_before* at the earliest.

        The card of a job that has ended meanwhile does not wait.
        """
        priority, due = self._busy.pop(job_id), self._rows.get(job_id)
        self._in_use[priority] -= 1
        if not_before is not None and (due is None or due.final is (priority is not Priority.WAITING)):
            self._not_before[job_id] = not_before
        if due is not None and due.due_at is not None:
            self._push(job_id, due.due_at)


class _Heap:
    """Due times and jobs; an entry may be outdated."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, str]] = []

    @property
    def next_at(self) -> int | None:
        return self._entries[0][0] if self._entries else None

    def push(self, at: int, job_id: str) -> None:
        heapq.heappush(self._entries, (at, job_id))

    def pop_due(self, now: int) -> tuple[int, str] | None:
        if not self._entries or self._entries[0][0] > now:
            return None
        return heapq.heappop(self._entries)
