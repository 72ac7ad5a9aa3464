"""Cards of jobs that the provider cannot stop, shown and hidden."""

from dataclasses import replace
from typing import Any

import pytest

from bot.core.cards import Card, Charge
from bot.core.jobs import HOUR, Cancel, State
from bot.core.quota import Amount
from bot.ui.cards.components import GREY
from bot.ui.cards.job import render
from bot.ui.cards.job_list import jobs_list
from tests.ui.cards.drawing import EN, HELD, JOB_ID, NOW, TEXTS, card, colour, done, ids, labels, names, read, text_of

OPEN = (State.ACCEPTED, State.SUBMITTING, State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING)
AT_HOST = OPEN[2:]
HIDE = (
    "**Hide** doesn't stop it: it won't be shown here, but it still counts if it's made, and stays in `/jobs` "
    "for 24 hours."
)
IN_DOUBT = EN.say("card.cancel_in_doubt", provider="Runflow")
TOO_LATE = "Cancellation requested, but Runflow couldn't stop it. If it's made, it counts."
DAY = f"<t:{(NOW + 24 * HOUR) // 1000}:f>"


def unstoppable(state: State, **changes: Any) -> Card:
    """A card of a job at a provider that cannot stop it."""
    return replace(card(state, **changes), provider="Runflow", hide_only=True)


def ended(state: State, **changes: Any) -> Card:
    return unstoppable(state, hidden_at=NOW - 1, ended_at=NOW, charge=Charge(HELD, released=HELD), **changes)


def hidden(given: Card) -> Card:
    return replace(given, job=replace(given.job, hidden_at=NOW - 1), hide_only=True)


def drawn(given: Card, *, now: int = NOW) -> list[str]:
    return read(render(given, EN, now=now))


@pytest.mark.parametrize("state", OPEN)
async def test_cancel_becomes_hide_once_the_provider_may_have_the_job(state: State) -> None:
    view = render(unstoppable(state), EN, now=NOW)

    assert labels(view) == ["Hide" if state in AT_HOST else "Cancel", "Check now", "Full prompt"]
    assert (HIDE in read(view)) is (state in AT_HOST)


async def test_drawing_says_that_it_cannot_be_stopped_and_what_hide_does() -> None:
    assert drawn(unstoppable(State.RUNNING, started_at=NOW - 9_000)) == [
        "### 🎨 Generating",
        "Runflow started <t:1699999991:R>.",
        "This model usually takes 10 to 30 seconds.",
        "This can no longer be cancelled.",
        HIDE,
        "> a red fox",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 reserved · 9 pictures left today",
        "[Hide → hide] [Check now → look] [Full prompt → prompt]",
    ]
    assert "This can no longer be cancelled." in drawn(unstoppable(State.QUEUED))


@pytest.mark.parametrize("cancel", [Cancel.WANTED, Cancel.TOO_LATE])
@pytest.mark.parametrize("state", AT_HOST)
async def test_a_job_whose_cancellation_came_too_late_can_still_be_hidden(state: State, cancel: Cancel) -> None:
    lines = drawn(unstoppable(state, cancel=cancel))

    assert (IN_DOUBT if state is State.UNKNOWN else TOO_LATE) in lines
    assert "This can no longer be cancelled." not in lines
    assert "Cancelling" not in lines[0]
    assert lines[-1].startswith("[Hide → hide]")


async def test_a_cancellation_during_submission_says_what_it_depends_on() -> None:
    lines = drawn(unstoppable(State.SUBMITTING, cancel=Cancel.WANTED))

    assert lines[0] == "### ✋ Cancelling…"
    assert IN_DOUBT in lines
    assert "being asked to stop" not in str(lines)


async def test_a_hidden_job_says_what_goes_on_what_it_costs_and_where_it_will_be() -> None:
    view = render(unstoppable(State.RUNNING, started_at=NOW - 9_000, hidden_at=NOW), EN, now=NOW)

    assert read(view) == [
        "### 🙈 Hidden",
        "Runflow started <t:1699999991:R>.",
        "This model usually takes 10 to 30 seconds.",
        "This can no longer be cancelled.",
        "It isn't shown here. If it's made, it still counts and stays in `/jobs` for 24 hours.",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 reserved · 9 pictures left today",
        "[Show in channel → show] [Full prompt → prompt] [Check now → look]",
    ]
    assert colour(view) == GREY


