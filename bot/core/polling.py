"""When to look at a run again: pure arithmetic on its age."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Timing:
    """How one model's runs are watched, in seconds from submission. From the catalogue."""

    first: float = 3.0  # before that no run of this model has ever been ready
    step: float = 2.0
    longest: float = 8.0
    soft: float = 120.0  # from here the card says that it is slow
    hard: float = 600.0  # from here we look rarely
    rare: float = 30.0
    give_up: float = 1800.0

    def called_back(self) -> Self:
        """How runs are watched whose end we are called for: the looks left are for calls that never came."""
        return replace(self, first=max(self.first, self.soft), step=self.rare, longest=self.rare)


def poll_delay(timing: Timing, *, age: float, jitter: float) -> float:
    """Seconds until the next look at a run that is *age* seconds old.

    *jitter* is drawn from [0, 1) and spreads the looks of many jobs by ±15 %; the first look only ever later.
    """
    if age < timing.first:
        return timing.first - age + 0.3 * jitter * timing.step
    delay = min(timing.longest, timing.step + age / 20) if age < timing.hard else timing.rare
    return delay * (0.85 + 0.3 * jitter)


def backoff(attempt: int, *, retry_after: float | None, jitter: float, most: float = 60.0) -> float:
    """Seconds to wait after *attempt* failures in a row (1 is the first); the host's own wish comes first."""
    doubled = min(most, float(1 << min(attempt, 10)))
    return max(doubled * (0.75 + 0.5 * jitter), min(retry_after or 0.0, 900.0))


WATCH_DELAY = 300.0  # a run we gave up on is looked at every five minutes for a day
