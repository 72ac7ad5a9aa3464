"""Proves that faults reach the bot as the class of error it would meet at Discord."""

import asyncio

import aiohttp
import discord as dpy
import pytest

from tests.discord.client import SILENT, Event, card, show
from tests.discord.conftest import Scene


async def _send(scene: Scene) -> dpy.Message:
    return await scene.bot.get_partial_messageable(scene.channel.id).send(view=card(), allowed_mentions=SILENT)


async def test_a_rate_limit_is_waited_for(scene: Scene) -> None:
    fault = scene.discord.fault("create_message", do="429", retry_after=0.05)
    await _send(scene)

    assert fault.hits == 1
    assert [each.status for each in scene.discord.requests if each.route == "create_message"] == [429, 200]


async def test_cloudflare_is_not_waited_for(scene: Scene) -> None:
    scene.discord.fault(lambda method, path: method == "POST" and path.endswith("/messages"), do="cloudflare")

    with pytest.raises(dpy.HTTPException) as refused:
        await _send(scene)
    assert (refused.value.status, refused.value.code) == (429, 0)
    await _send(scene)


async def test_any_code_can_be_asked_for_until_stopped(scene: Scene) -> None:
    fault = scene.discord.fault("create_message", do="code:403:50013", times=None)
    for _ in range(2):
        with pytest.raises(dpy.Forbidden) as refused:
            await _send(scene)
        assert refused.value.code == 50013
    fault.stop()

    await _send(scene)


async def test_an_unknown_fault_raises_at_once(scene: Scene) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        scene.discord.fault("create_message", do="explode")


@pytest.mark.parametrize("do", ["reset", "accepted_then_lost"])
async def test_a_lost_connection_does_not_show_whether_a_request_was_accepted(scene: Scene, do: str) -> None:
    scene.discord.fault("create_message", do=do)

    with pytest.raises(aiohttp.ClientConnectionError):
        await _send(scene)
    assert len(scene.channel.messages) == (1 if do == "accepted_then_lost" else 0)
    assert scene.discord.requests[-1].status is None


async def test_a_retry_after_an_accepted_answer_gets_40060(scene: Scene) -> None:
    scene.discord.fault("callback", do="accepted_then_500")
    scene.bot.handle = show
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    error = await scene.bot.outcome()

    assert isinstance(error, dpy.HTTPException)
    assert error.code == 40060
    assert handle.message is not None


async def test_a_hanging_request_is_given_up_by_the_bot(scene: Scene) -> None:
    async def impatient(event: Event) -> str:
        try:
            async with asyncio.timeout(0.05):
                await show(event)
        except TimeoutError:
            return "gave up"
        return "answered"

    scene.discord.fault("callback", do="hang")
    scene.bot.handle = impatient
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.bot.outcome() == "gave up"
    assert handle.first is None


async def test_discord_can_be_down_and_come_back_on_the_same_address(scene: Scene) -> None:
    base = scene.discord.api_base
    await scene.discord.down()
    with pytest.raises(aiohttp.ClientConnectionError):
        await _send(scene)
    await scene.discord.up()

    assert scene.discord.api_base == base
    assert (await _send(scene)).id == scene.channel.messages[0].id
    await scene.discord.until(lambda: scene.discord.gateway.resumes == 1, within=10)


async def test_an_unknown_route_is_a_violation(scene: Scene) -> None:
    with pytest.raises(dpy.NotFound):
        await scene.bot.fetch_widget(scene.guild.id)

    assert scene.discord.violations == [f"no such route: GET /guilds/{scene.guild.id}/widget.json"]
