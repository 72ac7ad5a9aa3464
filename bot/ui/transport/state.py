"""Decides what of Discord's events the library remembers, and from what it reads an interaction.

A channel that the bot cannot view comes as `___hidden___`, without its age mark and its permissions (docs, "Channel
Flags"). The library would remember it so, and prefer that to what an interaction says of its own place.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import discord
from discord import ChannelType, InteractionType
from discord.state import ConnectionState

from bot.ui.transport.payloads import TEXT, Json, complete

log = logging.getLogger(__name__)

OBFUSCATED = 1 << 17  # a flag of channels
COMMAND_TYPES = frozenset({InteractionType.application_command, InteractionType.autocomplete})
# The classes that discord.py has for the types of a server's channels; a text channel stands in for unknown types.
CHANNEL_CLASSES: Mapping[int, Any] = {
    ChannelType.voice.value: discord.VoiceChannel,
    ChannelType.category.value: discord.CategoryChannel,
    ChannelType.stage_voice.value: discord.StageChannel,
    ChannelType.forum.value: discord.ForumChannel,
    ChannelType.media.value: discord.ForumChannel,
    **dict.fromkeys(
        (ChannelType.news_thread.value, ChannelType.public_thread.value, ChannelType.private_thread.value),
        discord.Thread,
    ),
}


class State(ConnectionState[Any]):
    """*hidden* are the channels that the bot cannot view, by their server."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hidden: defaultdict[int, set[int]] = defaultdict(set)

    async def close(self) -> None:
        if self._ready_task is not None:  # it would wake up when there is no loop any more
            self._ready_task.cancel()
        await super().close()

    def parse_guild_create(self, data: Any) -> None:
        """Its list is complete: what it lacks went while we were not connected, or while the server was away."""
        if data.get("unavailable") is True:  # and it has no list
            return
        channels = data.get("channels") or []
        seen = [each for each in channels if not _is_hidden(each)]
        listed, guild = {int(each["id"]) for each in seen}, self._get_guild(int(data["id"]))
        for known in guild.channels if guild else ():
            if known.id not in listed:
                self._forget(str(known.id), guild_id=data["id"])
        self.hidden[int(data["id"])] = {int(each["id"]) for each in channels if _is_hidden(each)}
        super().parse_guild_create({**data, "channels": seen})

    def parse_guild_delete(self, data: Any) -> None:
        if not data.get("unavailable"):
            self.hidden.pop(int(data["id"]), None)
        super().parse_guild_delete(data)

    def parse_channel_create(self, data: Any) -> None:
        self.parse_channel_update(data)

    def parse_channel_update(self, data: Any) -> None:
        """One that comes into sight is new to the library, whatever the event is called."""
        guild_id, channel_id = int(data.get("guild_id") or 0), int(data["id"])
        if _is_hidden(data):
            self._forget(data["id"], guild_id=data["guild_id"])
            self.hidden[guild_id].add(channel_id)
            return
        self.hidden[guild_id].discard(channel_id)
        guild = self._get_guild(guild_id)
        known = guild is None or guild.get_channel(channel_id) is not None
        (super().parse_channel_update if known else super().parse_channel_create)(data)

    def parse_channel_delete(self, data: Any) -> None:
        self.hidden[int(data.get("guild_id") or 0)].discard(int(data["id"]))
        super().parse_channel_delete(data)

    def _forget(self, channel_id: str, *, guild_id: str) -> None:
        """A channel and its threads."""
        gone: Any = {"id": channel_id, "guild_id": guild_id}
        super().parse_channel_delete(gone)

    def parse_interaction_create(self, data: Any) -> None:
        """As the library does it, but for views that it keeps: we have none."""
        try:
            interaction = self._interaction(complete(data))
        except Exception as exc:  # noqa: BLE001 - one interaction's trouble is not the connection's
            extra = {"event": "interaction_unreadable"}
            log.error("An interaction could not be read: %s", type(exc).__name__, extra=extra)  # noqa: TRY400 - it has what was typed
            return
        if interaction.type in COMMAND_TYPES and self._command_tree is not None:
            self._command_tree._from_interaction(interaction)  # noqa: SLF001 - as the library does
        self.dispatch("interaction", interaction)

    def _interaction(self, data: Json) -> discord.Interaction[Any]:
        interaction = discord.Interaction(data=data, state=self)  # type: ignore[arg-type]
        guild, said = interaction.guild, data["channel"]
        if guild is not None and ("type" in said or interaction.channel is None):
            channel_class = CHANNEL_CLASSES.get(said.get("type", TEXT), discord.TextChannel)
            interaction.channel = channel_class(guild=guild, state=self, data={"type": TEXT, **said})
        return interaction


def _is_hidden(channel: Mapping[str, Any]) -> bool:
    return bool(int(channel.get("flags") or 0) & OBFUSCATED)
