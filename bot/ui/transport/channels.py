"""Facts about a server's channels, from the cache or from Discord: existence, name, permission to write."""

import asyncio
from collections.abc import Iterable

import aiohttp
import discord

from bot.core.server_settings import ServerSettings
from bot.ui.transport.state import State

MAX_LOOKUPS = 10  # requests to Discord for one answer
TIMEOUT = 1.0  # seconds for all of them


async def deleted_channels(
    client: discord.Client, guild: discord.Guild | None, channels: Iterable[int]
) -> frozenset[int]:
    """Return the ids in *channels* that Discord does not know any more; empty if it does not answer in time.

    A channel that is not in the cache may be an archived thread, so Discord is asked for it.
    """
    uncached = [
        each
        for each in sorted(channels)
        if guild is None or not (is_hidden(guild, each) or guild.get_channel_or_thread(each) is not None)
    ]
    try:
        async with asyncio.timeout(TIMEOUT):
            results = await asyncio.gather(*(_is_deleted(client, each) for each in uncached[:MAX_LOOKUPS]))
    except TimeoutError:
        return frozenset()
    return frozenset(channel for channel, deleted in zip(uncached, results, strict=False) if deleted)


async def _is_deleted(client: discord.Client, channel: int) -> bool:
    try:
        await client.fetch_channel(channel)
    except discord.NotFound:
        return True
    except (discord.DiscordException, aiohttp.ClientError, OSError):
        return False
    return False


def is_hidden(guild: discord.Guild, channel: int) -> bool:
    """Whether *channel* exists but the bot has no permission to view it."""
    state = guild._state  # noqa: SLF001 - the only reference from a guild to our `State`; discord.py has no public one
    return isinstance(state, State) and channel in state.hidden[guild.id]


def channel_title(guild: discord.Guild | None, channel: int) -> str | None:
    """A channel's name, as `#pictures`; None if it is not in the cache."""
    cached = guild.get_channel_or_thread(channel) if guild is not None else None
    return f"#{cached.name}" if cached is not None else None


def may_write(guild: discord.Guild | None, channel: int) -> bool | None:
    """Whether the bot can write in *channel*; None if the cache cannot tell."""
    if guild is not None and is_hidden(guild, channel):
        return False
    cached = guild.get_channel_or_thread(channel) if guild is not None else None
    if guild is None or cached is None or guild.me is None:
        return None
    try:
        permissions = cached.permissions_for(guild.me)
    except discord.ClientException:  # a thread whose parent is not in the cache
        return None
    is_thread = isinstance(cached, discord.Thread)
    return permissions.view_channel and (
        permissions.send_messages_in_threads if is_thread else permissions.send_messages
    )


def bot_permissions(guild: discord.Guild | None, channel: int) -> discord.Permissions:
    """The bot's permissions in *channel*; all of them if the cache cannot tell."""
    if guild is not None and is_hidden(guild, channel):
        return discord.Permissions.none()
    cached = guild.get_channel_or_thread(channel) if guild is not None else None
    if guild is None or cached is None or guild.me is None:
        return discord.Permissions.all()
    try:
        return cached.permissions_for(guild.me)
    except discord.ClientException:  # a thread whose parent is not in the cache
        return discord.Permissions.all()


def has_open_channel(guild: discord.Guild | None, server_settings: ServerSettings, *, deleted: frozenset[int]) -> bool:
    """Whether the settings leave a channel open that the bot can view; True if the cache cannot tell.

    *deleted*: ids of channels that Discord does not know any more.
    """
    if server_settings.allowed:
        return any(each not in server_settings.denied and each not in deleted for each in server_settings.allowed)
    channels = [each for each in guild.channels if not isinstance(each, discord.CategoryChannel)] if guild else []
    return not channels or any(server_settings.allows((each.id,)) for each in channels)
