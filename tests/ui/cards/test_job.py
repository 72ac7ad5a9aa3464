from dataclasses import replace
from typing import Any

import pytest

from bot.core.cards import Card, Charge
from bot.core.jobs import Cancel, Reference, State
from bot.core.quota import Amount
from bot.ui.cards.components import BLURPLE, DANGER, GREY, RED, YELLOW
from bot.ui.cards.job import render
from bot.ui.cards.job_buttons import can_cancel
from bot.ui.cards.texts import moment, relative
from tests.ui.cards.drawing import (
    CARD,
    EN,
    HELD,
    JOB,
    JOB_ID,
    NOW,
    TEXTS,
    card,
    colour,
    done,
    ids,
    labels,
    names,
    nodes,
    read,
)

META = "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 reserved · 9 pictures left today"
UNPAID = "-# Nano Banana 2 · 1K · 16:9 · 1 picture · 9 pictures left today"
RELEASED = Charge(HELD, released=HELD)
OPEN = (State.ACCEPTED, State.SUBMITTING, State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING)


def drawn(given: Card, *files: str) -> list[str]:
    return read(render(given, EN, files=files, now=NOW))


def failed(reason: str, **changes: Any) -> Card:
    return card(State.FAILED, reason=reason, charge=RELEASED, ended_at=NOW, **changes)


def referring(given: Card, references: tuple[Reference, ...]) -> Card:
    """*given* with reference pictures."""
    return replace(given, job=replace(given.job, request=replace(given.job.request, references=references)))


async def test_a_waiting_job_shows_its_position_in_the_queue() -> None:
    assert drawn(card(State.ACCEPTED, queue_position=3)) == [
        "### 🕓 Waiting",
        "#3 in the queue.",
        "> a red fox",
        META,
        "[Cancel → cancel] [Check now → look] [Full prompt → prompt]",
    ]
    assert "Next in the queue." in drawn(card(State.ACCEPTED, queue_position=1))
    assert "About #40 in the queue." in drawn(card(State.ACCEPTED, queue_position=40))


async def test_thinking_is_shown_with_the_other_options_unless_it_is_off() -> None:
    thinks = drawn(card(State.ACCEPTED, options={"thinking": "high"}))

    assert META.replace("16:9 ·", "16:9 · thinking: high ·") in thinks
    assert META in drawn(card(State.ACCEPTED, options={"thinking": "off"}))


async def test_a_job_in_submission_is_shown_as_waiting() -> None:
    assert drawn(card(State.SUBMITTING))[:3] == [
        "### 🕓 Waiting · sending",
        "Sending to RunComfy…",
        "> a red fox",
    ]


async def test_queued_shows_the_providers_position() -> None:
    assert drawn(card(State.QUEUED, position=5)) == [
        "### ⏳ Queued",
        "#5 in RunComfy's queue.",
        "This model usually takes 10 to 30 seconds.",
        "> a red fox",
        META,
        "[Cancel → cancel] [Check now → look] [Full prompt → prompt]",
    ]
    assert "In RunComfy's queue." in drawn(card(State.QUEUED))


async def test_drawing_shows_since_when_and_that_it_cannot_be_cancelled() -> None:
    assert drawn(card(State.RUNNING, started_at=NOW - 9_000)) == [
        "### 🎨 Generating",
        "RunComfy started <t:1699999991:R>.",
        "This model usually takes 10 to 30 seconds.",
        "This can no longer be cancelled.",
        "> a red fox",
        META,
        "[Check now → look] [Full prompt → prompt]",
    ]
    assert "Sent to RunComfy <t:1699999980:R>." in drawn(card(State.RUNNING, submitted_at=NOW - 20_000))


async def test_fetching_says_so_and_names_a_host_that_is_not_allowed() -> None:
    fetching = card(State.COLLECTING)

    assert drawn(fetching)[0] == "### 📥 Downloading pictures"
    blocked = drawn(replace(fetching, blocked_host="cdn.example.com"))[1]
    assert "are on cdn.example.com" in blocked
    assert relative(fetching.job.deadline) in blocked


async def test_unknown_says_until_when_the_run_is_searched_and_that_it_is_never_submitted_twice() -> None:
    lost = card(State.UNKNOWN)

    assert drawn(lost)[:3] == [
        "### ❓ Unconfirmed",
        EN.say("card.unknown", provider="RunComfy", when=moment(lost.job.deadline)),
        "> a red fox",
    ]


