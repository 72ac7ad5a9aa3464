"""Reconnecting to Discord's gateway with discord.py's client."""

import asyncio

import discord
import pytest
import yarl

from bot.ui.transport import gateway
from tests.discord.client import SmallBot, show
from tests.discord.server import LocalDiscord

SOON = 5.0


async def test_a_client_that_an_event_ends_connects_again_and_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway, "MIN_RECONNECT_DELAY", 0.01)
    async with LocalDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
        guild = server.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), server.add_member("alice", guild)
        bot, closing = SmallBot(), asyncio.Event()
        bot.handle = show
        connection = asyncio.create_task(gateway.stay_connected(bot, server.token, closing=closing))
        await server.ready("paint", within=SOON)

        server.gateway.dispatch("GUILD_ROLE_CREATE", {"guild_id": str(guild.id)}, guild_id=guild.id)
        await server.until(lambda: server.gateway.identifies == 2, within=SOON)
        await server.ready("paint", within=SOON)
        shown = await (await alice.slash(channel, "paint", prompt="a cat")).acked(within=SOON)

        assert shown.type == 4
        assert [each.__dict__.get("event") for each in caplog.records].count("gateway_broken") == 1
        closing.set()
        await bot.close()
        await connection


async def test_a_wrong_token_ends_the_connection_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
        bot = SmallBot()

        with pytest.raises(gateway.FatalGatewayError, match="DARKROOM_DISCORD__TOKEN"):
            await gateway.stay_connected(bot, "another.bot.token", closing=asyncio.Event())

        assert bot.is_closed()
