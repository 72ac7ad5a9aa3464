"""Who is next: the order in which waiting jobs get a host's free slots."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    job_id: str
    user_id: int
    created_at: int


def fair_order(waiting: Iterable[Waiting], running: Iterable[int]) -> Sequence[str]:
    """Job ids, next first: always from the member with the fewest running, then the one who waited longest.

    *running* holds a user id for each taken slot. One busy member so never starves the rest.
    """
    taken = Counter(running)
    queues: dict[int, list[Waiting]] = {}
    for each in sorted(waiting, key=lambda one: (one.created_at, one.job_id), reverse=True):
        queues.setdefault(each.user_id, []).append(each)
    order: list[str] = []
    while queues:
        user = min(queues, key=lambda one: (taken[one], queues[one][-1].created_at, queues[one][-1].job_id))
        order.append(queues[user].pop().job_id)
        taken[user] += 1
        if not queues[user]:
            del queues[user]
    return order
