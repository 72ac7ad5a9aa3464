"""The part of the worker's capacity that one kind of steps may use, so that a slow host holds up only its own jobs."""

import heapq

from bot.core.rate_limit import RateLimit


class Share:
    """Due jobs that wait for a free place among *limit* at a time, the urgent ones first, then by due time."""

    def __init__(self, *, limit: int, rate: RateLimit | None = None) -> None:
        self._limit = limit
        self._rate = rate
        self._heap: list[tuple[bool, int, str]] = []
        self._pending: dict[str, int] = {}  # job → due time (UTC milliseconds)
        self._busy = 0

    def add(self, job_id: str, due_at: int, *, urgent: bool) -> None:
        """A job is due. It waits until `take`; *urgent* also moves it up where it waits already."""
        if job_id in self._pending and not urgent:
            return
        due_at = self._pending.setdefault(job_id, due_at)
        heapq.heappush(self._heap, (not urgent, due_at, job_id))

    def change_rate(self, per_second: float) -> None:
        """Allow so many requests a second from now on."""
        if self._rate is not None:
            self._rate.change(per_second)

    def take(self, now: int) -> tuple[str, int] | None:
        """The next job and its due time; None where none may be attended to now. It is busy until `done`."""
        while self._heap and self._busy < self._limit:
            if self._rate is not None and self._rate.next_at(now) > now:
                return None
            _, due_at, job_id = heapq.heappop(self._heap)
            if self._pending.pop(job_id, None) is None:  # taken earlier, as an urgent one
                continue
            self._busy += 1
            if self._rate is not None:
                self._rate.count(now)
            return job_id, due_at
        return None

    def take_requests(self, now: int, requests: int) -> bool:
        """Count *requests* that are no job's, if the rate allows them all now."""
        if self._rate is None or not self._rate.fits(now, requests):
            return False
        self._rate.count(now, requests)
        return True

    def done(self) -> None:
        """A job that was taken has been attended to."""
        self._busy -= 1

    def next_at(self, now: int) -> int | None:
        """When `take` may have a job; None where nothing waits, or where one has to be `done` first."""
        if not self._pending or self._busy >= self._limit:
            return None
        return now if self._rate is None else self._rate.next_at(now)

    @property
    def waiting(self) -> int:
        return len(self._pending)

    @property
    def earliest(self) -> int | None:
        """The earliest due time of a waiting job."""
        return min(self._pending.values(), default=None)
