"""Limits of requests that several processes share: the slots that a limit has, and which of them a process still has.

A slot is the right to send one request, from its beginning until a moment later; unused, it is lost. The slots of all
processes are on one timeline and evenly spaced, so that the limit holds in any second, whoever has which of them. Pure.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

CLOCK_DRIFT = 0.001  # seconds a second by which two clocks may go apart


@dataclass(frozen=True, slots=True)
class Pace:
    """Slots that begin *gap* seconds apart and last *late* seconds."""

    gap: float
    late: float

    def most(self, seconds: float) -> int:
        """How many requests are sent within *seconds* at most."""
        return int((seconds + self.late) / self.gap) + 1

    @property
    def largest_chunk(self) -> int:
        """Slots that a process takes at a time: of a quarter of a second at most."""
        return max(1, int(0.25 / self.gap))


@dataclass(frozen=True, slots=True)
class Slot:
    """When a request may be sent, in seconds of this process's clock."""

    begins: float
    ends: float


class LocalTimeline:
    """The slots of a limit that only this process has."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._next_at = 0.0

    def take(self, now: float) -> Slot:
        at = max(now, self._next_at)
        self._next_at = at + self._pace.gap
        return Slot(at, at + self._pace.late)


class RemoteClock:
    """How far another clock is ahead of ours, within bounds that each reading makes closer. Times are seconds."""

    def __init__(self) -> None:
        self._least = self._most = self._read_at = 0.0
        self._known = False

    def read(self, reading: float, *, asked: float, answered: float) -> None:
        """The other clock showed *reading* at some time between *asked* and *answered* of ours."""
        least, most = reading - answered, reading - asked
        drift = CLOCK_DRIFT * (answered - self._read_at)
        closer = max(least, self._least - drift), min(most, self._most + drift)
        if self._known and closer[0] <= closer[1]:
            least, most = closer
        self._least, self._most, self._read_at, self._known = least, most, answered, True

    def slots(self, first: float, count: int, *, pace: Pace) -> Sequence[Slot]:
        """Our times of *count* slots, of which the first begins at *first* of the other clock.

        They lie within the slots, unless the other clock is known less exactly than half of what a slot lasts.
        """
        lasts = max(pace.late / 2, pace.late - (self._most - self._least))
        begins = [first + n * pace.gap - self._least for n in range(count)]
        return [Slot(at, at + lasts) for at in begins]


class HeldSlots:
    """The slots that this process has taken and not used, and how many more it should take."""

    def __init__(self, pace: Pace) -> None:
        self._largest = pace.largest_chunk
        self._slots: deque[Slot] = deque()
        self._used = 0  # since the last chunk was taken

    def add(self, slots: Sequence[Slot]) -> None:
        self._slots.extend(slots)
        self._used = 0

    def wanted(self, waiting: int) -> int:
        """How many slots to take for *waiting* requests: as many as were used of the last chunk, and one more."""
        return min(self._largest, max(waiting, self._used + 1))

    def next(self, now: float) -> Slot | None:
        """The first slot that has not ended."""
        while self._slots and self._slots[0].ends < now:
            self._slots.popleft()
        return self._slots[0] if self._slots else None

    def use(self) -> None:
        """A request is sent in the first slot."""
        self._slots.popleft()
        self._used += 1
