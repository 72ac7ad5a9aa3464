"""What `darkroom doctor` asks Discord about the application."""

import discord
import pytest

from bot.cli.doctor import _discord
from bot.settings.settings import Settings
from tests.discord.server import LocalDiscord

LIMITED = 1 << 19  # flag of an application that is not verified and may read the content of messages


@pytest.mark.parametrize(("flags", "good"), [(0, [False]), (LIMITED, [])])
async def test_a_missing_message_content_intent_is_reported_with_what_to_switch_on(
    monkeypatch: pytest.MonkeyPatch, flags: int, good: list[bool]
) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)
    async with LocalDiscord() as server:
        server.application.flags = flags
        settings = Settings.load(
            {
                "DARKROOM_DISCORD__TOKEN": server.token,
                "DARKROOM_DISCORD__API_BASE": server.api_base,
                "DARKROOM_DISCORD__GATEWAY_URL": server.gateway_url,
                "DARKROOM_DISCORD__MESSAGE_CONTENT": "true",
            }
        )
        lines = [each async for each in _discord(settings)]

    assert "intents: guilds, messages, message content" in lines[0].what
    intents = [each for each in lines[1:] if "message-content" in each.what]
    assert [each.good for each in intents] == good
    assert all("Message Content Intent on the Developer Portal's page Bot" in each.fix for each in intents)
