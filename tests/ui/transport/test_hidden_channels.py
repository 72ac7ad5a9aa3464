"""Channels that the bot cannot view: Discord's gateway obfuscates them, and only an interaction tells them truly."""

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


async def heard(on: Scene, who: Member, channel: Channel) -> discord.Interaction[Any]:
    """An interaction in *channel* as the bot's own code gets it."""
    told = asyncio.ensure_future(on.client.wait_for("interaction", timeout=SOON))
    await who.slash(channel, "help")
    found: discord.Interaction[Any] = await told
    return found


def remembered(on: Scene, guild: Guild) -> set[str]:
    known = on.client.get_guild(guild.id)
    return {each.name for each in (*known.channels, *known.threads)} if known else set()


async def reached(on: Scene, who: Member) -> None:
    """Wait until the bot has heard everything so far: events come in order."""
    await heard(on, who, who.dm())


async def choices(done: Interaction) -> list[str]:
    return [str(each["name"]) for each in (await done.acked(within=SOON)).choices]


async def test_an_interaction_in_a_hidden_channel_tells_the_place_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        guild.add_channel("pictures")
        secret = guild.add_channel("adults", bot_sees=False, nsfw=True)
        thread = guild.add_thread(secret, "night")
        alice = on.discord.add_member("alice", guild)

        inside, below = await heard(on, alice, secret), await heard(on, alice, thread)

        assert isinstance(inside.channel, discord.TextChannel)
        assert (inside.channel.name, inside.channel.nsfw) == ("adults", True)
        assert not inside.app_permissions.value & VIEW_CHANNEL
        assert inside.permissions.value & VIEW_CHANNEL
        assert place_of(inside, member=True).channels == (secret.id,)
        assert place_of(below, member=True).channels == (thread.id, secret.id)
        assert remembered(on, guild) == {"pictures"}


async def test_what_an_interaction_says_of_its_channel_goes_before_what_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        await reached(on, alice)
        channel.name, channel.nsfw = "adults", True  # an event that has not come yet

        inside = await heard(on, alice, channel)

        assert isinstance(inside.channel, discord.TextChannel)
        assert (inside.channel.name, inside.channel.nsfw) == ("adults", True)


async def test_a_channel_is_forgotten_when_it_is_hidden_and_known_when_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel = guild.add_channel("pictures")
        guild.add_thread(channel, "night")
        secret = guild.add_channel("staff", bot_sees=False)
        alice = on.discord.add_member("alice", guild)
        await reached(on, alice)
        assert remembered(on, guild) == {"pictures", "night"}

        guild.let_bot_see(channel, sees=False)
        guild.let_bot_see(secret, sees=True)

        await reached(on, alice)
        assert remembered(on, guild) == {"staff"}

        channel.bot_sees, secret.bot_sees = True, False
        on.discord.gateway.dispatch("GUILD_CREATE", payloads.guild(guild), guild_id=guild.id)  # after an outage

        await reached(on, alice)
        assert remembered(on, guild) == {"pictures", "night"}


async def test_channels_that_were_deleted_while_the_server_was_away_are_gone_whether_they_were_seen_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild, other = on.discord.add_guild("Studio"), on.discord.add_guild("Annex")
        old, secret = guild.add_channel("old"), guild.add_channel("staff", bot_sees=False)
        elsewhere = other.add_channel("vault", bot_sees=False)
        alice = on.discord.add_member("alice", guild)
        guild.add_channel("pictures")
        await reached(on, alice)
        for each in (old, secret):
            guild.channels.remove(each)
            del on.discord.channels[each.id]
        on.discord.gateway.dispatch("GUILD_CREATE", payloads.guild(guild), guild_id=guild.id)
        await reached(on, alice)

        known, annex = on.client.get_guild(guild.id), on.client.get_guild(other.id)
        assert annex is not None
        assert await deleted_channels(on.client, known, [old.id, secret.id]) == {old.id, secret.id}
        assert remembered(on, guild) == {"pictures"}
        assert is_hidden(annex, elsewhere.id)


async def test_no_channel_out_of_the_bots_reach_is_suggested_and_no_hidden_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Studio")
        channel, secret = guild.add_channel("pictures"), guild.add_channel("staff", bot_sees=False)
        quiet = guild.add_channel("quiet", bot_can_post=False)
        boss = on.discord.add_member("boss", guild, permissions=MANAGE_GUILD)
        await on.discord.ready("settings")
        wanted = ServerSettings(denied=(channel.id,), allowed=(secret.id, quiet.id), alerts=secret.id)
        await on.rig.services.quotas.change_server_settings(By("1", guild.id, boss.id, 1), lambda _: wanted, told={})

        asked = await boss.slash(channel, "imagine", prompt="a lighthouse")
        listed = await choices(
            await boss.complete(channel, "settings channels clear", option="listed_channel", typed="")
        )
        shown = (await (await boss.slash(channel, "settings show")).acked(within=SOON)).message

        refused = (await asked.acked(within=SOON)).message
        assert refused is not None
        assert shown is not None
        assert "No pictures are made in this channel." in refused.text
        assert not any(str(each.id) in refused.text for each in (secret, quiet))
        assert listed == [f"channel {secret.id}", "#quiet", "#pictures"]
        assert OBFUSCATED not in shown.text
        assert f"may not write in <#{secret.id}>" in shown.text
