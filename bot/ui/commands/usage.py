"""Answers /usage: in words at once, and then with a picture of the last thirty days."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from io import BytesIO

import aiohttp
import discord
from discord import ui

from bot.core import quota
from bot.core.quota import Amount, Scope, Unit
from bot.pictures.chart import Chart, Day
from bot.store.queries import QuotaStatus
from bot.ui.cards import quota_text
from bot.ui.cards.texts import Words
from bot.ui.cards.usage import Shown, UsageLine, usage
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import NOBODY, Interaction, Responder

log = logging.getLogger(__name__)

DAYS = 30
FILE = "usage.png"
TIMEOUT = 20.0  # seconds for the upload
# The pool's own troubles, what a chart may not be drawn of, and what Discord does not take.
CHART_ERRORS = (RuntimeError, ValueError, OSError, aiohttp.ClientError, discord.DiscordException)

Draw = Callable[[Chart], Awaitable[bytes]]


class Usage:
    def __init__(self, responder: Responder, draw: Draw) -> None:
        """*draw* makes a PNG of a chart: `PicturePool.draw`."""
        self._responder = responder
        self._draw = draw

    async def show(self, interaction: Interaction) -> None:
        responder = self._responder
        words = responder.words(interaction)
        place = place_of(interaction, member=responder.is_member(interaction))
        standing = await responder.services.usage.quota_status(place)
        days = await responder.services.usage.last_days(place, standing.server_settings, days=DAYS)
        page = functools.partial(usage, lines_of(standing), standing.grants, words, now=responder.clock())
        if all(spent == Amount() for _, spent in days):
            await responder.reply_privately(interaction, page(idle_days=DAYS))
            return
        await responder.reply_privately(interaction, page())
        try:
            await self._add_chart(interaction, days, words, page=page)
        except CHART_ERRORS as exc:  # what was said in words stays
            log.warning("A /usage has no chart: %s: %s", type(exc).__name__, exc, extra={"event": "chart_failed"})

    async def _add_chart(
        self,
        interaction: Interaction,
        days: Sequence[tuple[date, Amount]],
        words: Words,
        *,
        page: Callable[..., ui.LayoutView],
    ) -> None:
        drawn = await self._draw(chart_of(days, words))
        total = functools.reduce(Amount.__add__, (spent for _, spent in days))
        pictures = quota_text.amount(words, Unit.IMAGES, total.images)
        alt = words.say("usage.chart_alt", days=len(days), pictures=pictures, price=words.money(total.micro_usd))
        async with asyncio.timeout(TIMEOUT):
            await interaction.edit_original_response(
                view=page(chart=Shown(FILE, alt)),
                attachments=[discord.File(BytesIO(drawn), filename=FILE)],
                allowed_mentions=NOBODY,
            )


def lines_of(standing: QuotaStatus) -> list[UsageLine]:
    """The limits to show. What all servers spend together is the operator's business, until it stops this member."""
    used = standing.used
    every = [_line(each, used) for each in standing.limits]
    return [each for each in every if each.allowance.scope is not Scope.HOST or not each.allowance.left]


def _line(limit: quota.Limit, used: quota.Used) -> UsageLine:
    (allowance,) = quota.allowances([limit], used)
    held = used.tally(limit.scope, limit.window).reserved
    reserved = {Unit.IMAGES: held.images, Unit.MICRO_USD: held.micro_usd, Unit.JOBS: 0}[limit.unit]
    return UsageLine(allowance, min(reserved, max(0, allowance.used)))  # a bonus pays for the rest


def chart_of(days: Sequence[tuple[date, Amount]], words: Words) -> Chart:
    return Chart(
        days=tuple(Day(short_date(day, words), spent.images, spent.micro_usd) for day, spent in days),
        title=words.say("usage.chart", days=len(days)),
        images_label=words.say("usage.chart_images"),
        money_label=words.say("usage.chart_money"),
    )


def short_date(day: date, words: Words) -> str:
    """A day without its year, as `Nov 21` or `21. Nov.`."""
    return words.say("format.day", day=day.day, month=words.say(f"format.months.{day.month}"))
