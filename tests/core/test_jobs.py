"""A job's transitions, deadlines and next step."""

from dataclasses import replace
from typing import Any

import pytest

from bot.core.jobs import (
    ACK_WINDOW,
    COLLECT_LIMIT,
    FIND_LIMIT,
    MINUTE,
    NEXT,
    SLOT_STATES,
    WAIT_LIMIT,
    Cancel,
    ImageRequest,
    Job,
    Observation,
    Place,
    Reference,
    State,
    Step,
    Verb,
    is_news,
    next_step,
)

NOW = 1_795_176_000_000
GIVE_UP = 30 * MINUTE
ENDINGS = {State.SUCCEEDED, State.FAILED, State.REFUSED, State.CANCELLED}


def a_job(state: State = State.ACCEPTED, **changes: Any) -> Job:
    job = Job(
        id="01",
        place=Place(user_id=1, channel_id=2, guild_id=3),
        request=ImageRequest(model="m", verb=Verb.IMAGINE, prompt="a boat", options={}),
        provider="runcomfy",
        route="a/b",
        state=state,
        created_at=NOW,
        changed_at=NOW,
        due_at=None,
        give_up_after=GIVE_UP,
        acked_at=NOW,
    )
    return replace(job, **changes)


def reach(start: State) -> set[State]:
    found, left = {start}, [start]
    while left:
        fresh = NEXT[left.pop()] - found
        found |= fresh
        left += fresh
    return found


def test_every_state_can_be_reached_from_acceptance() -> None:
    assert reach(State.ACCEPTED) == set(State) == set(NEXT)


def test_the_four_final_states_have_no_next_state() -> None:
    assert {state for state in State if state.is_final} == ENDINGS


@pytest.mark.parametrize("state", State)
def test_every_state_can_reach_an_ending_that_refunds(state: State) -> None:
    assert state.is_final or State.FAILED in NEXT[state]


def test_a_job_succeeds_only_after_its_pictures_are_downloaded() -> None:
    assert [state for state in State if State.SUCCEEDED in NEXT[state]] == [State.COLLECTING]


def test_the_only_transition_back_is_from_a_submit_that_was_not_accepted() -> None:
    order = list(State)
    back = [(state, to) for state in State for to in NEXT[state] if order.index(to) < order.index(state)]
    assert back == [(State.SUBMITTING, State.ACCEPTED)]


def test_a_slot_is_taken_from_before_the_submit_until_the_run_ends() -> None:
    assert {State.SUBMITTING, State.QUEUED, State.RUNNING} == SLOT_STATES


# --- the next step

WAITING = NOW + ACK_WINDOW
LATE = NOW + 25 * 60 * MINUTE
STEPS: list[tuple[State, int, dict[str, Any], Step | None]] = [
    (State.ACCEPTED, WAITING - 1, {"acked_at": None}, None),
    (State.ACCEPTED, WAITING, {"acked_at": None}, Step.CONFIRM),
    (State.ACCEPTED, LATE, {"acked_at": None}, Step.CONFIRM),
    (State.ACCEPTED, NOW, {"acked_at": None, "checked": False}, None),
    (State.ACCEPTED, NOW, {}, Step.SUBMIT),
    (State.ACCEPTED, NOW, {"checked": False}, Step.CHECK),
    (State.ACCEPTED, NOW + WAIT_LIMIT - 1, {}, Step.SUBMIT),
    (State.ACCEPTED, NOW + WAIT_LIMIT, {}, Step.EXPIRE),
    (State.ACCEPTED, NOW + WAIT_LIMIT, {"checked": False}, Step.EXPIRE),
    (State.SUBMITTING, NOW, {}, Step.RECOVER),
    (State.SUBMITTING, LATE, {"cancel": Cancel.WANTED}, Step.RECOVER),
    (State.UNKNOWN, NOW + FIND_LIMIT - 1, {}, Step.FIND),
    (State.UNKNOWN, NOW + FIND_LIMIT, {}, Step.GIVE_UP),
    (State.QUEUED, NOW, {}, Step.POLL),
    (State.QUEUED, NOW, {"cancel": Cancel.WANTED}, Step.CANCEL),
    (State.QUEUED, NOW, {"cancel": Cancel.ASKED}, Step.POLL),
    (State.QUEUED, NOW, {"cancel": Cancel.TOO_LATE}, Step.POLL),
    (State.QUEUED, NOW + GIVE_UP, {"submitted_at": NOW}, Step.GIVE_UP),
    (State.QUEUED, NOW + GIVE_UP, {"submitted_at": NOW, "cancel": Cancel.WANTED}, Step.GIVE_UP),
    (State.RUNNING, NOW + GIVE_UP, {"submitted_at": NOW + 1}, Step.POLL),
    (State.RUNNING, NOW + GIVE_UP + 1, {"submitted_at": NOW + 1}, Step.GIVE_UP),
    (State.COLLECTING, NOW + COLLECT_LIMIT - 1, {}, Step.COLLECT),
    (State.COLLECTING, NOW + COLLECT_LIMIT, {}, Step.GIVE_UP),
    (State.COLLECTING, NOW, {"cancel": Cancel.WANTED}, Step.COLLECT),
    *[(ending, NOW, {}, None) for ending in sorted(ENDINGS)],
    (State.FAILED, NOW, {"watch_until": NOW + 1}, Step.WATCH),
    (State.FAILED, NOW + 1, {"watch_until": NOW + 1}, None),
]


