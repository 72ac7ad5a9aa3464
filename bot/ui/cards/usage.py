"""Draws the reply of `/usage`: limits with usage, bonuses and a chart. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from discord import ui

from bot.core.quota import Allowance, Grant, Limit, Unit, Used, allowances
from bot.ui.cards import quota_text
from bot.ui.cards.components import BLURPLE, Part, box, page, paragraph, small
from bot.ui.cards.texts import Words, relative

BAR_WIDTH = 10  # characters
MAX_TEXT_LENGTH = 3000  # characters for limits; a message holds 4,000
MAX_GRANTS = 8


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A limit with its usage; *reserved* is the part of the usage that active jobs have reserved."""

    allowance: Allowance
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class ChartImage:
    """An attached picture: its file name and its description for screen readers."""

    file: str
    alt_text: str


def usage(
    lines: Sequence[UsageLine],
    grants: Sequence[Grant],
    words: Words,
    *,
    now: int,
    idle_days: int | None = None,
    chart: ChartImage | None = None,
) -> ui.LayoutView:
    """Each limit with a bar for its usage, and each bonus with its expiry.

    *idle_days*: nothing was spent in so many days. *chart*: a picture attached to the same message.
    """
    limits = limit_lines(lines, words, now=now)
    text = [words.say("usage.title"), *(limits or [words.say("usage.none")])]
    idle = words.say("usage.nothing", days=idle_days) if idle_days is not None else ""
    parts = [paragraph(*text), *_bonuses(grants, words, now=now), *([paragraph(small(idle))] if idle else [])]
    return page(box(*parts, *([_chart(chart)] if chart else []), colour=BLURPLE))


def usage_line(limit: Limit, used: Used) -> UsageLine:
    (allowance,) = allowances([limit], used)
    tally = used.tally(limit.scope, limit.window).reserved
    reserved = {Unit.IMAGES: tally.images, Unit.MICRO_USD: tally.micro_usd, Unit.JOBS: 0}[limit.unit]
    return UsageLine(allowance, min(reserved, max(0, allowance.used)))  # the rest is paid by a bonus


def limit_lines(
    lines: Sequence[UsageLine], words: Words, *, now: int, max_length: int = MAX_TEXT_LENGTH
) -> list[str]:  # fmt: skip
    """The first limits with their usage, as many as fit into *max_length*, and how many are left out."""
    limits = [_limit(each, words, now=now) for each in lines]
    shown: list[str] = []
    for each in limits:
        if sum(map(len, shown)) + len(each) > max_length:
            return [*shown, small(words.say("usage.more_limits", count=len(limits) - len(shown)))]
        shown.append(each)
    return shown


def _limit(line: UsageLine, words: Words, *, now: int) -> str:
    each = line.allowance
    name = quota_text.name(words, each.scope, each.unit, window=each.window)
    used, limit, left, reserved = (
        _number(words, each.unit, n) for n in (each.used, each.limit, each.left, line.reserved)
    )
    resets = each.resets_at
    facts = [words.say("usage.images", used=used, limit=limit), words.say("usage.left", amount=left)]
    facts += [words.say("usage.reserved", amount=reserved)] if line.reserved else []
    facts += [words.say("usage.resets", when=relative(resets))] if resets is not None and resets > now else []
    return f"**{name}**\n`{bar(each.used, each.limit)}` {' · '.join(facts)}"


def _number(words: Words, unit: str, number: int) -> str:
    return words.money(number) if unit == Unit.MICRO_USD else str(number)


def _bonuses(grants: Sequence[Grant], words: Words, *, now: int) -> list[Part]:
    if not grants:
        return []
    lines = [_bonus(each, words, now=now) for each in grants[:MAX_GRANTS]]
    hidden = len(grants) - len(lines)
    more = small(words.say("usage.more_bonuses", count=hidden)) if hidden else ""
    return [paragraph(words.say("usage.bonus"), *lines, more)]


def _bonus(grant: Grant, words: Words, *, now: int) -> str:
    amount = quota_text.amount(words, grant.unit, grant.left)
    if grant.expires_at is None:
        return f"- {amount}"
    return f"- {words.say('usage.bonus_ends', amount=amount, when=relative(max(grant.expires_at, now)))}"


def _chart(chart: ChartImage) -> Part:
    gallery: ui.MediaGallery[Any] = ui.MediaGallery()
    gallery.add_item(media=f"attachment://{chart.file}", description=chart.alt_text)
    return gallery


def bar(used: int, limit: int) -> str:
    """A bar of ten characters: empty only if nothing is used, full only if everything is."""
    if used >= limit:
        return "█" * BAR_WIDTH
    filled = min(BAR_WIDTH - 1, max(1, used * BAR_WIDTH // limit)) if used > 0 else 0
    return "█" * filled + "░" * (BAR_WIDTH - filled)
