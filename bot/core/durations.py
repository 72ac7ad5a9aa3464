"""How long runs take, learnt from the runs seen: a log-normal distribution for each kind of run, and when to look next.

Pure arithmetic. docs/polling.md explains the rule; `make bench NAME=polling` measures it against the exact optimum.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from math import erfc, exp, inf, log, pi, sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple, Self

STANDARD = NormalDist()
WIDE_SHARE, WIDE_SPREAD = 0.01, 1.0  # of runs that take a quite different time: a stale spread must not stop the polls
FARTHEST = 3.0  # standard deviations that one sample counts at most: a single run that hangs is not a change
HALF_LIFE = 60.0  # samples after which an older one counts half, where no change was noticed
PRIOR_MEAN_WEIGHT, PRIOR_SPREAD_WEIGHT = 0.25, 0.5  # in samples
KEPT_SPREAD_WEIGHT = 3.0  # in samples, of the spread before a change of speed
UNKNOWN_RANGE = (8.0, 60.0)  # seconds, where the catalogue says nothing
FIRST = 1.5  # the first look may come later by half a poll: with it, the cost is within 1.3 % of the exact optimum
STEP = 0.1  # of the table, in standard deviations
TABLE = [round(-5 + STEP * n, 1) for n in range(131)]  # from 5 below the median to 8 above
AGE_STEPS = 40  # by which an age grows e-fold: runs seen unfinished at about the same age are taken together
FORGOTTEN = 0.01  # runs
ENOUGH = 5  # samples for a change to be noticed, and for one that is far away to be cut
FEW = 10  # samples, until which each changes the prediction at once
FRESH = 0.05  # of the samples that may be new before the prediction changes
NARROWEST, WIDEST = 0.02, 2.0  # spreads that are believed
ROUNDS = 8  # of a fit at most
HALVINGS = 30  # of the interval in which a quantile of several distributions is
CHANGE = 4.0  # times more or less ends than expected: the change of speed that is looked for
CERTAIN = 7.0  # logarithm of the odds from which on the speed has changed
MANY = (
    10  # unfinished runs, from which on more is needed: their ends come before the polls of those that have not ended
)
HANGING = 4.0  # expected ends that one run counts for at most: one that hangs is not a change of speed


DUMPED = ("prior_mean", "prior_spread", "spread_weight", "samples", "mean", "squares", "seen")


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

    def expected_ends(self, age: float) -> float:
        """The cumulative hazard: how many ends are expected of a run that is replaced whenever it ends, by *age*."""
        place = (log(age) - self.mean) / self.spread if age > 0 else -inf
        return -log(self._left(place)) if place > -4 else 0.0

    def belongs(self, age: float) -> float:
        """The chance that a run unfinished at *age* is not one of those that take a quite different time."""
        place = (log(age) - self.mean) / self.spread
        return (1 - WIDE_SHARE) * erfc(place / sqrt(2)) / 2 / self._left(place)

    def _left(self, place: float) -> float:
        """The share of runs unfinished so many standard deviations after the median."""
        far = place * self.spread / max(self.spread, WIDE_SPREAD)
        return (1 - WIDE_SHARE) * erfc(place / sqrt(2)) / 2 + WIDE_SHARE * erfc(far / sqrt(2)) / 2

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
            density = (1 - WIDE_SHARE) * exp(-place * place / 2) / narrow + WIDE_SHARE * exp(-far * far / 2) / wide
            # With age = exp(narrow * place): sqrt(f / S) d(age) = sqrt(age * density / left) * narrow d(place).
            values.append(sqrt(exp(narrow * place) * density / (sqrt(2 * pi) * self._left(place))) * narrow * STEP)
        return list(accumulate(values))


def mixed_quantile(kinds: Sequence[tuple[float, Distribution]], share: float) -> float:
    """The seconds within which *share* of all runs end; each kind of run has a weight and a distribution."""
    whole = sum(weight for weight, _ in kinds)
    places = [log(each.quantile(share)) for _, each in kinds]
    low, high = min(places), max(places)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        ended = sum(weight * STANDARD.cdf((middle - each.mean) / each.spread) for weight, each in kinds)
        low, high = (middle, high) if ended < share * whole else (low, middle)
    return exp(high)


class Sample(NamedTuple):
    """The logarithm of a duration, and the variance that comes from not having seen its end."""

    value: float
    variance: float

    @classmethod
    def between(cls, low: float, high: float) -> Self:
        """A duration of anything between *low* and *high* seconds."""
        return cls((log(low) + log(high)) / 2, log(high / low) ** 2 / 12)


@dataclass(slots=True)
class Excursion:
    """The evidence that the speed has changed, since it last spoke against it (Page, Biometrika 41, 1954)."""

    factor: float  # ends for each expected one after the change that is looked for
    odds: float = 0.0  # logarithm
    samples: list[Sample] = field(default_factory=list)

    def add(self, expected: float, sample: Sample | None = None, *, weight: float) -> bool:
        """*expected* ends should have come, and *sample* is one that has; returns whether the speed has changed."""
        self.odds -= weight * (self.factor - 1) * expected
        if sample is not None:
            self.odds += weight * log(self.factor)
            self.samples.append(sample)
            del self.samples[:-ENOUGH]  # those before may be from before the change
        if self.odds <= 0:
            self.clear()
        return self.odds >= CERTAIN

    def clear(self) -> None:
        self.odds = 0.0
        self.samples.clear()


@dataclass(slots=True)
class Durations:
    """What has been learnt about one kind of run in one phase.

    Ages at which runs were seen unfinished count as well as ends: otherwise the first of many runs to end, which are
    the fastest, would speak for all. Each step of a run from one age to the next counts by itself, so that what is
    forgotten is forgotten of ended and unfinished runs alike.
    """

    prior_mean: float
    prior_spread: float
    spread_weight: float = PRIOR_SPREAD_WEIGHT  # of the prior one, in samples
    samples: float = 0.0  # effective number, after forgetting
    mean: float = 0.0  # of the logarithms of the samples
    squares: float = 0.0  # sum of their squared deviations
    seen: int = 0
    _survived: dict[int, float] = field(default_factory=dict)  # age, as `_step_of` has it → runs seen up to it and
    # not further, less those seen from it on
    _faster: Excursion = field(default_factory=lambda: Excursion(CHANGE))
    _slower: Excursion = field(default_factory=lambda: Excursion(1 / CHANGE))
    _likely: Distribution | None = None  # the most likely one
    _known: Distribution | None = None  # the prediction from it, wider where little is known
    _news: float = 0.0  # ends, seen and expected, since the last fit

    @classmethod
    def expected(cls, usual: tuple[float, float] | None) -> Self:
        """Nothing is known but that most runs take between the two times of *usual*, in seconds."""
        low, high = usual or UNKNOWN_RANGE
        return cls((log(low) + log(high)) / 2, max(0.2, log(high / low) / 2.56))  # as the 10th and 90th percentile

    @property
    def distribution(self) -> Distribution:
        """The prediction for the next run."""
        if self._known is None or self._news >= FRESH * max(FEW, self.samples):
            self._known = self._fit()
        return self._known

    # --- what is seen

    def unfinished(self, age: float, *, before: float = 0.0, among: int = 1) -> None:
        """A run was seen unfinished at *age*, and the last time at *before*. *among*: how many are unfinished."""
        self._count(before, -1.0)
        self._count(age, 1.0)
        expected = _expected_ends(self.distribution, before, age)
        self._news += expected
        self._test(expected, among=among)

    def _count(self, age: float, runs: float) -> None:
        if age > 0:
            step = _step_of(age)
            self._survived[step] = self._survived.get(step, 0.0) + runs

    def ended(self, low: float, high: float, *, before: float, among: int = 1) -> None:
        """A run ended between the ages *low* and *high*; it was last counted as unfinished at *before*."""
        known = self.distribution
        high = max(high, 2e-3)
        if self.samples < FEW:  # a run that ended before the first look at it is taken to have ended not long before
            low = max(low, high / 2)
        low = min(max(low, 1e-3), high)
        self.seen += 1
        self._news += 1
        self._count(before, -1.0)
        first, last = ((log(each) - known.mean) / known.spread for each in (low, high))
        value, variance = _expected_between(first, last)
        expected = _expected_ends(known, low, exp(known.mean + known.spread * value))
        if self._test(expected, Sample.between(max(low, high / 2), high), among=among):
            return
        if self.samples >= ENOUGH:
            value = max(-FARTHEST, min(FARTHEST, value))
        value, variance = known.mean + value * known.spread, variance * known.spread**2
        keep = 0.5 ** (1 / max(HALF_LIFE, among))  # the last of many to end are the slowest
        self.samples, self.squares = self.samples * keep + 1, self.squares * keep + variance
        self._survived = {step: runs * keep for step, runs in self._survived.items() if abs(runs) > FORGOTTEN}
        before = self.mean
        self.mean += (value - before) / self.samples
        self.squares += (value - before) * (value - self.mean)

    # --- what follows

    def _test(self, expected: float, sample: Sample | None = None, *, among: int) -> bool:
        """Whether the speed has changed; then everything before the change is forgotten."""
        if self.samples < ENOUGH:
            return False
        weight = min(1.0, MANY / among)
        if self._slower.add(expected, sample, weight=weight):
            self._restart(self._slower)
            return True
        is_late = sample is not None and self.distribution.expected_ends(exp(sample.value)) > HANGING
        if not is_late and self._faster.add(expected, sample, weight=weight):
            self._restart(self._faster)
            return True
        return False

    def _restart(self, excursion: Excursion) -> None:
        likely = self._likely
        assert likely is not None
        samples = excursion.samples
        values = [each.value for each in samples] or [likely.mean + FARTHEST * likely.spread]
        self.prior_mean, self.prior_spread, self.spread_weight = fmean(values), likely.spread, KEPT_SPREAD_WEIGHT
        self.samples, self.mean = float(len(samples)), self.prior_mean
        self.squares = sum((each.value - self.mean) ** 2 + each.variance for each in samples)
        self._survived.clear()
        self._likely, self._known = Distribution(self.prior_mean, self.prior_spread), None
        self._faster.clear()
        self._slower.clear()

    def _fit(self) -> Distribution:
        """The most likely distribution, as wide as it has to be for a prediction."""
        start = self._likely or Distribution(self.prior_mean, self.prior_spread)  # logarithms count from its mean
        expected = max(-start.spread, min(start.spread, self.prior_mean - start.mean))  # however wrong it is
        values = ((PRIOR_MEAN_WEIGHT, expected), (self.samples, self.mean - start.mean))
        ages = [(step / AGE_STEPS - start.mean, runs) for step, runs in self._survived.items()]
        old = [
            (runs * start.belongs(exp(start.mean + age)), age) for age, runs in ages if age > -FARTHEST * start.spread
        ]
        degrees = self.spread_weight + self.samples
        squares = self.spread_weight * self.prior_spread**2 + self.squares
        found = _most_likely(values, old, degrees=degrees, squares=squares, spread=start.spread) or _most_likely(
            values, (), degrees=degrees, squares=squares, spread=start.spread
        )
        assert found is not None  # without ages it is concave everywhere
        self._likely, self._news = Distribution(start.mean + found.mean, found.spread), 0.0
        return Distribution(start.mean + found.mean, found.spread * found.widening)

    # --- on disk

    def dump(self) -> dict[str, float]:
        likely = self._likely or Distribution(self.prior_mean, self.prior_spread)
        return {name: getattr(self, name) for name in DUMPED} | {
            "likely_mean": likely.mean,
            "likely_spread": likely.spread,
        }

    @classmethod
    def load(cls, dumped: Mapping[str, float]) -> Self:
        """What was dumped; raises `KeyError` or `TypeError` for anything else."""
        loaded = cls(0.0, 1.0)
        for name in DUMPED:
            setattr(loaded, name, dumped[name])
        loaded._likely = Distribution(dumped["likely_mean"], dumped["likely_spread"])
        return loaded


class Estimate(NamedTuple):
    mean: float
    spread: float
    widening: float  # how much wider a prediction is, because mean and spread may be off


def _most_likely(
    values: Sequence[tuple[float, float]],
    ages: Sequence[tuple[float, float]],
    *,
    degrees: float,
    squares: float,
    spread: float,
) -> Estimate | None:
    """The most likely normal distribution; None where the likelihood has no maximum near zero and *spread*.

    *values* have a weight and a mean each, *squares* are their squared deviations with so many *degrees* of freedom.
    *ages* have the weight of what has not ended by then. By Newton's method for mean / spread and 1 / spread, in which
    the likelihood of values and unfinished runs is concave (Olsen, Econometrica 46, 1978).
    """
    at, precision = 0.0, 1 / spread  # mean / spread, 1 / spread
    for _ in range(ROUNDS):
        by_at, by_precision = 0.0, degrees / precision - precision * squares
        curve, cross, curve_precision = 0.0, 0.0, degrees / precision**2 + squares
        for weight, value in values:
            by_at += weight * (precision * value - at)
            by_precision -= weight * value * (precision * value - at)
            curve += weight
            cross += weight * value
            curve_precision += weight * value * value
        for runs, age in ages:
            place = precision * age - at
            hazard = _normal_hazard(place)
            weight = runs * hazard * (hazard - place)
            by_at += runs * hazard
            by_precision -= runs * age * hazard
            curve += weight
            cross += weight * age
            curve_precision += weight * age * age
        area = curve * curve_precision - cross * cross
        if curve <= 0 or area <= 0:
            return None
        step = (by_at * cross + by_precision * curve) / area
        part = min(1.0, precision / (2 * abs(step) + 1e-12))
        at += part * (by_at * curve_precision + by_precision * cross) / area
        precision += part * step
        if abs(step) < 0.01 * precision and abs(by_at) < 0.05 * curve:
            break
    mean = max(-FARTHEST, min(FARTHEST, at / precision))
    mean_off = (curve_precision - 2 * mean * cross + mean * mean * curve) / area  # variances, in spreads
    spread_off = 2 * curve / area / precision**2
    widening = sqrt((1 + mean_off) * (1 + spread_off / (1 + spread_off)))
    return Estimate(mean, min(WIDEST, max(NARROWEST, 1 / precision)), widening)


def _step_of(age: float) -> int:
    return round(log(max(age, 0.01)) * AGE_STEPS)


def _expected_ends(known: Distribution, start: float, age: float) -> float:
    """The ends expected of one run between two ages, in seconds."""
    return max(0.0, min(HANGING, known.expected_ends(age)) - min(HANGING, known.expected_ends(start)))


def _normal_hazard(place: float) -> float:
    if place > 6:
        return place + 1 / place
    return sqrt(2 / pi) * exp(-place * place / 2) / erfc(place / sqrt(2))


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
