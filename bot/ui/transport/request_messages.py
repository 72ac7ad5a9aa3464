"""Picks the messages that may be requests out of all that Discord sends, by ids in memory.

In large servers thousands of messages arrive each second, so a message for others is dropped before it is parsed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import discord

from bot.ui.transport.payloads import complete_message

REQUEST_TYPES = frozenset({0, 19})  # a plain message, and a reply
MENTIONS = "<@{id}>", "<@!{id}>"


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """A message that may be a request. *mentioned*: it mentions the bot, so that Discord sends its content.

    *roles*: ids of its author's roles. *replied_to*: the message that it replies to, as far as Discord sends it.
    """

    message: discord.Message
    guild_id: int
    channel_id: int
    roles: tuple[int, ...]
    mentioned: bool
    words: str  # the content without the mention of the bot
    replied_to: discord.Message | None = None


class RequestMessages:
    """Which messages may be requests: those that mention the bot, and every one in the channels for requests."""

    def __init__(self, *, content: bool) -> None:
        """*content*: Discord sends the content of every message, so that no mention is needed in those channels."""
        self._content = content
        self._channels: set[str] = set()  # as Discord writes ids
        self._servers: dict[int, frozenset[str]] = {}

    def set_all(self, channels: Mapping[int, Iterable[int]]) -> None:
        """Replace the channels for requests; *channels* by server."""
        self._servers = {server: frozenset(map(str, each)) for server, each in channels.items()}
        self._channels = set().union(*self._servers.values())

    def set_server(self, server: int, channels: Iterable[int]) -> None:
        """Replace the channels for requests of one server."""
        self._channels -= self._servers.pop(server, frozenset())
        if ids := frozenset(map(str, channels)):
            self._servers[server] = ids
            self._channels |= ids

    def has(self, channel_id: int) -> bool:
        return str(channel_id) in self._channels

    def may_be_request(self, raw: Mapping[str, Any], *, bot_id: str) -> bool:
        """Whether the raw message may be a request; called for each message that Discord sends."""
        if not is_mentioned(raw, bot_id) and not (self._content and raw.get("channel_id") in self._channels):
            return False
        author = raw.get("author") or {}
        return (
            raw.get("guild_id") is not None
            and raw.get("webhook_id") is None
            and not author.get("bot")
            and raw.get("type", 0) in REQUEST_TYPES
        )


def is_mentioned(raw: Mapping[str, Any], bot_id: str) -> bool:
    mentions = raw.get("mentions")
    return bool(mentions) and any(each.get("id") == bot_id for each in mentions or ())


def parse(raw: Mapping[str, Any], *, state: Any, bot_id: str) -> RequestMessage:
    """*raw* as discord.py's objects, whatever optional field is missing; `KeyError` without ids or an author."""
    guild_id, channel_id = int(raw["guild_id"]), int(raw["channel_id"])
    channel = discord.PartialMessageable(state=state, id=channel_id, guild_id=guild_id)

    def message(given: Mapping[str, Any]) -> discord.Message:
        return discord.Message(state=state, channel=channel, data=complete_message(given))  # type: ignore[arg-type]

    parsed, replied_to = message({**raw, "id": raw["id"], "author": raw["author"]}), raw.get("referenced_message")
    words = parsed.content
    for each in MENTIONS:
        words = words.replace(each.format(id=bot_id), "")
    roles = tuple(sorted(int(each) for each in (raw.get("member") or {}).get("roles") or ()))
    return RequestMessage(
        message=parsed,
        guild_id=guild_id,
        channel_id=channel_id,
        roles=roles,
        mentioned=is_mentioned(raw, bot_id),
        words=words.strip(),
        replied_to=message(replied_to) if replied_to else None,
    )
