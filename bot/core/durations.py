"""How long runs take, learnt from the runs seen: a log-normal distribution for each kind of run, and when to look next.

Pure arithmetic. docs/polling.md explains the rule; `make bench NAME=polling` measures it against the exact optimum.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from math import erfc, exp, log, pi, sqrt
from statistics import NormalDist
from typing import Any, Self

STANDARD = NormalDist()
WIDE_SHARE, WIDE_SPREAD = 0.02, 1.0  # of runs that take a quite different time: a stale spread must not stop the polls
RECENT = 5  # samples by which a change is noticed
CHANGED = 1.8  # mean of their standardised deviations from which on it is one
FARTHEST = 3.0  # standard deviations that one sample counts at most: a single run that hangs is not a change
HALF_LIFE = 60.0  # samples after which an older one counts half, where no change was noticed
PRIOR_MEAN_WEIGHT, PRIOR_SPREAD_WEIGHT = 0.5, 1.0  # in samples
UNKNOWN_RANGE = (8.0, 60.0)  # seconds, where the catalogue says nothing
STEP = 0.1  # of the table, in standard deviations
TABLE = [round(-5 + STEP * n, 1) for n in range(131)]  # from 5 below the median to 8 above


class Phase(StrEnum):
    QUEUED = "queued"  # from submission until it leaves the provider's queue
    RUNNING = "running"  # from then on until it has ended
    TOTAL = "total"  # from submission until it has ended


@dataclass(frozen=True, slots=True)
class DurationKey:
    """What kind of run it is, as far as that decides how long it takes."""

    provider: str
    model: str
    resolution: str
    count: int
    verb: str


@dataclass(frozen=True)
class Distribution:
    """A log-normal distribution in seconds, with a few runs spread widely around it."""

    mean: float  # of the logarithm
    spread: float  # its standard deviation

    def quantile(self, share: float) -> float:
        """The seconds within which *share* of the runs end."""
        return exp(self.mean + self.spread * STANDARD.inv_cdf(share))

    def median_after(self, age: float) -> float:
        """The age at which half of the runs that have reached *age* seconds have ended."""
        left = 1 - STANDARD.cdf((log(max(age, 1e-3)) - self.mean) / self.spread)
        return max(age, self.quantile(min(1 - left / 2, 1 - 1e-9)))

    def next_look(self, age: float, *, price: float) -> float:
        """The age (seconds) at which to look next at a run that was seen unfinished at *age*.

        *price*: the delay in seconds that a poll is worth. Polls are as dense as sqrt(hazard / (2 * price)), which
        minimises mean delay + price * polls (Keller, Management Science 21(3), 1974).
        """
        target = self._density_until(age) + sqrt(2 * price) / exp(self.mean / 2)
        index = bisect_right(self._table, target)
        if index == len(self._table):
            return max(age, exp(self.mean + self.spread * TABLE[-1])) + 10 * price
        low, high = (self._table[index - 1], self._table[index]) if index else (0.0, self._table[0])
        place = TABLE[index] - STEP * (high - target) / (high - low)
        return exp(self.mean + self.spread * place)

    def _density_until(self, age: float) -> float:
        place = ((log(age) - self.mean) / self.spread - TABLE[0]) / STEP if age > 0 else -1.0
        if place <= 0:
            return 0.0
        index = int(place)
        if index >= len(TABLE) - 1:
            return self._table[-1]
        return self._table[index] + (place - index) * (self._table[index + 1] - self._table[index])

    @cached_property
    def _table(self) -> Sequence[float]:
        """The integral of sqrt(hazard) over the age, for a median of one second, at the places of `TABLE`."""
        narrow, wide = self.spread, max(self.spread, WIDE_SPREAD)
        values = []
        for place in TABLE:
            far = place * narrow / wide
            left = (1 - WIDE_SHARE) * erfc(place / sqrt(2)) / 2 + WIDE_SHARE * erfc(far / sqrt(2)) / 2
            density = (1 - WIDE_SHARE) * exp(-place * place / 2) / narrow + WIDE_SHARE * exp(-far * far / 2) / wide
            # With age = exp(narrow * place): sqrt(f / S) d(age) = sqrt(age * density / left) * narrow d(place).
            values.append(sqrt(exp(narrow * place) * density / (sqrt(2 * pi) * left)) * narrow * STEP)
        return list(accumulate(values))


@dataclass(slots=True)
class Durations:
    """What has been learnt about one kind of run in one phase."""

    prior_mean: float
    prior_spread: float
    samples: float = 0.0  # effective number, after forgetting
    mean: float = 0.0  # of the logarithms of the samples
    squares: float = 0.0  # sum of their squared deviations
    seen: int = 0
    recent: list[tuple[float, float]] = field(default_factory=list)  # logarithm and deviation of the last samples
    _distribution: Distribution | None = None

    @classmethod
    def expected(cls, usual: tuple[float, float] | None) -> Self:
        """Nothing is known but that most runs take between the two times of *usual*, in seconds."""
        low, high = usual or UNKNOWN_RANGE
        return cls((log(low) + log(high)) / 2, max(0.2, log(high / low) / 2.56))  # as the 10th and 90th percentile

    @property
    def distribution(self) -> Distribution:
        """The prediction for the next run."""
        if self._distribution is None:
            weight = PRIOR_MEAN_WEIGHT + self.samples
            degrees = PRIOR_SPREAD_WEIGHT + self.samples
            mean = (PRIOR_MEAN_WEIGHT * self.prior_mean + self.samples * self.mean) / weight
            variance = (PRIOR_SPREAD_WEIGHT * self.prior_spread**2 + self.squares) / degrees
            # Student's t with so many degrees of freedom, as a normal distribution of about the same width.
            self._distribution = Distribution(mean, sqrt(variance * (1 + 1 / weight) * (1 + 1 / (1 + degrees))))
        return self._distribution

    def add(self, low: float, high: float) -> None:
        """A run was seen unfinished at the age of *low* seconds, and finished at *high*."""
        now = self.distribution
        value, variance = _between(now, max(low, 1e-3), max(high, low, 2e-3))
        self.seen += 1
        deviation = (value - now.mean) / now.spread
        if self._has_changed(value, deviation):
            return
        capped = max(-FARTHEST, min(FARTHEST, deviation)) if self.samples >= RECENT else deviation
        value = now.mean + capped * now.spread
        keep = 0.5 ** (1 / HALF_LIFE)
        self.samples, self.squares = self.samples * keep + 1, self.squares * keep + variance
        before = self.mean
        self.mean += (value - before) / self.samples
        self.squares += (value - before) * (value - self.mean)
        self._distribution = None

    def overdue(self, age: float) -> None:
        """A run is unfinished at an age that hardly any has reached: several of them are a change of speed."""
        self._has_changed(log(age) + 0.1, FARTHEST)

    def _has_changed(self, value: float, deviation: float) -> bool:
        """Note a deviation. Where the last ones show another speed, everything before them is forgotten."""
        self.recent.append((value, max(-FARTHEST, min(FARTHEST, deviation))))
        del self.recent[:-RECENT]
        drift = sum(each for _, each in self.recent) / RECENT
        if self.samples < RECENT or abs(drift) <= CHANGED:
            return False
        values = [each for each, by in self.recent if by * drift > 1]  # those after the change
        self.samples, self.mean = float(len(values)), sum(values) / len(values)
        self.squares = sum((each - self.mean) ** 2 for each in values)
        self.recent.clear()
        self._distribution = None
        return True

    # --- on disk

    def dump(self) -> dict[str, Any]:
        return {"samples": self.samples, "mean": self.mean, "squares": self.squares, "seen": self.seen,
                "recent": self.recent}  # fmt: skip

    def load(self, dumped: dict[str, Any]) -> None:
        self.samples, self.mean, self.squares = (float(dumped[name]) for name in ("samples", "mean", "squares"))
        self.seen = int(dumped["seen"])
        self.recent = [(float(value), float(deviation)) for value, deviation in dumped["recent"]]
        self._distribution = None


def _between(known: Distribution, low: float, high: float) -> tuple[float, float]:
    """Mean and variance of the logarithm of a duration between *low* and *high* seconds."""
    first, last = ((log(each) - known.mean) / known.spread for each in (low, high))
    if last - first < 0.3:  # as good as even between them
        return (log(low) + log(high)) / 2, log(high / low) ** 2 / 12
    if first > FARTHEST or last < -FARTHEST:  # far from what was expected: at the end that is nearer
        return (log(low) + 0.1, 0.0) if first > 0 else (log(high) - 0.1, 0.0)
    share = STANDARD.cdf(last) - STANDARD.cdf(first)
    at_first, at_last = STANDARD.pdf(first), STANDARD.pdf(last)
    mean = (at_first - at_last) / share
    variance = max(0.0, 1 + (first * at_first - last * at_last) / share - mean * mean)
    return known.mean + known.spread * mean, known.spread**2 * variance
