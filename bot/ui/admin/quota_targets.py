"""Whom an admin's command is about: one member, role or channel of this server, or all of the server."""

from collections.abc import Mapping
from typing import Any

import discord

from bot.core.errors import UserError
from bot.core.quota import Block, Holder, Rule
from bot.ui.admin.base import AdminAction
from bot.ui.cards.targets import Target
from bot.ui.interactions.parsing import THREADS

OPTIONS: Mapping[str, Holder] = {"member": Holder.USER, "role": Holder.ROLE, "channel": Holder.CHANNEL}
MOST_DIGITS = 20  # of Discord's numbers
SET_HERE = frozenset({*OPTIONS.values(), Holder.GUILD})  # what admins set; the operator's own is not among it


SERVER = Target(Holder.GUILD)


def target_of(act: AdminAction) -> Target:
    """What the options name, the server where they name nothing; `UserError` for two at once."""
    named = [each for each in OPTIONS if act.given.get(each) is not None]
    if len(named) > 1:
        raise UserError("admin.one_target")
    if not named:
        return SERVER
    return _target(named[0], act.given[named[0]], server=act.server)


def present(target: Target) -> Target:
    """*target* again; `UserError` for one that is not in the server any more."""
    if not target.here:
        raise UserError(f"admin.gone.{target.holder}")
    return target


def _target(option: str, value: Any, *, server: int) -> Target:
    # What Discord does not know any more comes as a bare number.
    if option == "member":
        here = isinstance(value, discord.Member)
        roles = (server, *sorted(value._roles)) if isinstance(value, discord.Member) else (server,)  # noqa: SLF001 - see intake
        return Target(Holder.USER, value.id, here, roles)
    if option == "role":
        return Target(Holder.ROLE, value.id, isinstance(value, discord.Role), (server, value.id))
    parent = getattr(value, "parent_id", None) if getattr(value, "type", None) in THREADS else None
    return Target(Holder.CHANNEL, parent or value.id, not isinstance(value, discord.Object))


def target_from_choice(act: AdminAction, value: str) -> Target:
    """Whom a choice from a list is about; `UserError` where it is of no list of ours, or an option names another."""
    holder, _, rest = value.partition(":")
    subject = rest.partition(":")[0]
    named = target_of(act)
    if holder not in list(SET_HERE) or not subject.isdecimal() or len(subject) > MOST_DIGITS:
        raise UserError("admin.choice", given=value)
    found = Target(Holder(holder), int(subject), roles=(act.server,))
    if named == SERVER:
        return SERVER if found.holder is Holder.GUILD else found
    if (named.holder, named.subject) != (found.holder, found.subject):
        raise UserError("admin.choice", given=value)
    return named


def rule_value(rule: Rule) -> str:
    """How a rule is named in an option; it is looked up among those of the server, never trusted."""
    return f"{rule.holder}:{rule.subject}:{rule.unit}:{rule.window or 'now'}"


def block_value(block: Block) -> str:
    return f"{block.holder}:{block.subject}"


def plain_mention(holder: Holder, subject: int, act: AdminAction) -> str:
    """The same for a list of choices, where nothing can be mentioned; what memory does not know has its number."""
    guild, words = act.interaction.guild, act.words
    if holder is Holder.GUILD:
        return words.say("limits.whose.guild")
    if holder is Holder.ROLE and subject == act.server:
        return words.say("quota.everyone")
    if guild is not None:
        found = {Holder.USER: guild.get_member, Holder.ROLE: guild.get_role, Holder.CHANNEL: guild.get_channel}[holder](
            subject
        )
        if found is not None:
            name = getattr(found, "display_name", found.name)
            return f"#{name}" if holder is Holder.CHANNEL else f"@{name}"
    return words.say(f"quota.unnamed.{holder}", id=subject)
