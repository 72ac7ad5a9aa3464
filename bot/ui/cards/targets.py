"""Targets of rules, bonuses and blocks, and how cards name them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.quota import Block, Holder, Rule
from bot.ui.cards.texts import Words


@dataclass(frozen=True, slots=True)
class Target:
    """A member, role, channel or server.

    *here* is False for a member who left, and for a deleted role or channel; *roles* are the member's.
    """

    holder: Holder
    subject: int = 0
    here: bool = True
    roles: tuple[int, ...] = ()


def belonging_to(target: Target, things: Iterable[Rule | Block]) -> list[Rule | Block]:
    """The rules or blocks in *things* that are set for exactly this target."""
    return [each for each in things if (each.holder, each.subject) == (target.holder, target.subject)]


def mention(holder: Holder, subject: int, words: Words, *, server: int) -> str:
    """A mention, or a name where there is no mention; nobody is pinged, because no message of ours allows pings."""
    match holder:
        case Holder.USER:
            return f"<@{subject}>"
        case Holder.ROLE:
            return words.say("quota.everyone") if subject == server else f"<@&{subject}>"
        case Holder.CHANNEL:
            return f"<#{subject}>"
        case _:
            return words.say("limits.whose.guild")
