"""The clock: UTC milliseconds that never jump."""

from collections.abc import Callable

Clock = Callable[[], int]  # UTC milliseconds

SLEW = 0.01  # how much faster or slower a clock goes to agree with another one


class SteadyClock:
    """UTC milliseconds from *now* on, advanced by *elapsed* (seconds of a monotonic clock).

    `correct` lets it agree with another clock without a jump: for a while it goes `SLEW` faster or slower.
    """

    def __init__(self, now: int, *, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._since = elapsed()
        self._now = float(now)  # at that moment
        self._missing = 0.0  # milliseconds to the other clock at that moment

    def __call__(self) -> int:
        return int(self._at(self._elapsed()))

    def correct(self, now: int) -> None:
        """Go towards *now*, which another clock has just said."""
        moment = self._elapsed()
        self._now, self._since = self._at(moment), moment
        self._missing = now - self._now

    def _at(self, moment: float) -> float:
        passed = 1000 * (moment - self._since)
        most = SLEW * passed
        return self._now + passed + min(most, max(-most, self._missing))
