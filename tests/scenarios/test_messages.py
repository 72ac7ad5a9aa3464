"""Requests by message to the whole bot: cards that get lost on their way, kills, and floods of other messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.discord.messages import Message
from tests.scenarios.conftest import GATEWAY
from tests.scenarios.harness import SOON, Scene, scene, shows

pytestmark = GATEWAY

MENTIONS: dict[str, Any] = {"discord__mentions": "true"}


async def open_channel(bot: Scene) -> None:
    """An admin makes the channel one for requests by message."""
    operator = bot.discord.operator(bot.guild)
    done = await operator.slash(bot.channel, "settings generation add", channel=bot.channel)
    await done.until(lambda each: "turned on" in each.text, within=SOON)


def ask(bot: Scene, prompt: str) -> Message:
    return bot.channel.post(bot.alice, f"<@{bot.discord.bot.id}> {prompt}")


def cards(bot: Scene) -> list[Message]:
    return [each for each in bot.channel.messages if each.author is bot.discord.bot]


async def test_a_message_becomes_a_picture_and_thousands_of_others_do_not(tmp_path: Path) -> None:
    async with scene(tmp_path, **MENTIONS) as bot:
        await open_channel(bot)
        for n in range(3000):
            bot.channel.post(bot.bob, f"not for you {n}")
        asked = ask(bot, "a lighthouse")

        card = await bot.channel.until(shows("Done"), within=SOON)

        assert card.reference is not None
        assert int(card.reference["message_id"]) == asked.id
        assert len(card.gallery) == 1
        assert bot.states() == ["succeeded"]
        await bot.at_rest()
        bot.assert_at_rest()


@pytest.mark.parametrize("lost", ["accepted_then_lost", "accepted_then_500"])
async def test_a_card_that_discord_shows_without_saying_so_is_found_and_its_job_made_once(
    tmp_path: Path, lost: str
) -> None:
    async with scene(tmp_path, **MENTIONS) as bot:
        await open_channel(bot)
        bot.discord.fault("create_message", do=lost)
        ask(bot, "a lighthouse")

        await bot.channel.until(shows("Done"), within=SOON)

        assert len(cards(bot)) == 1
        assert bot.states() == ["succeeded"]
        await bot.at_rest()
        bot.assert_at_rest()


@pytest.mark.prove
async def test_a_job_whose_card_is_not_shown_is_withdrawn_and_not_ordered(tmp_path: Path) -> None:
    async with scene(tmp_path, **MENTIONS) as bot:
        await open_channel(bot)
        bot.discord.fault("create_message", do="hang", times=None)
        ask(bot, "a lighthouse")
        await bot.until(lambda: bot.states() == ["accepted"])
        await bot.restart()

        await bot.until(lambda: bot.states() == ["cancelled"])

        assert (cards(bot), bot.host.runs) == ([], {})
        bot.assert_at_rest()


@pytest.mark.prove
async def test_a_kill_between_the_card_and_its_acknowledgement_loses_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, **MENTIONS) as bot:
        await open_channel(bot)
        bot.discord.fault("create_message", do="accepted_then_lost")
        bot.discord.fault("list_messages", do="hang", times=1)
        ask(bot, "a lighthouse")
        await bot.discord.until(
            lambda: any(each.route == "list_messages" for each in bot.discord.requests), within=SOON
        )
        await bot.restart()

        await bot.channel.until(shows("Done"), within=SOON)

        assert len(cards(bot)) == 1
        assert json.loads(bot.rows("SELECT request FROM jobs")[0][0])["prompt"] == "a lighthouse"
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_chain_of_edits_goes_on_in_its_thread_after_a_kill(tmp_path: Path) -> None:
    async with scene(tmp_path, **MENTIONS) as bot:
        operator = bot.discord.operator(bot.guild)
        done = await operator.slash(bot.channel, "settings threads on")
        await done.until(lambda each: "its own thread" in each.text, within=SOON)
        asked = await bot.asks(bot.alice, "a lighthouse")
        await bot.discord.until(lambda: bot.card(asked).id in bot.discord.channels, within=SOON)
        thread = bot.discord.channels[bot.card(asked).id]

        thread.post(bot.bob, f"<@{bot.discord.bot.id}> at night")
        await thread.until(shows("Done"), within=SOON)
        await bot.restart()
        thread.post(bot.alice, f"<@{bot.discord.bot.id}> in snow")
        await thread.until(lambda each: "in snow" in each.text and "Done" in each.text, within=SOON)

        assert (thread.name, thread.parent) == ("a lighthouse", bot.channel)
        parents = bot.rows("SELECT parent_id, id FROM jobs ORDER BY id")
        assert [each for each, _ in parents] == [None, *(each for _, each in parents[:-1])]
        assert len([each for each in thread.messages if each.author is bot.discord.bot]) == 2
        await bot.at_rest()
        bot.assert_in_order()
