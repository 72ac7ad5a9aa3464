"""Finds the channels of a server where something works that was refused in another one."""

from collections.abc import Iterator, Sequence

import discord
from discord.abc import GuildChannel

from bot.core.errors import UserError
from bot.core.quota import Holder, Scope
from bot.core.server_settings import MOST_NAMED
from bot.store.quotas import Overview
from bot.ui.transport.channels import may_write

MOST_FOUND = 3  # of channels that no admin has chosen


def suggest_channels(
    error: UserError, overview: Overview, *, guild: discord.Guild | None, user: discord.User | discord.Member
) -> Sequence[int]:
    """Channels to name in *error*: those an admin opened, else any, in which *user* and the bot may write.

    Empty: none is known.
    """
    named: Sequence[int] = error.values.get("channels", ())  # type: ignore[assignment]
    if guild is None or guild.unavailable or not isinstance(user, discord.Member):
        return [each for each in named if _works(error, overview, channel=each)]
    chosen = [channel for each in named if (channel := guild.get_channel(each)) is not None]
    open_ones = list(_open(error, overview, channels=chosen, member=user))
    return (
        open_ones[:MOST_NAMED] or list(_open(error, overview, channels=guild.text_channels, member=user))[:MOST_FOUND]
    )


def _open(
    error: UserError, overview: Overview, *, channels: Sequence[GuildChannel], member: discord.Member
) -> Iterator[int]:
    for each in channels:
        may = each.permissions_for(member)
        writes = may.view_channel and may.send_messages and may.use_application_commands
        if writes and may_write(each.guild, each.id) is not False and _works(error, overview, channel=each.id):
            yield each.id


def _works(error: UserError, overview: Overview, *, channel: int) -> bool:
    """Whether what *error* says does not hold in *channel*, and nothing else closes it."""
    server_settings = overview.server_settings
    cap = server_settings.ceiling((channel,))
    blocked = {each.subject for each in overview.blocks if each.holder is Holder.CHANNEL}
    limited = {each.subject for each in overview.rules if each.holder is Holder.CHANNEL}
    return (
        server_settings.opens((channel,))
        and channel not in blocked
        and not (error.values.get("scope") == Scope.CHANNEL and channel in limited)
        and not (error.key == "house.resolution" and cap.resolution is not None)
        and not (error.key == "house.count" and cap.count is not None)
    )
