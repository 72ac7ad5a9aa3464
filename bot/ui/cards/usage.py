"""Draws what a member may still use: limits, bonuses, the last days."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.core.quota import Allowance, Grant, Unit
from bot.ui.cards import quota_text
from bot.ui.cards.components import BLURPLE, Part, box, page, paragraph, small
from bot.ui.cards.texts import Words, relative

BAR = 10  # characters
USAGE_TEXT = 3000  # characters, of the 4,000 that a message holds
MOST_BONUSES = 8


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A limit with what is used of it; *reserved* is the part of that which unfinished jobs hold."""

    allowance: Allowance
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that is sent along: its file's name, and what a screen reader says of it."""

    file: str
    described: str


def usage(
    lines: Sequence[UsageLine],
    grants: Sequence[Grant],
    words: Words,
    *,
    now: int,
    idle_days: int | None = None,
    chart: Shown | None = None,
) -> ui.LayoutView:
    """How far every limit that applies is used, with bars, and each bonus with its end.

    *idle_days*: nothing was spent for so long. *chart* is a file of the same message.
    """
    told = _fitting([_limit(each, words, now=now) for each in lines], words)
    text = [words.say("usage.title"), *(told or [words.say("usage.none")])]
    idle = words.say("usage.nothing", days=idle_days) if idle_days is not None else ""
    parts = [paragraph(*text), *_bonuses(grants, words, now=now), *([paragraph(small(idle))] if idle else [])]
    return page(box(*parts, *([_chart(chart)] if chart else []), colour=BLURPLE))


def _fitting(told: Sequence[str], words: Words) -> list[str]:
    """The narrowest limits, as many as one message holds."""
    shown: list[str] = []
    for each in told:
        if sum(map(len, shown)) + len(each) > USAGE_TEXT:
            return [*shown, small(words.say("usage.more_limits", count=len(told) - len(shown)))]
        shown.append(each)
    return shown


def _limit(line: UsageLine, words: Words, *, now: int) -> str:
    each = line.allowance
    called = quota_text.name(words, each.scope, each.unit, window=each.window)
    used, limit, left, held = (_number(words, each.unit, n) for n in (each.used, each.limit, each.left, line.reserved))
    resets = each.resets_at
    facts = [words.say("usage.images", used=used, limit=limit), words.say("usage.left", amount=left)]
    facts += [words.say("usage.reserved", amount=held)] if line.reserved else []
    facts += [words.say("usage.resets", when=relative(resets))] if resets is not None and resets > now else []
    return f"**{called}**\n`{bar(each.used, each.limit)}` {' · '.join(facts)}"


def _number(words: Words, unit: str, number: int) -> str:
    return words.money(number) if unit == Unit.MICRO_USD else str(number)


def _bonuses(grants: Sequence[Grant], words: Words, *, now: int) -> list[Part]:
    if not grants:
        return []
    lines = [_bonus(each, words, now=now) for each in grants[:MOST_BONUSES]]
    hidden = len(grants) - len(lines)
    more = small(words.say("usage.more_bonuses", count=hidden)) if hidden else ""
    return [paragraph(words.say("usage.bonus"), *lines, more)]


def _bonus(grant: Grant, words: Words, *, now: int) -> str:
    amount = quota_text.amount(words, grant.unit, grant.left)
    if grant.expires_at is None:
        return f"- {amount}"
    return f"- {words.say('usage.bonus_ends', amount=amount, when=relative(max(grant.expires_at, now)))}"


def _chart(chart: Shown) -> Part:
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    gallery.add_item(media=f"attachment://{chart.file}", description=chart.described)
    return gallery


def bar(used: int, limit: int) -> str:
    """A bar of ten characters: empty only when nothing is used, full only when everything is."""
    if used >= limit:
        return "█" * BAR
    filled = min(BAR - 1, max(1, used * BAR // limit)) if used > 0 else 0
    return "█" * filled + "░" * (BAR - filled)
