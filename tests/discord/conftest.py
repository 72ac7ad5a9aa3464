"""A local Discord with one server, a channel, a member, and the small client connected to it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import discord as dpy
import pytest
import yarl

from tests.discord.client import SILENT, SmallBot, card
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.server import LocalDiscord
from tests.discord.world import Channel, Guild


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(slots=True)
class Scene:
    discord: LocalDiscord
    clock: Clock
    guild: Guild
    channel: Channel
    alice: Member
    bot: SmallBot
    running: "asyncio.Task[None]"

    async def edit_by_channel(self, message: Message, text: str = "late") -> dpy.Message:
        place = self.bot.get_partial_messageable(message.channel.id)
        return await place.get_partial_message(message.id).edit(view=card(text), allowed_mentions=SILENT)

    async def refusal(self) -> tuple[int, int]:
        """The HTTP status and error code that the bot's handler got."""
        error = await self.bot.outcome()
        assert isinstance(error, dpy.HTTPException), error
        return error.status, error.code


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def discord(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalDiscord]:
    async with LocalDiscord(clock) as server:
        monkeypatch.setattr(dpy.http.Route, "BASE", server.api_base)
        monkeypatch.setattr(dpy.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
        yield server


@pytest.fixture
async def scene(discord: LocalDiscord, clock: Clock) -> AsyncIterator[Scene]:
    guild = discord.add_guild("Studio")
    channel = guild.add_channel("pictures")
    bot = SmallBot()
    async with bot:
        running = asyncio.create_task(bot.start(discord.token))
        await discord.ready("paint")
        made = Scene(discord, clock, guild, channel, discord.add_member("alice", guild), bot, running)
        yield made
    with contextlib.suppress(asyncio.CancelledError):
        await made.running