async def test_one_finished_picture_is_shown_with_what_it_cost_and_what_is_left() -> None:
    assert drawn(done(1), *names(1)) == [
        f"<attachment://{JOB_ID}-1.png: a red fox>",
        "**a red fox**",
        "Cost: about $0.08",
        "-# ✅ Done in 31 s · Nano Banana 2 · 1K · 16:9 · 1 picture · 9 pictures left today",
        "[Edit → edit:1] [Again · about $0.08 → again] [More… → more]",
    ]


async def test_a_public_card_names_its_requester_and_says_nothing_of_money_and_limits() -> None:
    public = replace(done(1), private=False)

    assert drawn(public, *names(1))[1:] == [
        "**a red fox**",
        "-# ✅ Done in 31 s · by <@7> · Nano Banana 2 · 1K · 16:9 · 1 picture",
        "[Edit → edit:1] [Again → again] [More… → more]",
    ]
    for state in State:
        lines = str(drawn(card(state, private=False, charge=RELEASED)))
        assert "by <@7>" in lines
        assert "$" not in lines
        assert "left today" not in lines


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("given", [card, done], ids=["without pictures", "with pictures"])
async def test_no_card_has_more_than_five_buttons_and_only_a_cancellation_is_red(given: Any, state: State) -> None:
    shown = replace(done(10), job=replace(done(10).job, state=state)) if given is done else card(state)
    view = render(shown, EN, files=names(10) if given is done else (), now=NOW)

    assert len(labels(view)) <= 5
    red = [each["label"] for each in nodes(view) if each["type"] == 2 and each["style"] == DANGER.value]
    assert set(red) <= {"Cancel"}


async def test_of_four_finished_pictures_the_form_asks_which_one_to_edit() -> None:
    lines = drawn(done(4), *names(4))

    assert lines[:4] == [f"<attachment://{JOB_ID}-{n}.png: {n}/4: a red fox>" for n in (1, 2, 3, 4)]
    assert "Cost: about $0.32" in lines
    assert lines[-1] == "[Edit → edit] [Again · about $0.32 → again] [More… → more]"


async def test_fewer_pictures_than_asked_say_how_many_were_paid_for() -> None:
    assert "3 of 4 were made, and 3 count. Cost: about $0.24" in drawn(done(3, asked=4), *names(3))


async def test_a_published_price_is_not_marked_as_an_estimate() -> None:
    assert "Cost: $0.08" in drawn(replace(done(1), estimated=False), *names(1))


async def test_pictures_flagged_by_the_provider_are_spoilers() -> None:
    assert drawn(done(1, flagged=True), *names(1))[0].endswith("a red fox (spoiler)>")


async def test_a_picture_sent_in_another_format_keeps_its_number() -> None:
    lines = drawn(done(4), f"{JOB_ID}-2.webp", f"{JOB_ID}-4.jpeg")

    assert [line.split(": ", 1)[1] for line in lines[:2]] == ["2/4: a red fox>", "4/4: a red fox>"]


async def test_files_that_discord_did_not_accept_are_available_in_jobs() -> None:
    card = done(2, withheld=True)
    until = moment(card.listed_until)

    assert f"Discord didn't accept 2 pictures here. They're in `/jobs` until {until}." in drawn(card)
    assert f"Discord didn't accept 1 picture here. It's in `/jobs` until {until}." in drawn(card, *names(1))


async def test_pictures_too_large_for_discord_become_link_buttons() -> None:
    lines = drawn(done(1, links=("https://pictures.example/1",)))

    assert "1 picture is too large for Discord. Open it with the button below." in lines
    assert "[Picture 1 → https://pictures.example/1]" in lines


async def test_a_card_says_that_its_pictures_were_deleted() -> None:
    assert "The pictures are no longer stored here." in drawn(replace(done(1), pictures=()))


async def test_a_failed_job_says_why_what_it_cost_and_how_to_refer_to_it() -> None:
    view = render(failed("host_failed"), EN, now=NOW)

    assert read(view) == [
        "### ⚠️ Failed",
        "The image service failed while generating. Try again.",
        "**This doesn't count toward any limits.**",
        "> a red fox",
        UNPAID,
        "-# Reference 00000042",
        "[Try again · about $0.08 → again] [Change prompt → change] [Full prompt → prompt] [Delete → delete]",
    ]
    assert colour(view) == RED


