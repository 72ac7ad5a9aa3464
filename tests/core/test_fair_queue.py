"""The order in which waiting jobs get free slots: a busy member does not starve the others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.fair_queue import FairQueue, Waiting, shown_place

USERS = st.integers(1, 4)
QUEUES = st.lists(st.tuples(USERS, st.integers(0, 5)), max_size=14).map(
    lambda rows: [Waiting(f"job-{n:02}", user, at) for n, (user, at) in enumerate(rows)]
)
TAKEN = st.lists(USERS, max_size=8).map(lambda users: {f"running-{n}": user for n, user in enumerate(users)})
examples = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def fair_order(waiting: Iterable[Waiting], running: Mapping[str, int]) -> Sequence[str]:
    """The model: slot by slot, the oldest job of the member with the fewest."""
    having, left, order = Counter(running.values()), list(waiting), []
    while left:
        chosen = min(left, key=lambda job: (having[job.user_id], job.created_at, job.job_id))
        left.remove(chosen)
        having[chosen.user_id] += 1
        order.append(chosen.job_id)
    return order


def queue_of(waiting: Iterable[Waiting], running: Mapping[str, int]) -> FairQueue:
    queue = FairQueue()
    queue.load(waiting, running)
    return queue


EVENTS = st.lists(
    st.tuples(st.sampled_from(["wait", "run", "leave", "ask", "turns"]), st.integers(0, 9), USERS, st.integers(0, 3)),
    max_size=40,
)


@examples
@given(EVENTS)
def test_after_any_events_order_places_and_turns_are_those_of_the_model(
    events: list[tuple[str, int, int, int]],
) -> None:
    queue = FairQueue()
    waiting: dict[str, Waiting] = {}
    running: dict[str, int] = {}
    turned_away: set[str] = set()
    for what, number, member, at in events:
        job_id, user = f"job-{number}", member
        match what:
            case "wait":
                job = Waiting(job_id, user, at)
                if waiting.get(job_id) != job:
                    turned_away.discard(job_id)
                running.pop(job_id, None)
                waiting[job_id] = job
                queue.wait(job)
            case "run":
                if job_id in waiting:
                    user = waiting.pop(job_id).user_id  # its member stays the same
                turned_away.discard(job_id)
                running[job_id] = user
                queue.run(job_id, user)
            case "leave":
                waiting.pop(job_id, None)
                running.pop(job_id, None)
                turned_away.discard(job_id)
                queue.leave(job_id)
            case "ask":
                may = job_id in fair_order(waiting.values(), running)[:at]
                assert queue.has_turn(job_id, free=at) is may
                if not may and job_id in waiting:
                    turned_away.add(job_id)
            case "turns":
                expected = [each for each in fair_order(waiting.values(), running)[:at] if each in turned_away]
                assert queue.turns(free=at) == expected
                turned_away -= set(expected)
        order = fair_order(waiting.values(), running)
        assert queue.waiting == order
        assert queue.running == len(running)
        assert [queue.place(waiting[each]) for each in order] == list(range(1, len(order) + 1))
        assert queue.differences(waiting.values(), running) == set()


@examples
@given(QUEUES, TAKEN)
def test_a_queue_from_rows_has_the_order_of_the_model(waiting: list[Waiting], running: dict[str, int]) -> None:
    assert queue_of(reversed(waiting), running).waiting == fair_order(waiting, running)


@examples
@given(QUEUES, TAKEN, USERS, st.integers(0, 6))
def test_the_place_on_a_first_card_is_the_place_once_the_job_waits(
    waiting: list[Waiting], running: dict[str, int], user: int, at: int
) -> None:
    queue, new = queue_of(waiting, running), Waiting("new", user, at)
    before = queue.place(new)
    queue.wait(new)
    assert queue.place(new) == before


@examples
@given(QUEUES, TAKEN, st.integers(20, 200))
def test_many_jobs_of_one_member_delay_the_first_job_of_another_by_one_at_most(
    waiting: list[Waiting], running: dict[str, int], flood: int
) -> None:
    mine = Waiting("mine", 9, 99)
    crowd = [*waiting, mine, *(Waiting(f"flood-{n:03}", 8, 0) for n in range(flood))]
    assert queue_of(crowd, running).place(mine) <= len(waiting) + 2  # at most one job of the flood before it


@pytest.mark.parametrize(
    ("running", "order"),
    [
        ({}, ["a1", "b1", "a2", "a3"]),
        ({"x": 1}, ["b1", "a1", "a2", "a3"]),
        ({"x": 2, "y": 2}, ["a1", "a2", "a3", "b1"]),
    ],
)
def test_the_busy_member_waits_for_the_idle_one(running: dict[str, int], order: list[str]) -> None:
    waiting = [Waiting("a1", 1, 10), Waiting("a2", 1, 11), Waiting("a3", 1, 12), Waiting("b1", 2, 20)]
    assert queue_of(waiting, running).waiting == order


def test_rows_that_differ_are_named_whatever_the_difference() -> None:
    queue = queue_of([Waiting("same", 1, 1), Waiting("older", 1, 2), Waiting("gone", 1, 3)], {"a": 1, "b": 2})
    rows = [Waiting("same", 1, 1), Waiting("older", 1, 1), Waiting("new", 1, 4)]
    assert queue.differences(rows, {"a": 1, "c": 3}) == {"older", "gone", "new", "b", "c"}


def test_a_member_with_very_many_jobs_has_the_order_of_the_model() -> None:
    rows = [Waiting(f"a-{n:03}", 1, n) for n in range(150)] + [Waiting(f"b-{n}", 2, 3 * n) for n in range(9)]
    queue = queue_of(rows, {"x": 1})
    queue.has_turn("a-100", free=0)
    queue.leave("x")
    queue.run("a-000", 1)
    queue.leave("a-000")
    assert queue.waiting == fair_order(rows[1:], {})
    assert queue.turns(free=500) == ["a-100"]


def test_the_first_ten_places_are_shown_one_by_one_and_later_ones_rounded_up() -> None:
    shown = [shown_place(n) for n in range(1, 5001)]
    assert shown[:10] == list(range(1, 11))
    assert sorted(set(shown[10:600])) == [*range(15, 51, 5), *range(75, 251, 25), 375, 500, 625]
    assert all(n <= place for n, place in enumerate(shown, start=1))
    assert len(set(shown)) < 50
