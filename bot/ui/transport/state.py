"""discord.py's cache, without channels that the bot cannot view; parsers of interactions and messages tolerate gaps.

Discord sends a channel that the bot cannot view as `___hidden___`, without its age restriction and its permissions
(docs, "Channel Flags"). discord.py would cache it like that, and prefer the cached channel to the one in an
interaction. It has no public way to change what is cached, so its private `AutoShardedConnectionState` is extended.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import discord
from discord import ChannelType, InteractionType
from discord.state import AutoShardedConnectionState

from bot.ui.transport.payloads import TEXT, Json, complete
from bot.ui.transport.request_messages import RequestMessages, parse

log = logging.getLogger(__name__)

OBFUSCATED = 1 << 17  # channel flag
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


class State(AutoShardedConnectionState[Any]):
    """The cache. *hidden*: ids of the channels that the bot cannot view, by server id."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hidden: defaultdict[int, set[int]] = defaultdict(set)
        self.request_messages: RequestMessages | None = None  # set by the client

    async def close(self) -> None:
        for task in (self._ready_task, *self._ready_tasks.values()):  # it could run after the event loop is closed
            if task is not None:
                task.cancel()
        await super().close()

    def parse_guild_create(self, data: Any) -> None:
        """Replace the server's channels: those not listed were deleted while the bot or the server was offline."""
        if data.get("unavailable") is True:  # such an event lists no channels
            return
        channels = data.get("channels") or []
        visible = [each for each in channels if not _is_hidden(each)]
        visible_ids, guild = {int(each["id"]) for each in visible}, self._get_guild(int(data["id"]))
        for known in guild.channels if guild else ():
            if known.id not in visible_ids:
                self._remove_channel(str(known.id), guild_id=data["id"])
        self.hidden[int(data["id"])] = {int(each["id"]) for each in channels if _is_hidden(each)}
        super().parse_guild_create({**data, "channels": visible})

    def parse_guild_delete(self, data: Any) -> None:
        if not data.get("unavailable"):
            self.hidden.pop(int(data["id"]), None)
        super().parse_guild_delete(data)

    def parse_channel_create(self, data: Any) -> None:
        self.parse_channel_update(data)

    def parse_channel_update(self, data: Any) -> None:
        """Add, update or remove a channel; one that has become visible is new to discord.py, despite the event."""
        guild_id, channel_id = int(data.get("guild_id") or 0), int(data["id"])
        if _is_hidden(data):
            self._remove_channel(data["id"], guild_id=data["guild_id"])
            self.hidden[guild_id].add(channel_id)
            return
        self.hidden[guild_id].discard(channel_id)
        guild = self._get_guild(guild_id)
        known = guild is None or guild.get_channel(channel_id) is not None
        (super().parse_channel_update if known else super().parse_channel_create)(data)

    def parse_channel_delete(self, data: Any) -> None:
        self.hidden[int(data.get("guild_id") or 0)].discard(int(data["id"]))
        super().parse_channel_delete(data)

    def _remove_channel(self, channel_id: str, *, guild_id: str) -> None:
        """Remove a channel and its threads from the cache."""
        payload: Any = {"id": channel_id, "guild_id": guild_id}
        super().parse_channel_delete(payload)

    # --- messages, which Discord sends only if the operator wants requests by message

    def parse_message_create(self, data: Any) -> None:
        """Dispatch a message that may be a request; all others are dropped unread."""
        bot_id = str(self.self_id)
        if self.request_messages is None or not self.request_messages.may_be_request(data, bot_id=bot_id):
            return
        try:
            message = parse(data, state=self, bot_id=bot_id)
        except Exception as exc:  # noqa: BLE001 - one bad message must not end the connection
            extra = {"event": "message_unreadable"}
            log.error("A message could not be read: %s", type(exc).__name__, extra=extra)  # noqa: TRY400 - a traceback may contain the prompt
            return
        self.dispatch("request_message", message)

    def parse_message_update(self, data: Any) -> None:
        """Nothing depends on changes and deletions of messages, which discord.py would parse."""

    parse_message_delete = parse_message_delete_bulk = parse_message_update

    def parse_interaction_create(self, data: Any) -> None:
        """Dispatch an interaction as discord.py does, except to stored views, which the bot does not use."""
        try:
            interaction = self._interaction(complete(data))
        except Exception as exc:  # noqa: BLE001 - one bad interaction must not end the connection
            extra = {"event": "interaction_unreadable"}
            log.error("An interaction could not be read: %s", type(exc).__name__, extra=extra)  # noqa: TRY400 - a traceback may contain the prompt
            return
        if interaction.type in COMMAND_TYPES and self._command_tree is not None:
            self._command_tree._from_interaction(interaction)  # noqa: SLF001 - the tree has no public method
        self.dispatch("interaction", interaction)

    def _interaction(self, data: Json) -> discord.Interaction[Any]:
        """Parse *data*. In a server its channel is the one that the interaction describes, not the cached one."""
        interaction = discord.Interaction(data=data, state=self)  # type: ignore[arg-type]
        guild, channel = interaction.guild, data["channel"]
        if guild is not None and ("type" in channel or interaction.channel is None):
            channel_class = CHANNEL_CLASSES.get(channel.get("type", TEXT), discord.TextChannel)
            interaction.channel = channel_class(guild=guild, state=self, data={"type": TEXT, **channel})
        return interaction


def _is_hidden(channel: Mapping[str, Any]) -> bool:
    return bool(int(channel.get("flags") or 0) & OBFUSCATED)