@pytest.mark.parametrize(("state", "now", "changes", "expected"), STEPS)
def test_the_next_step_follows_from_state_and_clock_alone(
    state: State, now: int, changes: dict[str, Any], expected: Step | None
) -> None:
    assert next_step(a_job(state, **changes), now) is expected


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("later", [0, ACK_WINDOW, WAIT_LIMIT, 2 * GIVE_UP])
def test_nothing_is_submitted_without_an_acknowledgement(state: State, checked: bool, later: int) -> None:  # noqa: FBT001
    assert next_step(a_job(state, acked_at=None, checked=checked), NOW + later) is not Step.SUBMIT


@pytest.mark.parametrize("state", sorted(set(State) - ENDINGS))
def test_every_unfinished_job_has_a_step_after_its_deadlines(state: State) -> None:
    for acked_at in (NOW, None):
        assert next_step(a_job(state, acked_at=acked_at), LATE) is not None


def test_a_clock_that_goes_back_neither_ends_nor_repeats_anything() -> None:
    earlier = NOW - 365 * 24 * 60 * MINUTE
    assert next_step(a_job(State.QUEUED, submitted_at=NOW), earlier) is Step.POLL
    assert next_step(a_job(acked_at=None), earlier) is None


# --- deadlines


def edit(*dying: int | None) -> ImageRequest:
    references = tuple(Reference(f"https://cdn.test/{n}", f"{n}.png", expires_at=at) for n, at in enumerate(dying))
    return ImageRequest(model="m", verb=Verb.EDIT, prompt="at night", options={}, references=references)


@pytest.mark.parametrize(
    ("dying", "deadline"),
    [
        ((None, None), NOW + WAIT_LIMIT),
        ((None, NOW + 5 * MINUTE), NOW + 5 * MINUTE),
        ((NOW + 9 * MINUTE, NOW + 5 * MINUTE), NOW + 5 * MINUTE),
        ((NOW + 60 * MINUTE,), NOW + WAIT_LIMIT),
    ],
)
def test_the_first_link_to_expire_limits_the_wait(dying: tuple[int | None, ...], deadline: int) -> None:
    assert a_job(request=edit(*dying)).deadline == deadline


def test_an_expiring_link_does_not_matter_after_the_submit() -> None:
    assert a_job(State.QUEUED, request=edit(NOW + MINUTE), submitted_at=NOW).deadline == NOW + GIVE_UP


def test_a_job_that_came_back_from_a_submit_has_waited_since_it_was_accepted() -> None:
    assert a_job(changed_at=NOW + 10 * MINUTE, submitted_at=NOW + 9 * MINUTE).deadline == NOW + WAIT_LIMIT


# --- what is news


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("seen", State)
def test_a_report_changes_a_job_only_if_its_state_may_come_next(state: State, seen: State) -> None:
    assert is_news(Observation(seen), state=state, position=None) is (seen in NEXT[state])


@pytest.mark.parametrize(
    ("known", "seen", "news"), [(None, 3, True), (3, 2, True), (3, 3, False), (3, None, False), (None, None, False)]
)
def test_another_position_in_the_providers_queue_changes_a_job(known: int | None, seen: int | None, news: bool) -> None:  # noqa: FBT001
    assert is_news(Observation(State.QUEUED, position=seen), state=State.QUEUED, position=known) is news


def test_a_position_in_the_queue_does_not_change_a_run_that_has_started() -> None:
    assert not is_news(Observation(State.QUEUED, position=1), state=State.RUNNING, position=None)
    assert not is_news(Observation(State.RUNNING, position=1), state=State.RUNNING, position=None)


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_no_report_changes_an_ended_job(ending: State) -> None:
    assert not any(is_news(Observation(seen), state=ending, position=None) for seen in State)


def test_a_request_without_a_count_is_for_one_picture() -> None:
    assert ImageRequest(model="m", verb=Verb.IMAGINE, prompt="x", options={}).count == 1
    assert ImageRequest(model="m", verb=Verb.IMAGINE, prompt="x", options={"count": 4}).count == 4
