"""The order in which waiting jobs get free slots: a busy member does not starve the others."""

from collections import Counter
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.fair_queue import Waiting, fair_order

users = st.integers(1, 4)
taken = st.lists(users, max_size=8)
queues = st.lists(st.tuples(users, st.integers(0, 5)), max_size=14).map(
    lambda rows: [Waiting(f"job-{n:02}", user, at) for n, (user, at) in enumerate(rows)]
)
lines = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@lines
@given(queues, taken)
def test_every_waiting_job_is_in_the_order_once(waiting: list[Waiting], running: list[int]) -> None:
    assert sorted(fair_order(waiting, running)) == sorted(each.job_id for each in waiting)


@lines
@given(queues, taken, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_of_the_rows(
    waiting: list[Waiting], running: list[int], random: Random
) -> None:
    shuffled = list(waiting)
    random.shuffle(shuffled)
    assert fair_order(shuffled, reversed(running)) == fair_order(waiting, running)


@lines
@given(queues, taken)
def test_each_slot_goes_to_the_member_with_the_fewest(waiting: list[Waiting], running: list[int]) -> None:
    of = {each.job_id: each for each in waiting}
    having, left = Counter(running), dict(of)
    for job_id in fair_order(waiting, running):
        candidates = {each.user_id for each in left.values()}
        chosen = left.pop(job_id)
        fewest = min(having[user] for user in candidates)
        assert having[chosen.user_id] == fewest
        rivals = [each for each in left.values() if having[each.user_id] == fewest]
        assert all((chosen.created_at, chosen.job_id) < (each.created_at, each.job_id) for each in rivals)
        having[chosen.user_id] += 1


@lines
@given(queues, taken, st.integers(0, 14))
def test_filling_some_slots_keeps_the_order_of_the_rest(waiting: list[Waiting], running: list[int], slots: int) -> None:
    order = list(fair_order(waiting, running))
    served = set(order[:slots])
    busy = [*running, *(each.user_id for each in waiting if each.job_id in served)]
    assert list(fair_order([each for each in waiting if each.job_id not in served], busy)) == order[slots:]


@lines
@given(queues, taken, st.integers(20, 200))
def test_many_jobs_of_one_member_delay_the_first_job_of_another_by_one_at_most(
    waiting: list[Waiting], running: list[int], flood: int
) -> None:
    mine = Waiting("mine", 9, 99)
    crowd = [*waiting, mine, *(Waiting(f"flood-{n:03}", 8, 0) for n in range(flood))]
    ahead = list(fair_order(crowd, running)).index("mine")
    assert ahead <= len(waiting) + 1  # at most one job of the flood


@pytest.mark.parametrize(
    ("running", "order"),
    [([], ["a1", "b1", "a2", "a3"]), ([1], ["b1", "a1", "a2", "a3"]), ([2, 2], ["a1", "a2", "a3", "b1"])],
)
def test_the_busy_member_waits_for_the_idle_one(running: list[int], order: list[str]) -> None:
    waiting = [Waiting("a1", 1, 10), Waiting("a2", 1, 11), Waiting("a3", 1, 12), Waiting("b1", 2, 20)]
    assert fair_order(waiting, running) == order
