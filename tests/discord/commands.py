"""Checks of Discord's own client before it sends a command or a form: place, permissions, options, fields."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.discord import payloads
from tests.discord.cdn import Upload
from tests.discord.rules import SELECTS, Json
from tests.discord.world import Channel, HasUser, User

if TYPE_CHECKING:
    from tests.discord.member import Member

GROUPS = frozenset({1, 2})
TYPES: dict[int, type | tuple[type, ...]] = {3: str, 4: int, 5: bool, 7: Channel, 8: int, 10: (int, float), 11: Upload}


def require_available(command: Json, channel: Channel, user: User) -> None:
    """`PermissionError` where Discord would not offer the command to *user*."""
    context = 0 if channel.guild else 1 if channel.with_bot else 2
    contexts = command.get("contexts")
    if contexts is None:
        contexts = [0, 1] if command.get("dm_permission", True) else [0]
    if context not in contexts:
        raise PermissionError(f"{command['name']} is not offered in context {context}")
    types = command.get("integration_types") or [0]
    if not ((channel.with_bot and 0 in types) or (user.installed and 1 in types)):
        raise PermissionError(f"{command['name']} is not installed here")
    needed = int(command.get("default_member_permissions") or 0)
    if channel.guild and channel.guild.permissions_of(user) & needed != needed:
        raise PermissionError(f"{user.name} may not use {command['name']}")


def fill(
    member: "Member",
    command: Json,
    path: list[str],
    values: Mapping[str, Any],
    *,
    channel: Channel,
    data: Json,
    force: bool,
    focus: str | None = None,
) -> list[Json]:
    """Build the payload's `options`, nested like the command's groups; files and people go into `resolved`."""
    options: list[Json] = command.get("options") or []
    if path:
        subcommand = next((each for each in options if each["name"] == path[0] and each["type"] in GROUPS), None)
        if subcommand is None:
            raise LookupError(f"{command['name']} has no {path[0]!r}")
        inner_options = fill(member, subcommand, path[1:], values, channel=channel, data=data, force=force, focus=focus)
        return [{"name": subcommand["name"], "type": subcommand["type"], "options": inner_options}]
    by_name = {each["name"]: each for each in options}
    if unknown := values.keys() - by_name.keys():
        raise LookupError(f"{command['name']} has no option {sorted(unknown)}, only {sorted(by_name)}")
    if not force:
        require_complete(command, by_name, values)
    filled = []
    for name, value in values.items():
        if not force:
            require_value(by_name[name], value)
        sent = _wire_value(member, by_name[name], value, channel=channel, data=data)
        entry: Json = {"name": name, "type": by_name[name]["type"], "value": sent}
        filled.append(entry | ({"focused": True} if name == focus else {}))
    return filled


def require_complete(command: Json, by_name: Mapping[str, Json], values: Mapping[str, Any]) -> None:
    missing = [name for name, each in by_name.items() if each.get("required") and name not in values]
    if missing:
        raise ValueError(f"{command['name']} needs {missing}")


def require_value(option: Json, value: Any) -> None:
    """`ValueError` for a value that the client would not send."""
    name = option["name"]
    expected = TYPES.get(option["type"])
    if expected is not None and (not isinstance(value, expected) or isinstance(value, bool) != (option["type"] == 5)):
        raise ValueError(f"{name} takes {expected}, not {value!r}")
    choices = [each["value"] for each in option.get("choices") or []]
    if choices and value not in choices:
        raise ValueError(f"{name} takes one of {choices}, not {value!r}")
    size = len(value) if isinstance(value, str) else value
    limits = ("min_length", "max_length") if isinstance(value, str) else ("min_value", "max_value")
    low, high = (option.get(key) for key in limits)
    if (low is not None and size < low) or (high is not None and size > high):
        raise ValueError(f"{name} must be between {low} and {high}, got {size}")


def _wire_value(member: "Member", option: Json, value: Any, *, channel: Channel, data: Json) -> Any:
    match option["type"]:
        case 6:
            return _person(value.user if isinstance(value, HasUser) else value, channel=channel, data=data)
        case 7:
            described = payloads.channel(value) | {"permissions": "0"}
            data.setdefault("resolved", {}).setdefault("channels", {})[str(value.id)] = described
            return str(value.id)
        case 8:
            guild = channel.guild
            assert guild is not None
            data.setdefault("resolved", {}).setdefault("roles", {})[str(value)] = payloads.role(
                value, *guild.roles[value]
            )
            return str(value)
        case 11 if isinstance(value, Upload):
            return str(member.upload(channel, value, data=data).id)
    return value


def _person(user: User, *, channel: Channel, data: Json) -> str:
    resolved = data.setdefault("resolved", {})
    resolved.setdefault("users", {})[str(user.id)] = payloads.user(user)
    if channel.guild and user.id in channel.guild.members:
        membership = channel.guild.members[user.id]
        described = payloads.member(membership, with_user=False) | {
            "permissions": str(channel.guild.permissions_of(user))
        }
        resolved.setdefault("members", {})[str(user.id)] = described
    return str(user.id)


def require_field(item: Json, value: Any) -> None:
    """`ValueError` for a form field that the client would not submit."""
    kind, name = item["type"], item["custom_id"]
    if item.get("required", kind != 23) and not value:
        raise ValueError(f"the field {name} must be filled in")
    low, high = item.get("min_length") or 0, item.get("max_length") or 4000
    if kind == 4 and value and not low <= len(value) <= high:
        raise ValueError(f"the field {name} takes {low} to {high} characters")
    low, high = item.get("min_values") or 0, item.get("max_values") or 1
    if kind in SELECTS | {19, 22} and value and not low <= len(value) <= high:
        raise ValueError(f"the field {name} takes {low} to {high} values")
    offered = [each["value"] for each in item.get("options") or []]
    if offered and any(each not in offered for each in (value if isinstance(value, list) else [value]) if value):
        raise ValueError(f"the field {name} offers {offered}, not {value!r}")
