"""Prompts with words that a server or the operator does not allow."""

from typing import Any

import pytest

from bot.store.quotas import By
from tests.store.ledger_model import rows
from tests.ui.stage import Stage, buttons, on_stage, text

REFUSED = "This server doesn't allow some of the words in this prompt."
DAY = 24 * 60 * 60


async def forbid(on: Stage, *words: str, guild: Any = None) -> None:
    guild = guild or on.guild
    await on.rig.services.quotas.change_server_settings(
        By(f"words of {guild.id}", guild.id, 1, on.rig.time.now),
        lambda now: now.model_copy(update={"words": words}),
        body={"setting": "words"},
    )


async def strikes(on: Stage) -> list[tuple[int, int, str]]:
    found = await rows(on.rig.store, "SELECT guild, user_id, reason FROM strikes")
    return [(each["guild"], each["user_id"], each["reason"]) for each in found]


@on_stage()
async def test_a_prompt_with_such_a_word_is_refused_privately_without_the_word_and_can_be_changed(on: Stage) -> None:
    await forbid(on, "gore")

    refused = await on.alice.slash(on.channel, "imagine", prompt="lots of G0RE")

    assert refused.ephemeral
    assert REFUSED in text(refused)
    assert "gore" not in text(refused).casefold()
    assert list(buttons(refused).values()) == ["Change prompt"]
    assert await on.jobs() == 0
    assert await strikes(on) == [(on.guild.id, on.alice.id, "words")]


@on_stage()
async def test_the_form_is_checked_as_the_command_is(on: Stage) -> None:
    await forbid(on, "gore")
    refused = await on.alice.slash(on.channel, "imagine", prompt="gore")
    form = await on.alice.click(refused.response.message, label="Change prompt")

    again = await on.alice.submit_modal(form, {"prompt": "more gore"})
    assert REFUSED in text(again)
    assert len(await strikes(on)) == 2

    form = await on.alice.click(again.response.message, label="Change prompt")
    await on.alice.submit_modal(form, {"prompt": "a lighthouse"})
    assert (await on.newest()).request.prompt == "a lighthouse"


@on_stage(blocked_words=("gore",))
async def test_the_operators_list_applies_in_every_server_and_outside(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "imagine", prompt="gore")
    outside = await on.guild.owner.slash("imagine", prompt="gore")

    assert REFUSED in text(refused)
    assert "This bot doesn't allow" in text(outside)
    assert await strikes(on) == [(on.guild.id, on.alice.id, "words")]


@on_stage()
async def test_a_word_of_one_server_is_allowed_in_another(on: Stage) -> None:
    other = on.env.create_guild("Other")
    await forbid(on, "gore", guild=other)

    _, job = await on.imagine("gore")

    assert job.request.prompt == "gore"


@on_stage()
async def test_three_strikes_block_the_member_in_this_server_until_they_expire(on: Stage) -> None:
    await forbid(on, "gore")
    for _ in range(3):
        await on.alice.slash(on.channel, "imagine", prompt="gore")
        await on.go(60)
    first_expires = (on.rig.time.now // 1000) - 3 * 60 + 7 * DAY

    refused = await on.alice.slash(on.channel, "imagine", prompt="a lighthouse")
    _, job = await on.imagine("a lighthouse", by=on.bob)
    await on.go(7 * DAY - 180)
    _, later = await on.imagine("a lighthouse")

    assert refused.ephemeral
    assert "You can again" in text(refused)
    assert f"<t:{first_expires}:R>" in text(refused)
    assert job.place.user_id == on.bob.id
    assert later.place.user_id == on.alice.id


@on_stage()
async def test_variations_of_another_members_picture_are_refused_without_a_strike(on: Stage) -> None:
    _, job = await on.imagine("gore")
    await on.finish(job)
    shown = await on.card(job)
    await forbid(on, "gore")

    refused = await on.bob.click(shown, label="Variations")

    assert REFUSED in text(refused)
    assert await strikes(on) == []


@pytest.mark.parametrize("prompt", ["a red fox", "agored"])
async def test_other_prompts_are_accepted(tmp_path: Any, prompt: str) -> None:
    async def test(on: Stage) -> None:
        await forbid(on, "gore")
        assert (await on.imagine(prompt))[1].request.prompt == prompt
        assert await strikes(on) == []

    await on_stage()(test)(tmp_path)
