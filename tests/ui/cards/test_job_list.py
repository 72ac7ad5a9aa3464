from dataclasses import replace
from typing import Any

import pytest

from bot.core.cards import Charge
from bot.core.jobs import Cancel, State
from bot.core.quota import Allowance, Grant, Scope, Unit
from bot.core.windows import Window
from bot.ui.cards.job_list import jobs_list
from bot.ui.cards.prompt import prompt_page
from bot.ui.cards.usage import ChartImage, UsageLine, bar, usage
from tests.ui.cards.drawing import EN, HELD, JOB_ID, NOW, TEXTS, card, done, ids, labels, nodes, read, text_of


async def test_open_jobs_can_be_cancelled_or_checked() -> None:
    lines = read(jobs_list([card(State.QUEUED), card(State.RUNNING)], EN, NOW))

    assert lines == [
        "### 📋 Your jobs",
        "**⏳ Queued** · <t:1699999969:R>",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 reserved",
        "> a red fox",
        "[Cancel → cancel] [Check now → look]",
        "**🎨 Generating** · <t:1699999969:R>",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture · about $0.08 reserved",
        "> a red fox",
        "[Check now → look]",
    ]


async def test_a_result_that_never_arrived_says_how_to_get_it_and_what_it_cost() -> None:
    lines = read(jobs_list([done(1)], EN, NOW))

    assert "You haven't received this result yet. Press **Check now**. Cost: about $0.08" in lines
    assert lines[-1] == "[Check now → look]"


async def test_no_more_than_ten_jobs_are_shown_and_the_rest_is_counted() -> None:
    cards = [card(State.ACCEPTED, id=f"{n:026d}") for n in range(12)]
    view = jobs_list(cards[:11], EN, NOW, more=1)

    assert len([each for each in ids(view) if each.endswith(":cancel")]) == 10
    assert "2 more appear when one of these is finished, shown or deleted." in text_of(view)
    assert len(list(nodes(view))) <= 40


async def test_an_empty_list_of_jobs_says_so() -> None:
    assert len(read(jobs_list([], EN, NOW))) == 2


async def test_a_job_that_is_being_cancelled_is_not_offered_for_cancelling() -> None:
    assert labels(jobs_list([card(State.QUEUED, cancel=Cancel.WANTED)], EN, NOW)) == ["Check now"]


DAY = NOW + 3_600_000


def line(unit: str, limit: int, used: int, *, reserved: int = 0, **changes: Any) -> UsageLine:
    return UsageLine(Allowance("a_limit", limit, used, unit, **{"resets_at": DAY, **changes}), reserved)


async def test_usage_shows_every_limit_with_a_bar_and_when_it_resets() -> None:
    lines = [
        line("jobs", 5, 2, resets_at=None, window=None),
        line("images", 10, 3, reserved=2),
        line("micro_usd", 1_000_000, 240_000, reserved=160_000, window=Window.WEEK),
        line("images", 40, 41, scope=Scope.CHANNEL, window=Window.TOTAL, resets_at=None),
    ]

    assert read(usage(lines, [], EN, now=NOW)) == [
        "### 📊 Your usage",
        "**You · active jobs**",
        "`████░░░░░░` 2 of 5 · 3 left",
        "**You · pictures today**",
        "`███░░░░░░░` 3 of 10 · 7 left · 2 reserved · resets <t:1700003600:R>",
        "**You · spending this week**",
        "`██░░░░░░░░` $0.24 of $1.00 · $0.76 left · $0.16 reserved · resets <t:1700003600:R>",
        "**This channel · pictures in total**",
        "`██████████` 41 of 40 · 0 left",
    ]


async def test_usage_lists_each_bonus_with_its_end() -> None:
    grants = [Grant(1, Unit.IMAGES, 5, DAY), Grant(2, Unit.MICRO_USD, 2_000_000)]

    assert read(usage([], grants, EN, now=NOW))[1:] == [
        "There are no limits here.",
        "**🎁 Your bonus**",
        "- 5 pictures · expires <t:1700003600:R>",
        "- $2.00",
    ]
    assert read(usage([], grants * 9, EN, now=NOW))[-1] == "-# and 10 more"


async def test_usage_says_in_words_that_nothing_was_spent() -> None:
    assert (
        read(usage([], [], EN, now=NOW, idle_days=30))[-1] == "-# You haven't used anything here in the last 30 days."
    )


@pytest.mark.parametrize("locale", TEXTS.locales)
async def test_usage_has_a_name_for_every_limit_there_can_be(locale: str) -> None:
    spans = [(Unit.JOBS, None), *((unit, each) for unit in (Unit.IMAGES, Unit.MICRO_USD) for each in Window)]
    every = [line(unit, 9, 0, scope=scope, window=window, resets_at=None) for scope in Scope for unit, window in spans]

    shown = [read(usage([each], [], TEXTS.for_locale(locale), now=NOW))[1] for each in every]

    assert len(set(shown)) == len(every) == 66


async def test_usage_shows_the_narrowest_of_more_limits_than_fit_and_counts_the_rest() -> None:
    shown = read(usage([line("images", 10, 3)] * 66, [], EN, now=NOW))

    told = sum(each.startswith("**You") for each in shown)
    assert shown[-1] == f"-# Other limits not shown: {66 - told}"
    assert told > 30


async def test_a_chart_is_described_for_those_who_do_not_see_it() -> None:
    lines = read(usage([], [], EN, now=NOW, chart=ChartImage("usage.png", "30 days: 12 pictures for $0.96.")))

    assert lines[-1] == "<attachment://usage.png: 30 days: 12 pictures for $0.96.>"


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


async def test_an_invisible_prompt_is_described_as_such() -> None:
    assert read(prompt_page("\u200b", EN).view)[1] == "This prompt has no visible characters."


async def test_a_list_says_nothing_was_charged_only_for_what_has_ended() -> None:
    ended = replace(card(State.FAILED, reason="rejected"), charge=Charge(HELD, released=HELD))

    assert "This doesn't count" in text_of(jobs_list([ended], EN, NOW))
    assert "This doesn't count" not in text_of(jobs_list([card(State.QUEUED)], EN, NOW))
    assert ids(jobs_list([ended], EN, NOW)) == [f"j1:{JOB_ID}:look"]
