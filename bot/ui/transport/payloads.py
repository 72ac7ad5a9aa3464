"""Completes an interaction as Discord sent it, before the library reads it: what is missing or null gets a value.

Only what the library demands and what we read is taken over, so that nothing else can do harm. What may be missing or
null is Discord's to say: docs, "Receiving and Responding", and the schemas of the objects inside.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from discord import Permissions

from bot.core.visible import storable

Json = dict[str, Any]

UPLOAD_LIMIT = 10 * 1024 * 1024  # bytes; what Discord takes from everybody
EVERYTHING = str(Permissions.all().value)
LOCALE = "en-US"
NOBODY = "0"
NEVER = "2015-01-01T00:00:00+00:00"
TEXT, DIRECT, GROUP = 0, 1, 3  # types of channels
GALLERY = 12  # a type of component
GUILD, BOT_DIRECT, OTHER_DIRECT = 0, 1, 2  # contexts
GUILD_INSTALL = "0"  # a kind of owner
RESOLVED = ("users", "members", "roles", "channels", "attachments", "messages")
NESTED = frozenset({1, 2})  # types of options: a command in a group, and a group

# What the library demands, with a value that says nothing.
USER: Json = {"id": NOBODY, "username": "", "discriminator": "0", "avatar": None, "global_name": None, "bot": False}
MEMBER: Json = {"roles": [], "flags": 0, "permissions": "0", "nick": None}
ROLE: Json = {"id": NOBODY, "name": "", "permissions": "0"}
CHANNEL: Json = {"type": TEXT, "name": "", "position": 0, "nsfw": False, "flags": 0, "permissions": "0"}
VOICE: Json = {"bitrate": 64_000, "user_limit": 0}
THREAD: Json = {"parent_id": NOBODY, "owner_id": NOBODY, "message_count": 0, "member_count": 0}
ARCHIVED: Json = {"archived": False, "auto_archive_duration": 1440, "archive_timestamp": NEVER}
ATTACHMENT: Json = {"id": NOBODY, "filename": "", "size": 0, "url": "", "proxy_url": "", "content_type": None}
MEDIA: Json = {"url": "", "proxy_url": None, "content_type": None, "attachment_id": None}
MESSAGE: Json = {"id": NOBODY, "type": 0, "content": "", "channel_id": NOBODY, "flags": 0, "timestamp": NEVER}


def complete(raw: Mapping[str, Any]) -> Json:
    """*raw* with all that is read of an interaction; `KeyError` where it lacks its own names or who it is from."""
    given: Json = _without_nulls(raw)
    member, message = given.get("member", {}), given.get("message")
    guild_id = given.get("guild_id") or given.get("guild", {}).get("id")
    made: Json = {
        **{name: given[name] for name in ("id", "application_id", "type", "token")},
        "version": 1,
        "data": _data(given.get("data", {})),
        "channel": _place(given, direct=guild_id is None),
        "app_permissions": given.get("app_permissions", EVERYTHING),  # what is tried will show it
        "locale": given.get("locale") or given.get("guild_locale") or LOCALE,
        "authorizing_integration_owners": given.get("authorizing_integration_owners", {}),
        "context": given.get("context", _context(given, direct=guild_id is None)),
        "attachment_size_limit": given.get("attachment_size_limit", UPLOAD_LIMIT),
    }
    if message is not None:
        made["message"] = _message(message)
    user = member.get("user") or given["user"]
    user = _known(USER, user) | {"id": user["id"]}
    if guild_id is None:
        return made | {"user": user}
    return made | {"guild_id": guild_id, "member": _known(MEMBER, member) | {"user": user}}


def _without_nulls(value: Any) -> Any:
    """*value* without nulls, however deep: null says no more than leaving out."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return storable(value) if isinstance(value, str) else value


def _known(defaults: Json, given: Mapping[str, Any]) -> Json:
    """The fields of *defaults*, as they are *given*."""
    return {name: given.get(name, default) for name, default in defaults.items()}


