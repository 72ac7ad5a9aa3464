from dataclasses import replace

from bot.core.cards import Charge
from bot.core.jobs import Cancel, State
from bot.core.quota import Allowance, Amount, Limits, Used, allowances
from bot.ui.render_lists import bar, jobs_list, prompt_page, usage
from tests.ui.drawing import EN, HELD, JOB_ID, NOW, card, done, ids, labels, nodes, read, text_of


async def test_open_jobs_can_be_cancelled_or_checked() -> None:
    lines = read(jobs_list([card(State.QUEUED), card(State.RUNNING)], EN, NOW))

    assert lines == [
        "### 📋 Your jobs",
        "**⏳ Queued** · <t:1699999969:R>",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 held",
        "> a red fox",
        "[Cancel → cancel] [Check now → look]",
        "**🎨 Drawing** · <t:1699999969:R>",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 held",
        "> a red fox",
        "[Check now → look]",
    ]


async def test_a_result_that_never_arrived_says_how_to_get_it_and_what_it_cost() -> None:
    lines = read(jobs_list([done(1)], EN, NOW))

    assert "The result has not reached you yet. Press **Check now**. Cost: about $0.08" in lines
    assert lines[-1] == "[Check now → look]"


async def test_no_more_than_ten_jobs_are_shown_and_the_rest_is_counted() -> None:
    cards = [card(State.ACCEPTED, id=f"{n:026d}") for n in range(12)]
    view = jobs_list(cards, EN, NOW)

    assert len([each for each in ids(view) if each.endswith(":cancel")]) == 10
    assert "Only the newest are shown; 2 more follow when these are done." in text_of(view)
    assert len(list(nodes(view))) <= 40


async def test_nothing_open_is_said_in_words() -> None:
    assert len(read(jobs_list([], EN, NOW))) == 2


async def test_a_job_that_is_being_cancelled_is_not_offered_for_cancelling() -> None:
    assert labels(jobs_list([card(State.QUEUED, cancel=Cancel.WANTED)], EN, NOW)) == ["Check now"]


async def test_usage_shows_every_limit_with_a_bar_and_when_it_starts_again() -> None:
    day = NOW + 3_600_000
    limits = [
        Allowance("user_in_flight", 5, 2, "jobs", None),
        Allowance("user_day_images", 10, 3, "images", day),
        Allowance("user_day_usd", 1_000_000, 240_000, "micro_usd", day),
    ]

    assert read(usage(limits, EN, reserved=Amount(2, 160_000), now=NOW)) == [
        "### 📊 Your usage",
        "**Your jobs under way**",
        "`████░░░░░░` 2 of 5 jobs",
        "**Your pictures today**",
        "`███░░░░░░░` 3 of 10 pictures · starts again <t:1700003600:R>",
        "**Your spending today**",
        "`██░░░░░░░░` $0.24 of $1.00 · starts again <t:1700003600:R>",
        "-# $0.16 of this is held for unfinished jobs and counts until they end.",
    ]


async def test_usage_has_a_name_for_every_limit_there_is() -> None:
    every = list(allowances(Limits(), Used(), guild=True, now=NOW))

    assert text_of(usage(every, EN, reserved=Amount(), now=NOW)).count("░" * 10) == len(every) == 7
    assert "There are no limits here." in read(usage([], EN, reserved=Amount(), now=NOW))


def test_a_bar_is_empty_only_for_nothing_and_full_only_for_everything() -> None:
    assert [bar(used, 1000).count("█") for used in (0, 1, 500, 999, 1000, 2000)] == [0, 1, 5, 9, 10, 10]
    assert bar(0, 0) == "█" * 10


async def test_a_whole_prompt_is_shown_as_typed() -> None:
    shown = prompt_page("one *two*\n# three", EN)

    assert not shown.attach
    assert read(shown.view) == ["### 📝 Full prompt", r"one \*two\*", r"\# three"]


async def test_a_prompt_too_long_after_escaping_is_attached() -> None:
    assert not prompt_page("a" * 3500, EN).attach
    shown = prompt_page("*" * 1751, EN)

    assert shown.attach
    assert read(shown.view)[-1] == "<attachment://prompt.txt>"


async def test_a_prompt_with_nothing_to_see_says_so() -> None:
    assert read(prompt_page("\u200b", EN).view)[1] == "There is nothing in this prompt that can be shown."


async def test_a_list_says_nothing_was_charged_only_for_what_has_ended() -> None:
    ended = replace(card(State.FAILED, reason="rejected"), charge=Charge(HELD, released=HELD))

    assert "Nothing was charged" in text_of(jobs_list([ended], EN, NOW))
    assert "Nothing was charged" not in text_of(jobs_list([card(State.QUEUED)], EN, NOW))
    assert ids(jobs_list([ended], EN, NOW)) == [f"j1:{JOB_ID}:look"]
