"""Completes the raw JSON of interactions and messages, so that discord.py can parse them whatever field is missing.

Only fields that discord.py requires or that we read are copied, so that no other field can break the parser. Which
fields are optional: Discord's docs, "Receiving and Responding", and the schemas of the objects inside.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from discord import Permissions

from bot.core.visible import storable

Json = dict[str, Any]

UPLOAD_LIMIT = 10 * 1024 * 1024  # bytes; Discord's limit without any boost
ALL_PERMISSIONS = str(Permissions.all().value)
DEFAULT_LOCALE = "en-US"
UNKNOWN_ID = "0"
UNKNOWN_TIME = "2015-01-01T00:00:00+00:00"
TEXT, DIRECT, GROUP = 0, 1, 3  # channel types
GALLERY = 12  # component type
GUILD, BOT_DIRECT, OTHER_DIRECT = 0, 1, 2  # interaction context types
GUILD_INSTALL = "0"  # key of `authorizing_integration_owners`
RESOLVED = ("users", "members", "roles", "channels", "attachments", "messages")
NESTED = frozenset({1, 2})  # option types: subcommand, subcommand group

# Fields that discord.py requires, with neutral values.
USER: Json = {"id": UNKNOWN_ID, "username": "", "discriminator": "0", "avatar": None, "global_name": None, "bot": False}
MEMBER: Json = {"roles": [], "flags": 0, "permissions": "0", "nick": None}
ROLE: Json = {"id": UNKNOWN_ID, "name": "", "permissions": "0"}
CHANNEL: Json = {"type": TEXT, "name": "", "position": 0, "nsfw": False, "flags": 0, "permissions": "0"}
VOICE: Json = {"bitrate": 64_000, "user_limit": 0}
THREAD: Json = {"parent_id": UNKNOWN_ID, "owner_id": UNKNOWN_ID, "message_count": 0, "member_count": 0}
ARCHIVED: Json = {"archived": False, "auto_archive_duration": 1440, "archive_timestamp": UNKNOWN_TIME}
ATTACHMENT: Json = {"id": UNKNOWN_ID, "filename": "", "size": 0, "url": "", "proxy_url": "", "content_type": None}
MEDIA: Json = {"url": "", "proxy_url": None, "content_type": None, "attachment_id": None}
STICKER: Json = {"id": UNKNOWN_ID, "name": "", "format_type": 1}
MESSAGE: Json = {
    "id": UNKNOWN_ID,
    "type": 0,
    "content": "",
    "channel_id": UNKNOWN_ID,
    "flags": 0,
    "timestamp": UNKNOWN_TIME,
}


def complete(raw: Mapping[str, Any]) -> Json:
    """Return *raw* with every field that is read of an interaction.

    Raises `KeyError` if it has no id, application id, type, token or user.
    """
    given: Json = _without_nulls(raw)
    member, message = given.get("member", {}), given.get("message")
    guild_id = given.get("guild_id") or given.get("guild", {}).get("id")
    completed: Json = {
        **{name: given[name] for name in ("id", "application_id", "type", "token")},
        "version": 1,
        "data": _data(given.get("data", {})),
        "channel": _interaction_channel(given, direct=guild_id is None),
        "app_permissions": given.get("app_permissions", ALL_PERMISSIONS),  # requests show what is missing
        "locale": given.get("locale") or given.get("guild_locale") or DEFAULT_LOCALE,
        "authorizing_integration_owners": given.get("authorizing_integration_owners", {}),
        "context": given.get("context", _context(given, direct=guild_id is None)),
        "attachment_size_limit": given.get("attachment_size_limit", UPLOAD_LIMIT),
    }
    if message is not None:
        completed["message"] = _message(message)
    user = member.get("user") or given["user"]
    user = _with_defaults(USER, user) | {"id": user["id"]}
    if guild_id is None:
        return completed | {"user": user}
    return completed | {"guild_id": guild_id, "member": _with_defaults(MEMBER, member) | {"user": user}}


def complete_message(raw: Mapping[str, Any]) -> Json:
    """A message of the gateway with every field that is read of it, as `complete` does."""
    return _message(_without_nulls(raw))


def _without_nulls(value: Any) -> Any:
    """*value* without nulls at any depth; null means the same as a missing field. Texts are made storable."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return storable(value) if isinstance(value, str) else value


def _with_defaults(defaults: Json, given: Mapping[str, Any]) -> Json:
    """The fields of *defaults*, with the values in *given* where it has them."""
    return {name: given.get(name, default) for name, default in defaults.items()}


