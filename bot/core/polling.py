"""Times of polls and retries: pure arithmetic. When to look at a run next follows from `bot.core.durations`."""

from dataclasses import dataclass

POLL_PRICE = 0.1  # seconds of delay that a poll is worth, where no poll waits for the budget
WATCH_DELAY = 300.0  # seconds between polls of a run that timed out


@dataclass(frozen=True, slots=True)
class Timing:
    """Limits of one model's runs, in seconds. From the catalogue."""

    shortest: float = 0.25  # between two polls of one run
    soft: float = 120.0  # the age from which the card says that the job is slow, until ten of its kind have been seen
    hard: float = 600.0  # the age from which polls are *rare* seconds apart
    rare: float = 30.0
    give_up: float = 1800.0  # the age at which the run times out


def poll_price(late: float) -> float:
    """The price of a poll while polls are *late* seconds late, because more are due than the budget has.

    One price for all runs of a provider makes the last poll of each worth the same. It follows the delay at once: a
    price that is raised step by step goes on rising while runs still wait for looks that were decided before.
    """
    return POLL_PRICE * (1 + late)


def safety_delay(age: float) -> float:
    """Seconds between two polls of a run whose callback should have come by now."""
    return max(5.0, 0.1 * age)


def backoff(attempt: int, *, retry_after: float | None, jitter: float, max_delay: float = 60.0) -> float:
    """Seconds to wait after *attempt* failures in a row (1 is the first), and at least *retry_after*.

    The delay doubles up to *max_delay*; *jitter* is random in [0, 1); *retry_after* counts up to 900 seconds.
    """
    doubled = min(max_delay, float(1 << min(attempt, 10)))
    return max(doubled * (0.75 + 0.5 * jitter), min(retry_after or 0.0, 900.0))
