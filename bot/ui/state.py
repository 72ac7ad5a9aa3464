"""Decides what of Discord's events the library remembers, and from what it reads an interaction.

A channel that the bot cannot view comes as `___hidden___`, without its age mark and its permissions (docs, "Channel
Flags"). The library would remember it so, and prefer that to what an interaction says of its own place.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import discord
from discord import InteractionType
from discord.channel import _threaded_channel_factory
from discord.state import ConnectionState

from bot.ui.payloads import TEXT, Json, complete

if TYPE_CHECKING:
    from bot.ui.client import DarkroomClient

log = logging.getLogger(__name__)

OBFUSCATED = 1 << 17  # a flag of channels
FOR_THE_TREE = frozenset({InteractionType.application_command, InteractionType.autocomplete})


class State(ConnectionState["DarkroomClient"]):
    """*hidden* are the channels that the bot cannot view, of all its servers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hidden: set[int] = set()

    def parse_guild_create(self, data: Any) -> None:
        channels = data.get("channels") or []
        seen = [each for each in channels if not _is_hidden(each)]
        self.hidden.difference_update(int(each["id"]) for each in seen)
        for each in channels:
            if _is_hidden(each):
                self._hide(each, guild_id=data["id"])
        super().parse_guild_create({**data, "channels": seen})

    def parse_channel_create(self, data: Any) -> None:
        self.parse_channel_update(data)

    def parse_channel_update(self, data: Any) -> None:
        """One that comes into sight is new to the library, whatever the event is called."""
        if _is_hidden(data):
            self._hide(data, guild_id=data["guild_id"])
            return
        self.hidden.discard(int(data["id"]))
        guild = self._get_guild(int(data.get("guild_id") or 0))
        known = guild is None or guild.get_channel(int(data["id"])) is not None
        (super().parse_channel_update if known else super().parse_channel_create)(data)

    def parse_channel_delete(self, data: Any) -> None:
        self.hidden.discard(int(data["id"]))
        super().parse_channel_delete(data)

    def _hide(self, channel: Mapping[str, Any], *, guild_id: str) -> None:
        """Forget a channel and its threads."""
        gone: Any = {"id": channel["id"], "guild_id": guild_id}
        super().parse_channel_delete(gone)
        self.hidden.add(int(channel["id"]))

    def parse_interaction_create(self, data: Any) -> None:
        """As the library does it, but for views that it keeps: we have none."""
        try:
            interaction = self._interaction(complete(data))
        except Exception as exc:  # noqa: BLE001 - one interaction's trouble is not the connection's
            extra = {"event": "interaction_unreadable"}
            log.error("An interaction could not be read: %s", type(exc).__name__, extra=extra)  # noqa: TRY400 - it has what was typed
            return
        if interaction.type in FOR_THE_TREE and self._command_tree is not None:
            self._command_tree._from_interaction(interaction)  # noqa: SLF001 - as the library does
        self.dispatch("interaction", interaction)

    def _interaction(self, data: Json) -> discord.Interaction["DarkroomClient"]:
        interaction = discord.Interaction(data=data, state=self)  # type: ignore[arg-type]
        guild, said = interaction.guild, data["channel"]
        if guild is not None and ("type" in said or interaction.channel is None):
            factory: Any = _threaded_channel_factory(said.get("type", TEXT))[0] or discord.TextChannel
            interaction.channel = factory(guild=guild, state=self, data={"type": TEXT, **said})
        return interaction


def _is_hidden(channel: Mapping[str, Any]) -> bool:
    return bool(int(channel.get("flags") or 0) & OBFUSCATED)
