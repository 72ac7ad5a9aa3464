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
from typing import Any, NamedTuple, Self

STANDARD = NormalDist()
WIDE_SHARE, WIDE_SPREAD = 0.01, 1.0  # of runs that take a quite different time: a stale spread must not stop the polls
RECENT = 5  # samples by which a change is noticed
CHANGED = 1.5  # mean of their standardised deviations from which on it is one
FARTHEST = 3.0  # standard deviations that one sample counts at most: a single run that hangs is not a change
HALF_LIFE = 60.0  # samples after which an older one counts half, where no change was noticed
PRIOR_MEAN_WEIGHT, PRIOR_SPREAD_WEIGHT = 0.25, 0.5  # in samples
UNKNOWN_RANGE = (8.0, 60.0)  # seconds, where the catalogue says nothing
FIRST = 1.5  # the first look may come later by half a poll: with it, the cost is within 1.3 % of the exact optimum
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
        passed, step = self._density_until(age), sqrt(2 * price) / exp(self.mean / 2)
        target = passed + (step * FIRST if passed < step / 2 else step)
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


class Sample(NamedTuple):
    """The logarithm of a duration, and the variance that comes from not having seen its end."""

    value: float
    variance: float

    @classmethod
    def between(cls, low: float, high: float) -> Self:
        """A duration of anything between *low* and *high* seconds."""
        return cls((log(low) + log(high)) / 2, log(high / low) ** 2 / 12)


@dataclass(slots=True)
class Durations:
    """What has been learnt about one kind of run in one phase."""

    prior_mean: float
    prior_spread: float
    samples: float = 0.0  # effective number, after forgetting
    mean: float = 0.0  # of the logarithms of the samples
    squares: float = 0.0  # sum of their squared deviations
    seen: int = 0
    recent: list[tuple[Sample, float]] = field(default_factory=list)  # the last samples and their deviations
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

    def add(self, low: float, high: float, *, was_overdue: bool = False) -> None:
        """A run was seen unfinished at the age of *low* seconds, and finished at *high*.

        *was_overdue*: it has been noted by `overdue` before.
        """
        now = self.distribution
        low, high = max(low, 1e-3), max(high, low, 2e-3)
        first, last = ((log(each) - now.mean) / now.spread for each in (low, high))
        self.seen += 1
        middle = (STANDARD.cdf(first) + STANDARD.cdf(last)) / 2
        plain = Sample.between(max(low, high / 3), high)
        if not was_overdue and self._has_changed(plain, STANDARD.inv_cdf(min(1 - 1e-9, max(1e-9, middle)))):
            return
        value, variance = _expected_between(first, last)
        if self.samples >= RECENT:
            value = max(-FARTHEST, min(FARTHEST, value))
        value, variance = now.mean + value * now.spread, variance * now.spread**2
        keep = 0.5 ** (1 / HALF_LIFE)
        self.samples, self.squares = self.samples * keep + 1, self.squares * keep + variance
        before = self.mean
        self.mean += (value - before) / self.samples
        self.squares += (value - before) * (value - self.mean)
        self._distribution = None

    def overdue(self, age: float) -> None:
        """A run is unfinished at an age that hardly any has reached: several of them are a change of speed."""
        self._has_changed(Sample.between(age, 1.4 * age), FARTHEST)

    def _has_changed(self, sample: Sample, deviation: float) -> bool:
        """Note a deviation. Where the last ones show another speed, everything before them is forgotten."""
        self.recent.append((sample, max(-FARTHEST, min(FARTHEST, deviation))))
        del self.recent[:-RECENT]
        drift = sum(each for _, each in self.recent) / RECENT
        if self.samples < RECENT or abs(drift) <= CHANGED:
            return False
        after = [each for each, by in self.recent if by * drift > 1]  # those of another speed
        self.samples, self.mean = float(len(after)), sum(each.value for each in after) / len(after)
        self.squares = sum((each.value - self.mean) ** 2 + each.variance for each in after)
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
        self.recent = [(Sample(*sample), float(deviation)) for sample, deviation in dumped["recent"]]
        self._distribution = None


def _expected_between(first: float, last: float) -> tuple[float, float]:
    """Mean and variance of a standard normal variable that is known to lie between *first* and *last*."""
    if last - first < 0.3:  # as good as even between them
        return (first + last) / 2, (last - first) ** 2 / 12
    if first > FARTHEST or last < -FARTHEST:  # far from what was expected: near the end that is nearer
        return (first + 0.1, 0.0) if first > 0 else (last - 0.1, 0.0)
    share = STANDARD.cdf(last) - STANDARD.cdf(first)
    at_first, at_last = STANDARD.pdf(first), STANDARD.pdf(last)
    mean = (at_first - at_last) / share
    return mean, max(0.0, 1 + (first * at_first - last * at_last) / share - mean * mean)