@pytest.mark.parametrize("state", AT_HOST)
async def test_a_hidden_card_shows_neither_prompt_nor_anything_that_costs(state: State) -> None:
    given = unstoppable(state, hidden_at=NOW, final_edit=True, cancel=Cancel.TOO_LATE)

    assert "red fox" not in str(drawn(given))
    assert labels(render(given, EN, now=NOW)) == ["Show in channel", "Full prompt", "Check now"]
    assert EN.say("card.last_word") in drawn(given)
    assert f"j1:{JOB_ID}:look" in ids(render(given, EN, now=NOW))


async def test_a_hidden_ending_says_what_it_cost_and_until_when_jobs_has_it() -> None:
    given = hidden(done(2))

    assert read(render(given, EN, files=names(2), now=NOW)) == [
        "### 🙈 Hidden",
        "Cost: about $0.16",
        f"The pictures are in `/jobs` until {DAY}.",
        "-# Nano Banana 2 · 1K · 16:9 · 2 pictures · 9 pictures left today",
        "[Show in channel → show] [Full prompt → prompt] [Delete → delete]",
    ]
    assert "`/jobs`" not in str(drawn(given, now=NOW + 24 * HOUR))
    assert "The pictures are no longer stored here." in drawn(replace(given, pictures=()))


@pytest.mark.parametrize("state", [State.FAILED, State.REFUSED, State.CANCELLED])
async def test_a_hidden_job_without_pictures_says_why_and_that_nothing_was_charged(state: State) -> None:
    lines = drawn(ended(state, watch_until=NOW + HOUR))

    assert lines[0] == "### 🙈 Hidden"
    assert lines[2] == "**This doesn't count toward any limits.**"
    assert "shown here" not in str(lines)
    assert lines[-1] == "[Show in channel → show] [Full prompt → prompt] [Delete → delete]"


async def test_late_pictures_of_a_hidden_job_are_mentioned_and_not_shown() -> None:
    lines = drawn(ended(State.FAILED, reason="late", images=1, pictures=done(1).pictures))

    assert lines[1:4] == [
        "These pictures arrived after the time limit.",
        "**This doesn't count toward any limits.**",
        f"The pictures are in `/jobs` until {DAY}.",
    ]


async def test_a_hidden_job_that_was_deleted_is_a_deleted_one() -> None:
    gone = replace(hidden(done(1)), pictures=())

    assert drawn(replace(gone, job=replace(gone.job, deleted_at=NOW)))[0] == "### 🗑️ Deleted"


async def test_what_a_hidden_ending_cost_is_what_the_ledger_says() -> None:
    free = replace(hidden(done(1)), charge=Charge(HELD, settled=Amount(1, 0), bonus=1))

    assert "Cost: about $0.00 · 1 picture from a bonus" in drawn(free)


async def test_the_list_of_jobs_offers_hide_and_marks_what_is_hidden() -> None:
    cards = [unstoppable(State.QUEUED), unstoppable(State.RUNNING, hidden_at=NOW), hidden(done(1)), ended(State.FAILED)]

    lines = read(jobs_list(cards, EN, NOW))

    assert [line for line in lines if line.startswith("**")] == [
        "**⏳ Queued** · <t:1699999969:R>",
        "**🎨 Generating** · 🙈 Hidden · <t:1699999969:R>",
        "**✅ Done** · 🙈 Hidden · <t:1699999969:R>",
        "**⚠️ Failed** · 🙈 Hidden · <t:1699999969:R>",
    ]
    told = f"Hidden in its channel. Press **Check now** to see it here, until {DAY}."
    assert [line for line in lines if line.startswith(told)] == [f"{told} Cost: about $0.08"]
    assert [line for line in lines if line.startswith("[")] == [
        "[Hide → hide] [Check now → look]",
        *["[Check now → look]"] * 3,
    ]


async def test_the_list_of_jobs_promises_no_pictures_that_are_not_there() -> None:
    failed = ended(State.FAILED, reason="gave_up")
    gone = replace(hidden(done(1)), pictures=())

    assert read(jobs_list([failed, gone], EN, NOW))[2::5] == [
        "The image service didn't finish in time. **This doesn't count toward any limits.**",
        "The pictures are no longer stored here. Cost: about $0.08",
    ]


@pytest.mark.parametrize("locale", TEXTS.locales)
@pytest.mark.parametrize("state", State)
async def test_a_hidden_card_can_be_drawn_in_every_state_and_language(state: State, locale: str) -> None:
    words = TEXTS.for_locale(locale)
    view = render(unstoppable(state, hidden_at=NOW, ended_at=NOW if state.is_final else None, images=1), words, now=NOW)

    assert words.say("state.hidden") in text_of(view)
    assert f"j1:{JOB_ID}:again" not in ids(view)
