"""The product's own poll schedule against the exact optimum, and against pollers with a fixed interval.

Pure arithmetic: no network and no clock. The optimum of mean delay + price * polls is computed by dynamic programming
on a grid for the true distribution; the product learns it from the runs that it polls. Regret is the cost beyond the
optimum. Draws docs/pictures/polling.png.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path
from statistics import mean
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from bench._budget import mean_delay
from bot.core.durations import Distribution, DurationKey, Durations
from bot.core.jobs import State
from bot.core.polling import POLL_PRICE, Timing
from bot.jobs.poll_timing import PolledRun, PollTiming
from bot.store.notes import Notes
from tests.kit import catalog

mpl.use("Agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "polling.png"
MEDIAN, USUAL = 12.0, (8, 20)
QUANTILES = (np.arange(1500) + 0.5) / 1500
REPEATS = 60
PEERS = {"fal_client": 0.1, "replicate": 0.5, "openai": 1.0}
Draw = Callable[[random.Random], float]
Looks = Callable[[float], float]  # the age of the next look from that of the last one


@dataclass(frozen=True)
class Kind:
    """A true distribution of durations: how to draw from it, and its quantiles at `QUANTILES`."""

    name: str
    draw: Draw
    durations: NDArray[np.float64]


def main() -> list[dict[str, Any]]:
    spreads = {spread: lognormal(MEDIAN, spread) for spread in (0.1, 0.25, 0.4)}
    optimum = {spread: best_cost(kind) for spread, kind in spreads.items()}
    rows = []
    for spread, kind in spreads.items():
        rows.append(_row(f"cost_over_optimum_{round(100 * spread):02}", _learnt_cost(kind, 30) / optimum[spread], ""))
    rows += [_row(f"fixed_over_ours_{round(100 * spread):02}", _fixed_over_ours(spread), "") for spread in spreads]
    rows += [
        _row(f"cost_over_optimum_{kind.name}", _learnt_cost(kind, 60) / best_cost(kind), "")
        for kind in (heavy_tailed(), bimodal())
    ]
    middle = spreads[0.25]
    rows.append(_row("regret_new_model_10_jobs", 100 * (_learnt_cost(middle, 10) / optimum[0.25] - 1), "%"))
    rows.append(
        _row("regret_wrong_prior_10_jobs", 100 * (_learnt_cost(middle, 10, (60, 150)) / optimum[0.25] - 1), "%")
    )
    for name, factor in (("doubling", 2.0), ("halving", 0.5)):
        changed = lognormal(MEDIAN * factor, 0.25)
        cost = _learnt_cost(changed, 20, before=middle)
        rows.append(_row(f"regret_{name}_20_jobs", 100 * (cost / best_cost(changed) - 1), "%"))
    for runs in (30, 300):
        rows.append(_row(f"cost_over_optimum_{runs}_at_once", _together(middle, [0.0] * runs) / optimum[0.25], ""))
    slow, begins = lognormal(160, 0.25), [n / 10 for n in range(3200)]
    cost_in_flight = _together(slow, begins, repeats=1, skipped=1600)
    rows.append(_row("cost_over_optimum_1600_in_flight", cost_in_flight / best_cost(slow), ""))
    rows += [_row(f"cost_with_starts_queue_{seconds}", _with_starts(seconds), "") for seconds in (3, 10, 30)]
    for per_second in (8, 15):
        constant = min(mean_delay(per_second, 1000, price=price) for price in (0.1, 0.3, 1, 3))
        ours = mean_delay(per_second, 1000)
        rows.append(_row(f"budget_delay_over_best_price_{per_second:02}_a_second", ours / constant, ""))
    rows += _drift(middle)
    for name, interval in PEERS.items():
        delay, polls = outcome(middle, every(interval))
        rows += [_row(f"{name}_delay_25", delay, "s"), _row(f"{name}_polls_25", polls, "")]
    delay, polls = outcome(middle, _looks(Distribution(math.log(MEDIAN), 0.25), POLL_PRICE))
    rows += [_row("ours_delay_25", delay, "s"), _row("ours_polls_25", polls, ""), *_speed()]
    draw_picture(middle)
    return rows


# --- distributions


def lognormal(median: float, spread: float) -> Kind:
    known = Distribution(math.log(median), spread)
    durations = np.array([known.quantile(share) for share in QUANTILES])
    return Kind(f"{spread}", lambda dice: median * dice.lognormvariate(0, spread), durations)


def heavy_tailed() -> Kind:
    """One run in ten takes three times as long, and varies widely."""
    return _mixture("heavy_tailed", [(0.9, MEDIAN, 0.2), (0.1, 3 * MEDIAN, 0.7)])


def bimodal() -> Kind:
    """Half of the runs find a warm machine, half a cold one."""
    return _mixture("bimodal", [(0.5, MEDIAN, 0.1), (0.5, 2 * MEDIAN, 0.1)])


def _mixture(name: str, parts: Sequence[tuple[float, float, float]]) -> Kind:
    def draw(dice: random.Random) -> float:
        _, median, spread = dice.choices(parts, weights=[each[0] for each in parts])[0]
        return median * dice.lognormvariate(0, spread)

    dice = random.Random(7)
    drawn = np.sort(np.array([draw(dice) for _ in range(60_000)]))
    return Kind(name, draw, drawn[(QUANTILES * len(drawn)).astype(int)])


# --- costs


def outcome(kind: Kind, looks: Looks) -> tuple[float, float]:
    """Mean delay in seconds and mean number of polls, where polls follow *looks*."""
    ages, age, last = [], 0.0, kind.durations[-1]
    while age < last:
        age = looks(age)
        ages.append(age)
    at = np.searchsorted(ages, kind.durations)
    return float(np.mean(np.array(ages)[at] - kind.durations)), float(np.mean(at + 1))


def every(seconds: float) -> Looks:
    """Looks at a fixed interval."""
    return lambda age: age + seconds


def growing(shortest: float) -> Looks:
    """Looks at an interval that is half of the age, from *shortest* to ten times that."""
    return lambda age: age + min(10 * shortest, max(shortest, age / 2))


def cost(kind: Kind, looks: Looks, *, price: float = POLL_PRICE) -> float:
    delay, polls = outcome(kind, looks)
    return delay + price * polls


def _looks(known: Distribution, price: float) -> Looks:
    return lambda age: known.next_look(age, price=price)


def optimal(kind: Kind, *, price: float = POLL_PRICE, points: int = 4000) -> tuple[float, float]:
    """Mean delay and polls of the optimal schedule.

    W(t) = min over s > t of price * S(t) + the delay of runs that end between t and s + W(s).
    """
    grid = np.linspace(0, kind.durations[-1] * 1.001, points)
    ended = np.searchsorted(kind.durations, grid, side="right") / len(kind.durations)
    until = np.concatenate([[0.0], np.cumsum((ended[1:] + ended[:-1]) / 2) * (grid[1] - grid[0])])
    value, following = np.zeros(points), np.zeros(points, dtype=int)
    for n in range(points - 2, -1, -1):
        later = slice(n + 1, points)
        options = until[later] - until[n] - ended[n] * (grid[later] - grid[n]) + value[later]
        best = int(np.argmin(options))
        value[n], following[n] = price * (1 - ended[n]) + options[best], n + 1 + best
    looks, n = [], 0
    while n < points - 1:
        n = int(following[n])
        looks.append(float(grid[n]))
    looks.append(float(kind.durations[-1]) * 1.01)
    return outcome(kind, lambda age: next(each for each in looks if each > age))


def best_cost(kind: Kind) -> float:
    delay, polls = optimal(kind)
    return delay + POLL_PRICE * polls


def _learnt_cost(
    kind: Kind, jobs: int, usual: tuple[float, float] = USUAL, *, before: Kind | None = None, repeats: int = REPEATS
) -> float:
    """Mean cost of the schedule after *jobs* runs of *kind*, after thirty of another where *before* is given."""
    costs = []
    for seed in range(repeats):
        dice, durations = random.Random(seed), Durations.expected(usual)
        for _ in range(30 if before else 0):
            poll(durations, before.draw(dice) if before else 0.0)
        for _ in range(jobs):
            poll(durations, kind.draw(dice))
        costs.append(cost(kind, _looks(durations.distribution, POLL_PRICE)))
    return mean(costs)


def poll(durations: Durations, duration: float) -> tuple[float, int]:
    """Poll one run to its end and learn from it, as the product does; returns delay and polls."""
    age, polls = 0.0, 0
    while True:
        at, polls = max(durations.distribution.next_look(age, price=POLL_PRICE), age + 0.25), polls + 1
        if at >= duration:
            durations.ended(age, at, before=age)
            return at - duration, polls
        durations.unfinished(at, before=age)
        age = at


def _together(kind: Kind, begins: Sequence[float], *, repeats: int = 8, skipped: int = 0) -> float:
    """Mean cost of runs of a new model that begin at such times, without the first ones."""
    costs = []
    for seed in range(repeats):
        dice, durations = random.Random(seed), Durations.expected(USUAL)
        due = [(begin, begin, -1.0, kind.draw(dice), n) for n, begin in enumerate(begins)]
        heapify(due)
        among = 0
        while due:
            now, begin, before, duration, number = heappop(due)
            age = now - begin
            among += before < 0
            if before >= 0:
                costs.append(POLL_PRICE if number >= skipped else 0.0)
                if age >= duration:
                    durations.ended(before, age, before=before, among=among)
                    costs.append(age - duration if number >= skipped else 0.0)
                    among -= 1
                    continue
                durations.unfinished(age, before=before, among=among)
            following = durations.distribution.next_look(age, price=POLL_PRICE)
            heappush(due, (begin + max(following, age + 0.25), begin, age, duration, number))
    return sum(costs) / (repeats * (len(begins) - skipped))


@dataclass
class Time:
    now: int = 0  # milliseconds

    def __call__(self) -> int:
        return self.now


def _with_starts(queue: float) -> float:
    """Cost where the provider says when a run starts ÷ where it does not.

    Runs wait *queue* seconds for their start, with a spread of 0.8.
    """
    costs = []
    for starts in (True, False):
        dice, time_ = random.Random(5), Time(10**9)
        timing = PollTiming(cast("Notes", None), catalog=catalog("runcomfy"), polls_per_second={}, clock=time_)
        runs = []
        for _ in range(400):
            queued, running = queue * dice.lognormvariate(0, 0.8), MEDIAN * dice.lognormvariate(0, 0.25)
            runs.append(poll_phases(timing, time_, queued=queued, running=running, starts=starts))
        costs.append(mean(runs[100:]))
    return costs[0] / costs[1]


def poll_phases(timing: PollTiming, now: Time, *, queued: float, running: float, starts: bool) -> float:
    """Poll one run to its end and learn from it; returns its cost."""
    began, costs = now.now, POLL_PRICE
    run = PolledRun(
        job_id="",
        provider="runcomfy",
        run_id="",
        state=State.QUEUED,
        position=None,
        submitted_at=began,
        deadline=began + 10**9,
        timing=Timing(),
        key=DurationKey("runcomfy", "nano-banana-2", "1K", 1, "imagine"),
        calls_back=False,
        seen_at=began,
        started_after=began,
    )
    while True:
        now.now = timing.next_look(run)
        age = (now.now - began) / 1000
        if age >= queued + running:
            timing.finished(run, called_back=False)
            return costs + age - queued - running
        costs += POLL_PRICE
        if starts and run.state is State.QUEUED and age >= queued:
            timing.started(run)
        else:
            timing.unfinished(run)


def _drift(start: Kind) -> list[dict[str, Any]]:
    """The median wanders by 3 % a job: cost against that of somebody who always knows it."""
    paid, known = [], []
    for seed in range(20):
        dice, durations, median = random.Random(seed), Durations.expected(USUAL), MEDIAN
        for _ in range(30):
            poll(durations, start.draw(dice))
        for _ in range(100):
            median = min(60.0, max(4.0, median * dice.lognormvariate(0, 0.03)))
            duration = median * dice.lognormvariate(0, 0.25)
            delay, polls = poll(durations, duration)
            paid.append(delay + POLL_PRICE * polls)
            looks, age, count = _looks(Distribution(math.log(median), 0.25), POLL_PRICE), 0.0, 0
            while age < duration:
                age, count = looks(age), count + 1
            known.append(age - duration + POLL_PRICE * count)
    return [_row("cost_over_known_drifting", mean(paid) / mean(known), "")]


def _fixed_over_ours(spread: float) -> float:
    """Mean delay of the best fixed interval divided by ours, at equal polls, over ten kinds of runs.

    All durations together are log-normal with a spread of 0.73 around twelve seconds, most of which lies between the
    kinds. Each was learnt from a hundred runs, and the price of a poll is the same for all.
    """
    between = Distribution(math.log(MEDIAN), math.sqrt(0.73**2 - spread**2))
    kinds = [lognormal(min(45.0, between.quantile((n + 0.5) / 10)), spread) for n in range(10)]
    ours = []
    for seed, kind in enumerate(kinds):
        dice, durations = random.Random(seed), Durations.expected(USUAL)
        for _ in range(100):
            poll(durations, kind.draw(dice))
        ours.append(outcome(kind, _looks(durations.distribution, POLL_PRICE)))
    polls, low, high = mean(each[1] for each in ours), 0.01, 60.0
    for _ in range(40):
        middle = (low + high) / 2
        many = mean(outcome(kind, every(middle))[1] for kind in kinds) > polls
        low, high = (middle, high) if many else (low, middle)
    return mean(outcome(kind, every(high))[0] for kind in kinds) / mean(each[0] for each in ours)


def _speed() -> list[dict[str, Any]]:
    known, number = Distribution(math.log(MEDIAN), 0.25), 20_000
    known.next_look(1, price=POLL_PRICE)
    began = time.perf_counter()
    for n in range(number):
        known.next_look(5 + n / 2000, price=POLL_PRICE)
    decision = (time.perf_counter() - began) / number
    durations = Durations.expected(USUAL)
    began = time.perf_counter()
    for n in range(500):
        durations.ended(10, 10.5 + n / 500, before=10)
        durations.distribution.next_look(1, price=POLL_PRICE)
    return [
        _row("us_per_decision", 1e6 * decision, "us"),
        _row("us_per_job_learnt", 1e6 * (time.perf_counter() - began) / 500, "us"),
    ]


# --- the picture


def draw_picture(kind: Kind) -> None:
    """Mean delay against polls for each rule, on logarithmic axes."""
    known = Distribution(math.log(MEDIAN), 0.25)
    prices = np.geomspace(0.008, 1.5, 14)
    ours = [outcome(kind, _looks(known, price)) for price in prices]
    best = [optimal(kind, price=price, points=2500) for price in prices[::2]]
    intervals = np.geomspace(0.1, 8, 24)
    fixed = [outcome(kind, every(by)) for by in intervals]
    backoff = [outcome(kind, growing(by)) for by in np.geomspace(0.05, 2, 16)]
    figure, axes = plt.subplots(figsize=(7.2, 4.4), dpi=140)
    for points, style, label in (
        (backoff, {"color": "#999999", "linestyle": "--"}, "growing interval"),
        (fixed, {"color": "#d0742c"}, "fixed interval"),
        (ours, {"color": "#2c6fd0", "linewidth": 2.5}, "Darkroom"),
        (best, {"color": "black", "linestyle": "none", "marker": "o", "markersize": 4}, "exact optimum"),
    ):
        axes.plot([polls for _, polls in points], [delay for delay, _ in points], label=label, **style)
    for name, interval in PEERS.items():
        delay, polls = outcome(kind, every(interval))
        axes.annotate(
            name, (polls, delay), xytext=(-8, -12), textcoords="offset points", ha="right", fontsize=8, color="#d0742c"
        )
        axes.plot([polls], [delay], marker="s", color="#d0742c", markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="status requests for each job", ylabel="mean delay (seconds)")
    axes.set_title("Runs of 12 seconds, spread 0.25: how late their end is seen", fontsize=10)
    axes.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 4], ["0.05", "0.1", "0.2", "0.5", "1", "2", "4"])
    axes.set_ylim(bottom=0.035)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE)
    plt.close(figure)


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}
