"""What Discord says of a server's channels: which exist, what they are called, where the bot may write."""

import asyncio
from collections.abc import Iterable

import aiohttp
import discord

from bot.core.server_settings import ServerSettings
from bot.ui.transport.state import State

MOST_ASKED = 10  # channels that one answer may ask Discord about
TIMEOUT = 1.0  # seconds


async def missing(client: discord.Client, guild: discord.Guild | None, channels: Iterable[int]) -> frozenset[int]:
    """Those of *channels* that are provably gone: what memory lacks may be an old thread, so Discord is asked."""
    unknown = [
        each
        for each in sorted(channels)
        if guild is None or not (is_hidden(guild, each) or guild.get_channel_or_thread(each) is not None)
    ]
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.gather(*(_is_gone(client, each) for each in unknown[:MOST_ASKED]))
    except TimeoutError:
        return frozenset()
    return frozenset(each for each, gone in zip(unknown, found, strict=False) if gone)


async def _is_gone(client: discord.Client, channel: int) -> bool:
    try:
        await client.fetch_channel(channel)
    except discord.NotFound:
        return True
    except (discord.DiscordException, aiohttp.ClientError, OSError):
        return False
    return False


def is_hidden(guild: discord.Guild, channel: int) -> bool:
    """Whether *channel* is there, and the bot cannot view it."""
    state = guild._state  # noqa: SLF001 - ours; the library shows it nowhere
    return isinstance(state, State) and channel in state.hidden[guild.id]


def title(guild: discord.Guild | None, channel: int) -> str | None:
    """`#pictures`; None for one that is not in memory."""
    found = guild.get_channel_or_thread(channel) if guild is not None else None
    return f"#{found.name}" if found is not None else None


def may_write(guild: discord.Guild | None, channel: int) -> bool | None:
    """Whether the bot can write in *channel*; None where memory does not say."""
    if guild is not None and is_hidden(guild, channel):
        return False
    found = guild.get_channel_or_thread(channel) if guild is not None else None
    if guild is None or found is None or guild.me is None:
        return None
    try:
        may = found.permissions_for(guild.me)
    except discord.ClientException:  # a thread whose parent is not in memory
        return None
    writes = may.send_messages_in_threads if isinstance(found, discord.Thread) else may.send_messages
    return may.view_channel and writes


def open_somewhere(guild: discord.Guild | None, server_settings: ServerSettings, *, gone: frozenset[int]) -> bool:
    """Whether any channel that the bot views is left for pictures; where memory does not say, one is."""
    if server_settings.allowed:
        return any(each not in server_settings.denied and each not in gone for each in server_settings.allowed)
    there = [each for each in guild.channels if not isinstance(each, discord.CategoryChannel)] if guild else []
    return not there or any(server_settings.opens((each.id,)) for each in there)
