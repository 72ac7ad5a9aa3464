"""The order in which waiting jobs get a provider's free slots."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    job_id: str
    user_id: int
    created_at: int


def fair_order(waiting: Iterable[Waiting], running: Iterable[int]) -> Sequence[str]:
    """Job ids, next first: the member with the fewest running jobs comes first, then the oldest job.

    *running* has one user id for each slot in use. No member can keep the others waiting by submitting many jobs.
    """
    taken = Counter(running)
    queues: dict[int, list[Waiting]] = {}
    for each in sorted(waiting, key=lambda one: (one.created_at, one.job_id), reverse=True):
        queues.setdefault(each.user_id, []).append(each)
    heads = [(taken[user], queue[-1].created_at, queue[-1].job_id, user) for user, queue in queues.items()]
    heapq.heapify(heads)
    order: list[str] = []
    while heads:
        running_now, _, job_id, user = heapq.heappop(heads)
        order.append(job_id)
        queues[user].pop()
        if queues[user]:
            head = queues[user][-1]
            heapq.heappush(heads, (running_now + 1, head.created_at, head.job_id, user))
    return order
