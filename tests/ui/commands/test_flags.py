"""Flags typed at the end of a prompt, in slash commands and forms."""

from typing import Any

import pytest

from tests.ui.stage import Stage, field_value, on_stage, text


def said(shown: Any) -> list[str]:
    """The ephemeral messages after the first answer."""
    assert all(each.ephemeral for each in shown.followups)
    return [text(each) for each in shown.followups]


@on_stage()
async def test_flags_become_options_and_those_without_a_meaning_are_named_after_the_card(on: Stage) -> None:
    shown, job = await on.imagine("a fox --ar 16:9 --v 6 --no hands --seed 5 --q 2")

    assert job.request.prompt == "a fox, without hands"
    assert (job.request.options["aspect_ratio"], job.request.options["seed"]) == ("16:9", 5)
    assert not shown.ephemeral
    assert said(shown) == ["Ignored `--v 6`, `--q 2`: this bot has no such options."]
    assert (await on.record(job.id)).reply.message_id == shown.response.message.id


@on_stage()
async def test_without_an_ignored_flag_nothing_but_the_card_is_sent(on: Stage) -> None:
    shown, job = await on.imagine("a fox -- red \u2014ar 16:9")

    assert (job.request.prompt, job.request.options["aspect_ratio"]) == ("a fox -- red", "16:9")
    assert shown.followups == []


@on_stage()
async def test_an_option_of_the_command_wins_over_a_flag(on: Stage) -> None:
    shown, job = await on.imagine("a fox --ar 16:9", aspect_ratio="1:1")

    assert job.request.options["aspect_ratio"] == "1:1"
    assert said(shown) == ["Ignored `--ar 16:9`: the option you chose applies."]


@pytest.mark.parametrize(("model", "resolution"), [(None, "4K"), ("nano-banana-pro", "4K")])
@on_stage()
async def test_hd_is_the_largest_resolution_of_the_model_that_is_used(
    on: Stage, model: str | None, resolution: str
) -> None:
    _, job = await on.imagine("a fox --hd", **({"model": model} if model else {}))

    assert job.request.options["resolution"] == resolution


@on_stage()
async def test_a_value_that_the_model_does_not_have_is_refused_and_ignored_flags_are_named_once_it_is_changed(
    on: Stage,
) -> None:
    shown = await on.alice.slash(on.channel, "imagine", prompt="a fox --ar 7:5 --v 6")

    assert "7:5 isn't a valid `aspect_ratio`" in text(shown)
    assert await on.jobs() == 0
    form = await on.alice.click(shown.response.message, label="Change prompt")
    assert field_value(form, "prompt") == "a fox"
    sent = await on.alice.submit_modal(form, {"prompt": "a fox", "aspect_ratio": ["3:2"]})
    assert (await on.newest()).request.options["aspect_ratio"] == "3:2"
    assert said(sent) == ["Ignored `--v 6`: this bot has no such option."]


@on_stage()
async def test_a_flag_in_a_form_counts_unless_the_select_of_its_option_is_changed(on: Stage) -> None:
    _, failed = await on.imagine("a fox")
    await on.fail(failed)
    form = await on.in_menu(on.alice, (await on.card(failed)).message, "Change prompt")
    values = {name: [field_value(form, name)] for name in ("aspect_ratio", "resolution", "count")}

    sent = await on.alice.submit_modal(form, {"prompt": "a hare --ar 16:9 --turbo", **values})

    job = await on.newest()
    assert (job.request.prompt, job.request.options["aspect_ratio"]) == ("a hare", "16:9")
    assert said(sent) == ["Ignored `--turbo`: this bot has no such option."]

    await on.fail(job)
    form = await on.in_menu(on.alice, (await on.card(job)).message, "Change prompt")
    sent = await on.alice.submit_modal(form, {"prompt": "a hare --ar 1:1", **values, "aspect_ratio": ["3:2"]})
    assert (await on.newest()).request.options["aspect_ratio"] == "3:2"
    assert said(sent) == ["Ignored `--ar 1:1`: the option you chose applies."]


@on_stage()
async def test_if_discord_does_not_show_the_card_the_flags_are_not_reported_in_its_place(on: Stage) -> None:
    on.env.inject_error("POST", "/interactions/*/callback", status=400, code=40060, message="lost")

    shown = await on.alice.slash(on.channel, "imagine", prompt="a fox --v 6")

    assert shown.followups == []
    assert shown.response is None or "Ignored" not in text(shown)
