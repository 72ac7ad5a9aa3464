"""Channels that the bot cannot view: Discord's gateway obfuscates them, interactions contain them as they are."""

import asyncio
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.core.server_settings import ServerSettings
from bot.store.quotas import By
from bot.ui.interactions.parsing import place_of
from bot.ui.transport.channels import deleted_channels, is_hidden
from tests.discord import payloads
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.world import MANAGE_GUILD, VIEW_CHANNEL, Channel, Guild
from tests.ui.transport.test_sockets import SOON, Scene, connected

OBFUSCATED = "___hidden___"


async def interaction_in(on: Scene, who: Member, channel: Channel) -> discord.Interaction[Any]:
    """An interaction in *channel* as the bot's handlers get it."""
    told = asyncio.ensure_future(on.client.wait_for("interaction", timeout=SOON))
    await who.slash(channel, "help")
    found: discord.Interaction[Any] = await told
    return found


def cached_channels(on: Scene, guild: Guild) -> set[str]:
    known = on.client.get_guild(guild.id)
    return {each.name for each in (*known.channels, *known.threads)} if known else set()


async def events_processed(on: Scene, who: Member) -> None:
    """Wait until the bot has processed all events so far; they arrive in order."""
    await interaction_in(on, who, who.dm())


async def choices(done: Interaction) -> list[str]:
    return [str(each["name"]) for each in (await done.acked(within=SOON)).choices]


async def test_an_interaction_in_a_hidden_channel_has_the_real_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        guild.add_channel("pictures")
        secret = guild.add_channel("adults", bot_sees=False, nsfw=True)
        thread = guild.add_thread(secret, "night")
        alice = on.discord.add_member("alice", guild)

        inside, below = await interaction_in(on, alice, secret), await interaction_in(on, alice, thread)

        assert isinstance(inside.channel, discord.TextChannel)
        assert (inside.channel.name, inside.channel.nsfw) == ("adults", True)
        assert not inside.app_permissions.value & VIEW_CHANNEL
        assert inside.permissions.value & VIEW_CHANNEL
        assert place_of(inside, member=True).channels == (secret.id,)
        assert place_of(below, member=True).channels == (thread.id, secret.id)
        assert cached_channels(on, guild) == {"pictures"}


async def test_the_channel_in_an_interaction_takes_precedence_over_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        await events_processed(on, alice)
        channel.name, channel.nsfw = "adults", True  # the event has not arrived yet

        inside = await interaction_in(on, alice, channel)

        assert isinstance(inside.channel, discord.TextChannel)
        assert (inside.channel.name, inside.channel.nsfw) == ("adults", True)


async def test_a_channel_leaves_the_cache_when_hidden_and_returns_when_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel = guild.add_channel("pictures")
        guild.add_thread(channel, "night")
        secret = guild.add_channel("staff", bot_sees=False)
        alice = on.discord.add_member("alice", guild)
        await events_processed(on, alice)
        assert cached_channels(on, guild) == {"pictures", "night"}

        guild.let_bot_see(channel, sees=False)
        guild.let_bot_see(secret, sees=True)

        await events_processed(on, alice)
        assert cached_channels(on, guild) == {"staff"}

        channel.bot_sees, secret.bot_sees = True, False
        on.discord.gateway.dispatch("GUILD_CREATE", payloads.guild(guild), guild_id=guild.id)  # after an outage

        await events_processed(on, alice)
        assert cached_channels(on, guild) == {"pictures", "night"}


async def test_channels_deleted_during_an_outage_leave_the_cache_hidden_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild, other = on.discord.add_guild("Studio"), on.discord.add_guild("Annex")
        old, secret = guild.add_channel("old"), guild.add_channel("staff", bot_sees=False)
        elsewhere = other.add_channel("vault", bot_sees=False)
        alice = on.discord.add_member("alice", guild)
        guild.add_channel("pictures")
        await events_processed(on, alice)
        for each in (old, secret):
            guild.channels.remove(each)
            del on.discord.channels[each.id]
        on.discord.gateway.dispatch("GUILD_CREATE", payloads.guild(guild), guild_id=guild.id)
        await events_processed(on, alice)

        known, annex = on.client.get_guild(guild.id), on.client.get_guild(other.id)
        assert annex is not None
        assert await deleted_channels(on.client, known, [old.id, secret.id]) == {old.id, secret.id}
        assert cached_channels(on, guild) == {"pictures"}
        assert is_hidden(annex, elsewhere.id)


async def test_no_channel_is_suggested_or_named_that_the_bot_cannot_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel, secret = guild.add_channel("pictures"), guild.add_channel("staff", bot_sees=False)
        quiet = guild.add_channel("quiet", bot_can_post=False)
        boss = on.discord.add_member("boss", guild, permissions=MANAGE_GUILD)
        await on.discord.ready("settings")
        wanted = ServerSettings(denied=(channel.id,), allowed=(secret.id, quiet.id), alerts=secret.id)
        await on.rig.services.quotas.change_server_settings(By("1", guild.id, boss.id, 1), lambda _: wanted, body={})

        asked = await boss.slash(channel, "imagine", prompt="a lighthouse")
        listed = await choices(
            await boss.complete(channel, "settings channels clear", option="listed_channel", typed="")
        )
        shown = (await (await boss.slash(channel, "settings show")).acked(within=SOON)).message

        refused = (await asked.acked(within=SOON)).message
        assert refused is not None
        assert shown is not None
        assert "Pictures aren't enabled in this channel." in refused.text
        assert not any(str(each.id) in refused.text for each in (secret, quiet))
        assert listed == [f"channel {secret.id}", "#quiet", "#pictures"]
        assert OBFUSCATED not in shown.text
        assert f"can't post in <#{secret.id}>" in shown.text
