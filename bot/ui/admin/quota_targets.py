"""The target of an admin's command: a member, role or channel of the server, or the server itself."""

from collections.abc import Mapping
from typing import Any

import discord

from bot.core.errors import UserError
from bot.core.quota import Block, Holder, Rule
from bot.ui.admin.permissions import AdminAction
from bot.ui.cards.targets import Target
from bot.ui.interactions.parsing import THREADS

OPTIONS: Mapping[str, Holder] = {"member": Holder.USER, "role": Holder.ROLE, "channel": Holder.CHANNEL}
MAX_ID_DIGITS = 20  # of a Discord id
ADMIN_HOLDERS = frozenset({*OPTIONS.values(), Holder.GUILD})  # whose rules admins set; not the operator's
SERVER = Target(Holder.GUILD)


def target_of(action: AdminAction) -> Target:
    """The member, role or channel in the options, or the server if there is none; `UserError` for more than one."""
    named = [each for each in OPTIONS if action.given.get(each) is not None]
    if len(named) > 1:
        raise UserError("admin.one_target")
    if not named:
        return SERVER
    return _target(named[0], action.given[named[0]], server=action.server)


def require_present(target: Target) -> Target:
    """Return *target*; `UserError` if it is not in the server any more."""
    if not target.here:
        raise UserError(f"admin.gone.{target.holder}")
    return target


def _target(option: str, value: Any, *, server: int) -> Target:
    # A member who left is passed as a `discord.User`, a deleted role or channel as a `discord.Object`.
    if option == "member":
        here = isinstance(value, discord.Member)
        roles = (server, *sorted(value._roles)) if isinstance(value, discord.Member) else (server,)  # noqa: SLF001 - see `parsing._roles`
        return Target(Holder.USER, value.id, here, roles)
    if option == "role":
        return Target(Holder.ROLE, value.id, isinstance(value, discord.Role), (server, value.id))
    parent = getattr(value, "parent_id", None) if getattr(value, "type", None) in THREADS else None
    return Target(Holder.CHANNEL, parent or value.id, not isinstance(value, discord.Object))


def target_from_choice(action: AdminAction, value: str) -> Target:
    """The target in the value of a choice; `UserError` if the value is invalid, or the options name another target."""
    holder, _, rest = value.partition(":")
    subject = rest.partition(":")[0]
    named = target_of(action)
    if holder not in list(ADMIN_HOLDERS) or not subject.isdecimal() or len(subject) > MAX_ID_DIGITS:
        raise UserError("admin.choice", given=value)
    chosen = Target(Holder(holder), int(subject), roles=(action.server,))
    if named == SERVER:
        return SERVER if chosen.holder is Holder.GUILD else chosen
    if (named.holder, named.subject) != (chosen.holder, chosen.subject):
        raise UserError("admin.choice", given=value)
    return named


def rule_value(rule: Rule) -> str:
    """A rule as the value of a choice: `<holder>:<subject>:<unit>:<window>`; matched against the server's rules."""
    return f"{rule.holder}:{rule.subject}:{rule.unit}:{rule.window or 'now'}"


def block_value(block: Block) -> str:
    """A block as the value of a choice: `<holder>:<subject>`."""
    return f"{block.holder}:{block.subject}"


def plain_mention(holder: Holder, subject: int, action: AdminAction) -> str:
    """A name for a list of choices, where Discord shows no mentions: `@Ada`, `#art`, or the id if not in the cache."""
    guild, words = action.interaction.guild, action.words
    if holder is Holder.GUILD:
        return words.say("limits.whose.guild")
    if holder is Holder.ROLE and subject == action.server:
        return words.say("quota.everyone")
    if guild is not None:
        found = {Holder.USER: guild.get_member, Holder.ROLE: guild.get_role, Holder.CHANNEL: guild.get_channel}[holder](
            subject
        )
        if found is not None:
            name = getattr(found, "display_name", found.name)
            return f"#{name}" if holder is Holder.CHANNEL else f"@{name}"
    return words.say(f"quota.unnamed.{holder}", id=subject)
