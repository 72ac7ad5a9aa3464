"""Tests how the local Discord sends messages: whole where they mention the bot, without content otherwise."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord as dpy
import pytest
import yarl

from tests.discord.cdn import Upload
from tests.discord.client import png
from tests.discord.gateway import MESSAGE_CONTENT
from tests.discord.server import LocalDiscord


class Reader(dpy.Client):
    def __init__(self, **intents: bool) -> None:
        super().__init__(intents=dpy.Intents(guilds=True, **intents), guild_ready_timeout=0.05)
        self.read: asyncio.Queue[dpy.Message] = asyncio.Queue()

    async def on_message(self, message: dpy.Message) -> None:
        self.read.put_nowait(message)


@asynccontextmanager
async def reading(monkeypatch: pytest.MonkeyPatch, **intents: bool) -> AsyncIterator[tuple[LocalDiscord, Reader]]:
    async with LocalDiscord() as server, Reader(**intents) as bot:
        monkeypatch.setattr(dpy.http.Route, "BASE", server.api_base)
        monkeypatch.setattr(dpy.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
        server.gateway.approved = MESSAGE_CONTENT
        life = asyncio.create_task(bot.start(server.token))
        await bot.wait_until_ready() if bot.is_ready() else await server.ready()
        yield server, bot
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life


async def _next(bot: Reader) -> Any:
    async with asyncio.timeout(5):
        return await bot.read.get()


@pytest.mark.parametrize("message_content", [False, True])
async def test_content_is_sent_with_a_mention_or_with_the_privileged_intent(
    monkeypatch: pytest.MonkeyPatch,
    message_content: bool,  # noqa: FBT001
) -> None:
    async with reading(monkeypatch, guild_messages=True, message_content=message_content) as (discord, bot):
        guild = discord.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), discord.add_member("alice", guild)
        picture = Upload("a.png", png())
        channel.post(alice, "hello", attachments=[picture])
        channel.post(alice, f"<@{discord.bot.id}> a boat", attachments=[picture])

        plain, mention = await _next(bot), await _next(bot)

        assert (plain.content, len(plain.attachments)) == (("hello", 1) if message_content else ("", 0))
        assert (mention.content, len(mention.attachments)) == (f"<@{discord.bot.id}> a boat", 1)
        assert [each.id for each in mention.mentions] == [discord.bot.id]


async def test_a_reply_to_the_bot_mentions_it_and_includes_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch, guild_messages=True) as (discord, bot):
        guild = discord.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), discord.add_member("alice", guild)
        ours = channel.post(discord.bot, "look")
        channel.post(alice, "nice", reply_to=ours)

        assert (await _next(bot)).author.id == discord.bot.id
        reply = await _next(bot)
        assert reply.content == "nice"
        assert reply.reference.resolved.content == "look"


async def test_messages_are_not_sent_without_the_intent_or_to_hidden_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch, guild_messages=True) as (discord, bot):
        guild = discord.add_guild("Studio")
        hidden, channel = guild.add_channel("secret", bot_sees=False), guild.add_channel("pictures")
        alice = discord.add_member("alice", guild)
        hidden.post(alice, f"<@{discord.bot.id}> hidden")
        channel.post(alice, f"<@{discord.bot.id}> shown")

        assert (await _next(bot)).content.endswith("shown")