async def test_a_refusal_says_who_refused_and_offers_another_prompt_first() -> None:
    view = render(card(State.REFUSED, reason="refused", charge=RELEASED), EN, now=NOW)

    assert read(view) == [
        "### 🚫 Refused",
        "This was blocked by RunComfy's content rules. Try different wording or another picture.",
        "**This doesn't count toward any limits.**",
        "> a red fox",
        UNPAID,
        "-# Reference 00000042",
        "[Change prompt → change] [Full prompt → prompt] [Delete → delete]",
    ]
    assert colour(view) == RED


async def test_a_cancelled_job_can_be_submitted_again() -> None:
    view = render(card(State.CANCELLED, charge=RELEASED), EN, now=NOW)

    assert read(view) == [
        "### ✖️ Cancelled",
        "This was cancelled.",
        "**This doesn't count toward any limits.**",
        "> a red fox",
        UNPAID,
        "[Generate anyway · about $0.08 → again] [Change prompt → change] [Full prompt → prompt] [Delete → delete]",
    ]
    assert colour(view) == GREY
    assert "The image service cancelled this. Try again." in drawn(card(State.CANCELLED, reason="cancelled_by_host"))


async def test_a_deleted_job_shows_neither_prompt_nor_buttons() -> None:
    lines = drawn(replace(done(1), job=replace(done(1).job, deleted_at=NOW)))

    assert lines[:3] == ["### 🗑️ Deleted", "The pictures and the prompt were deleted.", "Cost: about $0.08"]
    assert not any(line.startswith("[") for line in lines)


async def test_late_pictures_are_shown_and_cost_what_the_ledger_says() -> None:
    late = failed("late", images=1, pictures=done(1).pictures)

    assert drawn(late, *names(1))[:5] == [
        f"<attachment://{JOB_ID}-1.png: a red fox>",
        "**a red fox**",
        "These pictures arrived after the time limit.",
        "**This doesn't count toward any limits.**",
        "-# 🎁 Finished late · Nano Banana 2 · 1K · 16:9 · 1 picture · 9 pictures left today",
    ]


async def test_a_run_that_was_given_up_says_until_when_it_is_watched() -> None:
    given_up = failed("gave_up", watch_until=NOW + 60_000)

    assert f"shown here, until {moment(NOW + 60_000)}." in drawn(given_up)[2]
    assert "we look until" not in str(drawn(failed("gave_up", watch_until=NOW)))


@pytest.mark.parametrize("cancel", [Cancel.WANTED, Cancel.ASKED])
@pytest.mark.parametrize("state", [State.ACCEPTED, State.SUBMITTING, State.QUEUED, State.RUNNING])
async def test_a_requested_cancellation_is_shown_and_cannot_be_repeated(state: State, cancel: Cancel) -> None:
    view = render(card(state, cancel=cancel), EN, now=NOW)

    assert read(view)[0] == "### ✋ Cancelling…"
    assert labels(view) == ["Check now", "Full prompt"]
    assert colour(view) == YELLOW


async def test_a_cancel_that_came_too_late_says_that_it_will_be_charged() -> None:
    lines = drawn(card(State.RUNNING, cancel=Cancel.TOO_LATE))

    assert lines[0] == "### 🎨 Generating"
    assert "Cancellation requested, but RunComfy couldn't stop it. If it's made, it counts." in lines
    assert "Cancellation was requested, but it had already started." in drawn(
        done(1, cancel=Cancel.TOO_LATE), *names(1)
    )


@pytest.mark.parametrize("trouble", ["credentials", "balance", "down"])
async def test_an_outage_of_the_provider_explains_the_wait_and_when_it_ends(trouble: str) -> None:
    waiting = card(State.ACCEPTED, queue_position=1, outage=trouble)
    lines = drawn(waiting)

    assert lines[2].startswith("🔧 ")
    assert relative(waiting.job.deadline) in lines[3]


async def test_a_slow_job_says_when_we_give_up() -> None:
    slow = card(State.RUNNING, slow=True, submitted_at=NOW - 200_000)

    assert relative(slow.job.deadline) in drawn(slow)[4]