def _said(names: Iterable[str], given: Mapping[str, Any]) -> Json:
    return {name: given[name] for name in names if name in given}


# --- where


def _place(given: Json, *, direct: bool) -> Json:
    """The channel; of a server's without its type where the interaction does not say it."""
    said = given.get("channel", {})
    key = said.get("id") or given.get("channel_id") or given.get("message", {}).get("channel_id", NOBODY)
    made = _channel(said, key=key)
    if direct:
        return made | {"type": GROUP if said.get("type") == GROUP else DIRECT}
    return made if "type" in said else {name: each for name, each in made.items() if name != "type"}


def _channel(given: Json, *, key: str) -> Json:
    return {**_known({**CHANNEL, **VOICE, **THREAD}, given), "thread_metadata": ARCHIVED, "id": given.get("id", key)}


def _context(given: Json, *, direct: bool) -> int:
    """Where an interaction comes from that does not say so: the bot's own direct messages have an owner `0`."""
    if not direct:
        return GUILD
    owners, channel = given.get("authorizing_integration_owners", {}), given.get("channel", {})
    others = (owners and GUILD_INSTALL not in owners) or channel.get("type") == GROUP
    return OTHER_DIRECT if others else BOT_DIRECT


# --- what was done


def _data(given: Json) -> Json:
    """A command's options, a button's name or a form's fields."""
    resolved = _resolved(given.get("resolved", {}))
    target = given.get("target_id") or next(iter(resolved["messages"]), NOBODY)
    return {
        "type": 1,
        "name": "",
        "custom_id": "",
        "components": [],
        **_said(("id", "type", "name", "guild_id", "custom_id", "components"), given),
        "options": list(_options(given.get("options", []))),
        "resolved": resolved,
        "target_id": target,
    }


def _options(given: Iterable[Json]) -> Iterator[Json]:
    for each in given:
        if "name" not in each:
            continue
        kept = _said(("name", "type", "value", "focused"), each)
        if each.get("focused"):
            yield {"value": "", **kept}
        elif each.get("type") in NESTED:
            yield kept | {"options": list(_options(each.get("options", [])))}
        elif "value" in each:
            yield kept


def _resolved(given: Json) -> Json:
    """What the options mean, by its number; members without their user are left out."""
    found = {name: given.get(name, {}) for name in RESOLVED}
    return {
        "users": {key: _known(USER, {"id": key, **each}) for key, each in found["users"].items()},
        "members": {key: _known(MEMBER, each) for key, each in found["members"].items() if key in found["users"]},
        "roles": {key: _known(ROLE, {"id": key, **each}) for key, each in found["roles"].items()},
        "channels": {key: _channel(each, key=key) for key, each in found["channels"].items()},
        "attachments": {key: _known(ATTACHMENT, {"id": key, **each}) for key, each in found["attachments"].items()},
        "messages": {key: _message({"id": key, **each}) for key, each in found["messages"].items()},
    }


def _message(given: Json) -> Json:
    """A message with its pictures, all that its components show in one gallery."""
    shown = [{"media": _known(MEDIA, each)} for each in _media(given.get("components", []))]
    snapshots = [each["message"] for each in given.get("message_snapshots", []) if "message" in each]
    return {
        **_known(MESSAGE, given),
        "edited_timestamp": None,
        "author": _known(USER, given.get("author", {})),
        "attachments": [_known(ATTACHMENT, each) for each in given.get("attachments", [])],
        "embeds": [_said(("image", "thumbnail"), each) for each in given.get("embeds", [])],
        "components": [{"type": GALLERY, "items": shown}] if shown else [],
        "message_snapshots": [{"message": _message(each)} for each in snapshots],
    }


def _media(components: Iterable[Json]) -> Iterator[Json]:
    """What galleries and thumbnails show, in the order it is seen."""
    for each in components:
        yield from (item["media"] for item in each.get("items", []) if "media" in item)
        if "media" in each:
            yield each["media"]
        yield from _media([*each.get("components", []), *([each["accessory"]] if "accessory" in each else [])])
