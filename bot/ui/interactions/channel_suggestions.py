"""Suggests channels of a server in which a refused request would be accepted."""

from collections.abc import Iterator, Sequence

import discord
from discord.abc import GuildChannel

from bot.core.errors import UserError
from bot.core.quota import Holder, Scope
from bot.core.server_settings import MAX_NAMED_CHANNELS
from bot.store.quotas import Overview
from bot.ui.transport.channels import may_write

MAX_UNLISTED = 3  # suggested channels that no admin has listed


def suggest_channels(
    error: UserError, overview: Overview, *, guild: discord.Guild | None, user: discord.User | discord.Member
) -> Sequence[int]:
    """Return ids of channels to name in *error*, in which *user* and the bot may write; empty if none is known.

    Channels that an admin has listed come first; others are used only if none of those works.
    """
    listed_ids: Sequence[int] = error.values.get("channels", ())  # type: ignore[assignment]
    if guild is None or guild.unavailable or not isinstance(user, discord.Member):
        return [each for each in listed_ids if _would_work(error, overview, channel=each)]
    listed = [channel for each in listed_ids if (channel := guild.get_channel(each)) is not None]
    usable = list(_usable(error, overview, channels=listed, member=user))
    return (
        usable[:MAX_NAMED_CHANNELS]
        or list(_usable(error, overview, channels=guild.text_channels, member=user))[:MAX_UNLISTED]
    )


def _usable(
    error: UserError, overview: Overview, *, channels: Sequence[GuildChannel], member: discord.Member
) -> Iterator[int]:
    for each in channels:
        may = each.permissions_for(member)
        writes = may.view_channel and may.send_messages and may.use_application_commands
        if writes and may_write(each.guild, each.id) is not False and _would_work(error, overview, channel=each.id):
            yield each.id


def _would_work(error: UserError, overview: Overview, *, channel: int) -> bool:
    """Whether the cause of *error* does not apply in *channel*, and no other rule closes it."""
    server_settings = overview.server_settings
    cap = server_settings.ceiling((channel,))
    blocked = {each.subject for each in overview.blocks if each.holder is Holder.CHANNEL}
    limited = {each.subject for each in overview.rules if each.holder is Holder.CHANNEL}
    return (
        server_settings.allows((channel,))
        and channel not in blocked
        and not (error.values.get("scope") == Scope.CHANNEL and channel in limited)
        and not (error.key == "house.resolution" and cap.resolution is not None)
        and not (error.key == "house.count" and cap.count is not None)
    )
