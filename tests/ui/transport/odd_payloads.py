"""Payloads of interactions that Discord's schema allows but its clients rarely send."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SPEC = Path("shared", "spec", "discord-openapi.json")
OBJECTS: Mapping[str, str] = {  # schema names of objects in fields, and of the values of maps
    "user": "UserResponse",
    "author": "UserResponse",
    "users": "UserResponse",
    "member": "GuildMemberResponse",
    "members": "GuildMemberResponse",
    "channel": "GuildChannelResponse",
    "channels": "GuildChannelResponse",
    "roles": "GuildRoleResponse",
    "message": "MessageResponse",
    "messages": "MessageResponse",
    "attachments": "MessageAttachmentResponse",
    "media": "UnfurledMediaResponse",
}
# The schema does not contain interactions. Fields that Discord's docs call required may still be missing in new types.
NEEDED = frozenset({"id", "application_id", "type", "token"})
IN_DATA = frozenset({"type", "component_type"})
WHO = frozenset({"member", "user", "guild_id"})  # one of them is always present; tested separately
Trail = tuple[str | int, ...]


@cache
def _schemas() -> Mapping[str, Json] | None:
    found = next((base / SPEC for base in Path(__file__).resolve().parents if (base / SPEC).is_file()), None)
    return json.loads(found.read_text())["components"]["schemas"] if found else None


def schema_is_here() -> bool:
    return _schemas() is not None


def odd(payload: Json) -> Iterator[tuple[str, Json]]:
    """*payload* with one field left out or null, for every field of which Discord's schema allows it."""
    for path, missing, null in _fields(payload, ()):
        if missing and _has(payload, path):
            yield f"without {_named(path)}", _changed(payload, path, missing=True)
        if null:
            yield f"{_named(path)} null", _changed(payload, path, missing=False)


def _fields(node: Json, path: Trail) -> Iterator[tuple[Trail, bool, bool]]:
    """Every field below *node*, whether it may be missing, and whether it may be null."""
    schema = _schema_of(path)
    if schema is not None:
        needed = schema.get("required", ())
        yield from (
            ((*path, name), name not in needed, _is_nullable(each)) for name, each in schema["properties"].items()
        )
    elif not path:
        yield from (((name,), True, True) for name in node if name not in NEEDED | WHO)
    elif path[0] == "data":
        yield from (((*path, name), True, True) for name in node if name not in IN_DATA)
    for name, each in node.items():
        if isinstance(each, dict):
            yield from _fields(each, (*path, name))
        for at, one in enumerate(each if isinstance(each, list) else ()):
            if isinstance(one, dict):
                yield from _fields(one, (*path, name, at))


def _schema_of(path: Trail) -> Json | None:
    schemas = _schemas() or {}
    *_, holder, last = ("", "", *map(str, path))
    held = OBJECTS.get(holder if holder.endswith("s") else "") or OBJECTS.get(last if not last.endswith("s") else "")
    return schemas.get(held) if held else None


def _is_nullable(schema: Json) -> bool:
    kinds = schema.get("type")
    return "null" in kinds if isinstance(kinds, list) else any(_is_null(each) for each in schema.get("oneOf", ()))


def _is_null(schema: Json) -> bool:
    return schema.get("type") == "null"


def _has(payload: Any, path: Trail) -> bool:
    for each in path:
        if isinstance(payload, dict) and each not in payload:
            return False
        payload = payload[each]
    return True


def _changed(payload: Json, path: Trail, *, missing: bool) -> Json:
    changed = copy.deepcopy(payload)
    holder: Any = changed
    for each in path[:-1]:
        holder = holder[each]
    if missing:
        del holder[path[-1]]
    else:
        holder[path[-1]] = None
    return changed


def _named(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path))
