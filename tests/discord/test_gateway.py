"""Tests the gateway: events at first, after a reconnect, twice, or never."""

import asyncio

import discord as dpy
import pytest

from tests.discord.client import SmallBot, show
from tests.discord.conftest import Scene
from tests.discord.server import LocalDiscord


async def _painted(scene: Scene, prompt: str = "a dog") -> None:
    scene.bot.handle = show
    handle = await scene.alice.slash(scene.channel, "paint", prompt=prompt)
    await handle.acked()
    await scene.bot.outcome()


async def test_a_bot_receives_its_servers_and_channels(scene: Scene) -> None:
    await scene.bot.wait_until_ready()
    guild = scene.bot.get_guild(scene.guild.id)

    assert guild is not None
    assert [each.name for each in guild.channels] == ["pictures"]
    assert (await scene.bot.application_info()).owner.id == scene.discord.application.owner.id


@pytest.mark.parametrize("how", ["reconnect", "close", "invalid"])
async def test_a_resumed_session_receives_missed_events_once(scene: Scene, how: str) -> None:
    await _painted(scene)
    scene.discord.gateway.silent = True
    missed = await scene.alice.slash(scene.channel, "paint", prompt="missed")
    scene.discord.gateway.silent = False
    match how:
        case "reconnect":
            scene.discord.reconnect()
        case "close":
            await scene.discord.close_gateway(4000)
        case _:
            scene.discord.invalid_session(resumable=True)
    await missed.acked(within=5)

    assert (scene.discord.gateway.identifies, scene.discord.gateway.resumes) == (1, 1)
    assert await scene.bot.outcome() is None
    assert scene.bot.outcomes.empty()


async def test_a_session_that_cannot_be_resumed_identifies_again(scene: Scene) -> None:
    scene.discord.invalid_session(resumable=False)
    await scene.discord.until(lambda: scene.discord.gateway.identifies == 2, within=5)

    await _painted(scene)


async def test_an_event_can_be_sent_twice(scene: Scene) -> None:
    scene.bot.handle = show
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    scene.discord.send_again(handle)
    outcomes = [await scene.bot.outcome(), await scene.bot.outcome()]

    assert [type(each) for each in outcomes if each is not None] == [dpy.HTTPException]
    assert len(scene.channel.messages) == 1


async def test_a_wrong_token_is_rejected(discord: LocalDiscord) -> None:
    async with SmallBot() as bot:
        with pytest.raises(dpy.LoginFailure):
            await bot.start("wrong")


@pytest.mark.parametrize(("code", "kind"), [(4004, dpy.ConnectionClosed), (4014, dpy.PrivilegedIntentsRequired)])
async def test_some_close_codes_end_the_client(scene: Scene, code: int, kind: type[Exception]) -> None:
    await scene.discord.close_gateway(code)

    with pytest.raises(kind):
        await scene.running
    scene.running = asyncio.create_task(asyncio.sleep(0))


async def test_a_privileged_intent_is_not_approved(discord: LocalDiscord) -> None:
    async with dpy.Client(intents=dpy.Intents(guilds=True, message_content=True)) as bot:
        with pytest.raises(dpy.PrivilegedIntentsRequired):
            await bot.start(discord.token)
