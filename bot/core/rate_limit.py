"""A limit of events in time."""

from collections import deque


class RateLimit:
    """At most *per_second* events in any second; below one a second, one in each 1 / *per_second* seconds.

    Times are UTC milliseconds.
    """

    def __init__(self, per_second: float) -> None:
        self._times: deque[int] = deque(maxlen=0)
        self._per_second = 0.0
        self.change(per_second)

    def change(self, per_second: float) -> None:
        """Allow so many events a second from now on; those of the last second still count."""
        if per_second == self._per_second:
            return
        self._per_second = per_second
        self._count = max(1, int(per_second))
        self._period = -int(-1000 * self._count // per_second)
        self._times = deque(self._times, maxlen=max(self._count, self._times.maxlen or 0))

    def next_at(self, now: int) -> int:
        """When the next event may happen: *now* or later."""
        if self._times and now < self._times[-1]:  # the system clock was set back
            self._times.clear()
        return now if len(self._times) < self._count else max(now, self._times[-self._count] + self._period)

    def fits(self, now: int, events: int) -> bool:
        """Whether so many events may happen now."""
        self.next_at(now)  # forgets times in the future
        free = self._count - sum(1 for each in self._times if each + self._period > now)
        return events <= free

    def count(self, now: int, events: int = 1) -> None:
        """So many events happen now."""
        self._times.extend([now] * events)
