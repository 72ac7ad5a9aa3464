"""Shared by tests of `/quota`: an admin, commands, and reading what was written."""

from collections.abc import Sequence
from typing import Any

import discord

from bot.core.quota import Limits
from tests.store.ledger_model import rows
from tests.ui.stage import Stage

DAY = 24 * 60 * 60 * 1000
QUERY_TIMEOUT = Limits(user_day_images=10, user_day_micro_usd=1_000_000, guild_month_micro_usd=20_000_000)


def admin(on: Stage, guild: Any = None) -> Any:
    """A member with the permission to manage the server, and no other."""
    guild = guild or on.guild
    role = guild.create_role("Mods", permissions=discord.Permissions(manage_guild=True))
    return guild.add_member(on.env.create_user(f"ada-{guild.id}"), roles=[role])


async def limits(on: Stage) -> Sequence[tuple[Any, ...]]:
    found = await rows(on.rig.store, "SELECT * FROM limits ORDER BY holder, subject, unit, span")
    return [tuple(each[key] for key in ("guild", "holder", "subject", "unit", "span", "amount")) for each in found]


async def changes(on: Stage) -> Sequence[str]:
    return [each["action"] for each in await rows(on.rig.store, "SELECT action FROM changes ORDER BY n")]


async def untouched(on: Stage) -> bool:
    return not await limits(on) and not await changes(on) and not await rows(on.rig.store, "SELECT * FROM grants")


async def raw(on: Stage, by: Any, name: str, *options: tuple[str, int, Any]) -> Any:
    """A command with options that Discord does not resolve, as for deleted targets."""
    root = by._resolve_root("quota", 1, on.channel.id)
    given = [{"name": option, "type": kind, "value": value} for option, kind, value in options]
    inner = [{"name": name, "type": 1, "options": given}]
    data = {"id": root["id"], "name": "quota", "type": 1, "options": inner}
    return await by._dispatch_interaction(discord.InteractionType.application_command.value, on.channel, data)


async def offered(on: Stage, by: Any, command: str, option: str, typed: str = "", **filled: Any) -> dict[str, str]:
    """The choices of a completion: values by label."""
    found = await by.autocomplete(on.channel, f"quota {command}", option, typed, **filled)
    return {each["name"]: each["value"] for each in found}