async def test_the_final_edit_by_token_says_how_to_continue() -> None:
    line = "This message can't update itself anymore. Press **Check now**, or use `/jobs`."

    assert all(line in drawn(card(state, final_edit=True)) for state in OPEN)


@pytest.mark.parametrize("state", OPEN)
async def test_every_unfinished_card_can_be_checked_and_offers_cancel_only_where_it_works(state: State) -> None:
    given = card(state)

    assert f"j1:{JOB_ID}:look" in ids(render(given, EN, now=NOW))
    assert (f"j1:{JOB_ID}:cancel" in ids(render(given, EN, now=NOW))) is can_cancel(given)
    assert can_cancel(given) is (state in (State.ACCEPTED, State.SUBMITTING, State.QUEUED))


@pytest.mark.parametrize("reason", ["bad_input_picture", "inputs_expired", "rejected", "model_gone"])
async def test_a_job_that_would_fail_again_has_no_retry_button(reason: str) -> None:
    assert labels(render(failed(reason), EN, now=NOW)) == ["Change prompt", "Full prompt", "Delete"]


async def test_the_card_says_of_each_reference_what_is_wrong_with_it() -> None:
    faults = [
        {"key": "references.broken", "file": "a*.png"},
        None,
        {"key": "references.heavy", "file": "c", "limit": 1},
    ]
    files = tuple(Reference("https://cdn/x", "x", fault=each) for each in faults)
    given = failed("bad_input_picture")

    assert drawn(referring(given, files))[1] == (
        r"a\*.png is damaged or incomplete. Save it again as PNG, JPEG or WebP and attach it. "
        "c is larger than 1 KB. Make it smaller and attach it again."
    )
    assert drawn(failed("bad_input_picture"))[1].startswith("One of the attached pictures couldn't be read.")


@pytest.mark.parametrize("given", [card(State.QUEUED), done(1)], ids=["on its way", "done"])
async def test_the_card_names_references_with_gps_data(given: Card) -> None:
    photos = tuple(Reference("https://cdn/x", f"{n}.jpg", has_location=n != 2) for n in range(1, 4))
    shown = referring(given, photos)

    says = "📍 {}.jpg contains the location where it was taken. RunComfy receives the file unchanged."
    assert [each for each in drawn(shown) if "📍" in each] == [says.format(1), says.format(3)]


async def test_pictures_are_labelled_as_made_by_a_machine_where_the_operator_wants_that() -> None:
    labelled, plain = drawn(replace(done(1), ai_label=True)), drawn(done(1))

    assert [each for each in labelled if " · AI-generated" in each]
    assert not [each for each in plain if "AI-generated" in each]


async def test_a_job_with_expired_links_has_no_retry_button() -> None:
    old = Reference(url="https://cdn.discordapp.com/a", filename="a.png", expires_at=NOW)
    dead = replace(JOB, state=State.FAILED, reason="gave_up", request=replace(JOB.request, references=(old,)))

    assert labels(render(replace(CARD, job=dead), EN, now=NOW))[0] == "Change prompt"


@pytest.mark.parametrize("settled", [None, Amount(), Amount(1, 1), Amount(1, 0), Amount(4, 320_000)])
@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.REFUSED, State.CANCELLED])
@pytest.mark.parametrize("locale", TEXTS.locales)
async def test_the_card_says_nothing_was_charged_only_if_nothing_was(
    state: State, settled: Amount | None, locale: str
) -> None:
    words = TEXTS.for_locale(locale)
    given = card(state, charge=Charge(Amount(4, 320_000), settled=settled), options={"count": 4})

    said = words.say("charge.nothing") in read(render(given, words, now=NOW))

    assert said is (settled in (None, Amount()))


@pytest.mark.parametrize("state", OPEN)
async def test_an_active_job_says_what_is_reserved_and_not_yet_what_it_cost(state: State) -> None:
    text = "\n".join(drawn(card(state)))

    assert "about $0.08 reserved" in text
    assert "charged.**" not in text


async def test_discord_py_stores_no_view_of_a_message() -> None:
    view = render(CARD, EN, now=NOW)

    assert view.is_finished()
    assert view.timeout is None
    assert colour(view) == BLURPLE
