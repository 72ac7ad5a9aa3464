"""Runs that want more polls than their provider's budget has, polled as the product does, without network or clock."""

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from statistics import mean

from bot.core.durations import Durations
from bot.core.polling import poll_price
from bot.core.rate_limit import RateLimit

MEDIANS = (5.0, 60.0)  # seconds, of two kinds of runs in equal numbers
SPREAD, USUAL, BUDGET = 0.25, (10, 30), 20


@dataclass(order=True)
class Run:
    due_at: float  # seconds
    number: int
    began_at: float = field(compare=False)
    duration: float = field(compare=False)
    kind: Durations = field(compare=False)
    seen_at: float = field(compare=False, default=0.0)  # age


def mean_delay(per_second: float, runs: int, *, price: float | None = None) -> float:
    """Mean delay in seconds with so many new runs a second; *price*: a constant price of a poll instead of ours."""
    dice, limit, numbers = random.Random(1), RateLimit(BUDGET), count()
    kinds = [Durations.expected(USUAL) for _ in MEDIANS]
    due: list[Run] = []
    now = 0.0
    for _ in range(runs):
        now += dice.expovariate(per_second)
        which = dice.randrange(len(MEDIANS))
        duration = MEDIANS[which] * dice.lognormvariate(0, SPREAD)
        heappush(due, Run(now, next(numbers), now, duration, kinds[which], seen_at=-1.0))  # its first look is decided
    delays, now, waiting = [], 0.0, list[Run]()
    while due or waiting:
        if not waiting:
            now = max(now, due[0].due_at)
        while due and due[0].due_at <= now:
            heappush(waiting, heappop(due))
        run = heappop(waiting)
        if run.seen_at >= 0:  # a poll, which waits for the budget
            at = limit.next_at(int(now * 1000)) / 1000
            if at > now:
                heappush(waiting, run)
                now = at
                continue
            limit.count(int(now * 1000))
            age = now - run.began_at
            if age >= run.duration:
                run.kind.ended(run.seen_at, age, before=run.seen_at)
                delays.append(age - run.duration)
                continue
            run.kind.unfinished(age, before=run.seen_at)
        run.seen_at = max(0.0, now - run.began_at)
        worth = poll_price(len(waiting) / BUDGET) if price is None else price
        look = run.kind.distribution.next_look(run.seen_at, price=worth)
        run.due_at = run.began_at + max(look, run.seen_at + 0.25)
        heappush(due, run)
    return mean(delays)
