"""Whom a rule, a bonus or a block is about, and how a card names them."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.quota import Block, Holder, Rule
from bot.ui.cards.texts import Words


@dataclass(frozen=True, slots=True)
class Target:
    """*here* is False for a member who left, and for a role or channel that is gone; *roles* are the member's."""

    holder: Holder
    subject: int = 0
    here: bool = True
    roles: tuple[int, ...] = ()


def about(target: Target, things: Iterable[Rule | Block]) -> list[Rule | Block]:
    """Those of *things* that are the target's own."""
    return [each for each in things if (each.holder, each.subject) == (target.holder, target.subject)]


def mention(holder: Holder, subject: int, words: Words, *, server: int) -> str:
    """Somebody or something as a message names it; it pings nobody, for no message of ours does."""
    match holder:
        case Holder.USER:
            return f"<@{subject}>"
        case Holder.ROLE:
            return words.say("quota.everyone") if subject == server else f"<@&{subject}>"
        case Holder.CHANNEL:
            return f"<#{subject}>"
        case _:
            return words.say("limits.whose.guild")