def _present(names: Iterable[str], given: Mapping[str, Any]) -> Json:
    """The fields *names* that *given* has."""
    return {name: given[name] for name in names if name in given}


# --- channel and context


def _interaction_channel(given: Json, *, direct: bool) -> Json:
    """The channel; a server's channel has no type if the interaction does not state it."""
    channel = given.get("channel", {})
    key = channel.get("id") or given.get("channel_id") or given.get("message", {}).get("channel_id", UNKNOWN_ID)
    completed = _channel(channel, key=key)
    if direct:
        return completed | {"type": GROUP if channel.get("type") == GROUP else DIRECT}
    return completed if "type" in channel else {name: each for name, each in completed.items() if name != "type"}


def _channel(given: Json, *, key: str) -> Json:
    return {
        **_with_defaults({**CHANNEL, **VOICE, **THREAD}, given),
        "thread_metadata": ARCHIVED,
        "id": given.get("id", key),
    }


def _context(given: Json, *, direct: bool) -> int:
    """The context of an interaction that does not state it; in the bot's direct messages an owner has the key `0`."""
    if not direct:
        return GUILD
    owners, channel = given.get("authorizing_integration_owners", {}), given.get("channel", {})
    elsewhere = (owners and GUILD_INSTALL not in owners) or channel.get("type") == GROUP
    return OTHER_DIRECT if elsewhere else BOT_DIRECT


# --- data


def _data(given: Json) -> Json:
    """A command's options, a button's custom id or a form's fields."""
    resolved = _resolved(given.get("resolved", {}))
    target = given.get("target_id") or next(iter(resolved["messages"]), UNKNOWN_ID)
    return {
        "type": 1,
        "name": "",
        "custom_id": "",
        "components": [],
        **_present(("id", "type", "name", "guild_id", "custom_id", "components", "values"), given),
        "options": list(_options(given.get("options", []))),
        "resolved": resolved,
        "target_id": target,
    }


def _options(given: Iterable[Json]) -> Iterator[Json]:
    for each in given:
        if "name" not in each:
            continue
        option = _present(("name", "type", "value", "focused"), each)
        if each.get("focused"):
            yield {"value": "", **option}
        elif each.get("type") in NESTED:
            yield option | {"options": list(_options(each.get("options", [])))}
        elif "value" in each:
            yield option


def _resolved(given: Json) -> Json:
    """The objects that options refer to, by kind and id; members without a user are left out."""
    found = {name: given.get(name, {}) for name in RESOLVED}
    return {
        "users": {key: _with_defaults(USER, {"id": key, **each}) for key, each in found["users"].items()},
        "members": {
            key: _with_defaults(MEMBER, each) for key, each in found["members"].items() if key in found["users"]
        },
        "roles": {key: _with_defaults(ROLE, {"id": key, **each}) for key, each in found["roles"].items()},
        "channels": {key: _channel(each, key=key) for key, each in found["channels"].items()},
        "attachments": {
            key: _with_defaults(ATTACHMENT, {"id": key, **each}) for key, each in found["attachments"].items()
        },
        "messages": {key: _message({"id": key, **each}) for key, each in found["messages"].items()},
    }


def _message(given: Json) -> Json:
    """A message with its attachments and embeds; media of all its components are put into one gallery."""
    shown = [{"media": _with_defaults(MEDIA, each)} for each in _media(given.get("components", []))]
    snapshots = [each["message"] for each in given.get("message_snapshots", []) if "message" in each]
    return {
        **_with_defaults(MESSAGE, given),
        "edited_timestamp": None,
        "author": _with_defaults(USER, given.get("author", {})),
        "attachments": [_with_defaults(ATTACHMENT, each) for each in given.get("attachments", [])],
        "embeds": [_present(("image", "thumbnail"), each) for each in given.get("embeds", [])],
        "components": [{"type": GALLERY, "items": shown}] if shown else [],
        "sticker_items": [_with_defaults(STICKER, each) for each in given.get("sticker_items", [])],
        "message_snapshots": [{"message": _message(each)} for each in snapshots],
    }


def _media(components: Iterable[Json]) -> Iterator[Json]:
    """The media of galleries and thumbnails, in the order shown."""
    for each in components:
        yield from (item["media"] for item in each.get("items", []) if "media" in item)
        if "media" in each:
            yield each["media"]
        yield from _media([*each.get("components", []), *([each["accessory"]] if "accessory" in each else [])])
