"""Delays between polls of a run, and between retries: pure arithmetic."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Timing:
    """When one model's runs are polled, in seconds. From the catalogue."""

    first: float = 3.0  # the first poll after the submit: no run of this model has been ready earlier
    step: float = 2.0  # the shortest delay; it grows with the run's age
    longest: float = 8.0  # the longest delay before *hard*
    soft: float = 120.0  # the age from which the card says that the job is slow
    hard: float = 600.0  # the age from which the delay is *rare*
    rare: float = 30.0
    give_up: float = 1800.0  # the age at which the run times out

    def with_callbacks(self) -> Self:
        """The timing of runs whose provider sends a callback: polls only make up for callbacks that do not arrive."""
        return replace(self, first=max(self.first, self.soft), step=self.rare, longest=self.rare)


def poll_delay(timing: Timing, *, age: float, jitter: float) -> float:
    """Seconds until the next poll of a run that is *age* seconds old.

    *jitter* is random in [0, 1). It varies the delay by ±15 %; the first poll is only ever delayed by it.
    """
    if age < timing.first:
        return timing.first - age + 0.3 * jitter * timing.step
    delay = min(timing.longest, timing.step + age / 20) if age < timing.hard else timing.rare
    return delay * (0.85 + 0.3 * jitter)


def backoff(attempt: int, *, retry_after: float | None, jitter: float, max_delay: float = 60.0) -> float:
    """Seconds to wait after *attempt* failures in a row (1 is the first), and at least *retry_after*.

    The delay doubles up to *max_delay*; *jitter* is random in [0, 1); *retry_after* counts up to 900 seconds.
    """
    doubled = min(max_delay, float(1 << min(attempt, 10)))
    return max(doubled * (0.75 + 0.5 * jitter), min(retry_after or 0.0, 900.0))


WATCH_DELAY = 300.0  # seconds between polls of a run that timed out
