"""Tests the features that benchmarks and scenarios need: many clients, another process, the record and its schema."""

import asyncio
import os
import sys
import time
from pathlib import Path

from tests.discord.calls import Recorded
from tests.discord.client import SILENT, Event, card, file, show
from tests.discord.conftest import Scene
from tests.discord.messages import Message
from tests.discord.schema import check_schema
from tests.discord.server import LocalDiscord

BOT = """
import asyncio, sys, discord, yarl
api, gateway, token = sys.argv[1:]
discord.http.Route.BASE = api
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
from tests.discord.client import SmallBot, show
async def main():
    async with SmallBot() as bot:
        bot.handle = lambda event: show(event, "from afar")
        await bot.start(token)
asyncio.run(main())
"""


def _done(message: Message) -> bool:
    return message.text == "done"


async def test_two_hundred_members_at_once_are_answered(scene: Scene) -> None:
    async def paint(event: Event) -> None:
        await event.response.defer()
        parts = card("done", pictures=["attachment://p.png"])
        await event.edit_original_response(view=parts, attachments=[file("p.png")], allowed_mentions=SILENT)

    scene.bot.handle = paint
    members = [scene.discord.add_member(f"m{n}", scene.guild) for n in range(200)]
    started = time.perf_counter()
    handles = await asyncio.gather(*(each.slash(scene.channel, "paint", prompt="a dog") for each in members))
    await asyncio.gather(*(each.until(_done, within=20) for each in handles))

    assert time.perf_counter() - started < 20
    assert len({each.id for each in scene.channel.messages}) == 200
    assert all(each.first is not None and each.first.ms < 20_000 for each in handles)


async def test_a_bot_in_another_process_is_served_and_can_be_killed(discord: LocalDiscord) -> None:
    guild = discord.add_guild("Studio")
    channel, alice = guild.add_channel("pictures"), discord.add_member("alice", guild)
    command = [sys.executable, "-W", "ignore", "-c", BOT, discord.api_base, discord.gateway_url, discord.token]
    root = str(Path(__file__).parents[2])
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PYTHONPATH": root})
    try:
        await discord.ready("paint", within=20)
        handle = await alice.slash(channel, "paint", prompt="a dog")
        assert (await handle.until(lambda m: bool(m.text), within=5)).text == "from afar"
    finally:
        process.kill()
        await process.wait()
    await discord.until(lambda: not discord.gateway.live, within=5)


async def test_every_request_is_recorded_and_matches_discords_schema(scene: Scene) -> None:
    scene.bot.handle = lambda event: show(event, files=[file("p.png")], pictures=["attachment://p.png"], alt="a dog")
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    await scene.bot.outcome()
    sent = scene.discord.requests[-1]

    assert (sent.route, sent.method, sent.status) == ("callback", "POST", 200)
    assert sent.path == f"/interactions/{handle.id}/{handle.token}/callback"
    assert sent.json["data"]["components"][0]["items"][0]["media"] == {"url": "attachment://p.png"}
    assert [each.filename for each in sent.files] == ["p.png"]
    assert check_schema(scene.discord.requests) == []


def test_a_request_that_violates_the_schema_is_reported_if_there_is_a_checker() -> None:
    wrong = Recorded("callback", "POST", "/interactions/1/t/callback", {"type": "four"}, [], 0.0, {})
    problems = check_schema([wrong])

    assert problems.skipped or "POST /interactions/1/t/callback" in problems[0]
