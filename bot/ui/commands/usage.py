"""The command `/usage`: limits and bonuses as text, followed by a chart of the last 30 days."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from io import BytesIO

import aiohttp
import discord
from discord import ui

from bot.core.quota import Amount, Scope, Unit
from bot.pictures.chart import Chart, Day
from bot.store.queries import QuotaStatus
from bot.ui.cards import quota_text
from bot.ui.cards.texts import ENGLISH, Words
from bot.ui.cards.usage import ChartImage, UsageLine, usage, usage_line
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.responder import NOBODY, Interaction, Responder

log = logging.getLogger(__name__)

DAYS = 30
CHART_FILE = "usage.png"
UNDRAWABLE = ("ja",)  # languages whose characters the font of the chart does not have
TIMEOUT = 20.0  # seconds for the upload
# Failures of the process pool, values that cannot be drawn, and failed requests to Discord.
CHART_ERRORS = (RuntimeError, ValueError, OSError, aiohttp.ClientError, discord.DiscordException)

DrawChart = Callable[[Chart], Awaitable[bytes]]


class UsageCommand:
    def __init__(self, responder: Responder, draw: DrawChart) -> None:
        """*draw* makes a PNG of a chart: `PicturePool.draw`."""
        self._responder = responder
        self._draw = draw

    async def show(self, interaction: Interaction) -> None:
        """Reply with the text, then add the chart; without it if it fails or nothing was spent."""
        responder = self._responder
        words = responder.words(interaction)
        place = place_of(interaction, member=responder.is_member(interaction))
        status = await responder.services.usage.quota_status(place)
        days = await responder.services.usage.last_days(place, status.server_settings, days=DAYS)
        page = functools.partial(usage, lines_of(status), status.grants, words, now=responder.clock())
        if all(spent == Amount() for _, spent in days):
            await responder.reply_privately(interaction, page(idle_days=DAYS))
            return
        await responder.reply_privately(interaction, page())
        try:
            await self._add_chart(interaction, days, words, page=page)
        except CHART_ERRORS as exc:  # the text is shown already
            log.warning("A chart for /usage failed: %s: %s", type(exc).__name__, exc, extra={"event": "chart_failed"})

    async def _add_chart(
        self,
        interaction: Interaction,
        days: Sequence[tuple[date, Amount]],
        words: Words,
        *,
        page: Callable[..., ui.LayoutView],
    ) -> None:
        drawn = self._responder.texts.for_locale(ENGLISH) if words.locale in UNDRAWABLE else words
        png = await self._draw(chart_of(days, drawn))
        total = functools.reduce(Amount.__add__, (spent for _, spent in days))
        pictures = quota_text.amount(words, Unit.IMAGES, total.images)
        alt = words.say("usage.chart_alt", days=len(days), pictures=pictures, price=words.money(total.micro_usd))
        async with asyncio.timeout(TIMEOUT):
            await interaction.edit_original_response(
                view=page(chart=ChartImage(CHART_FILE, alt)),
                attachments=[discord.File(BytesIO(png), filename=CHART_FILE)],
                allowed_mentions=NOBODY,
            )


def lines_of(status: QuotaStatus) -> list[UsageLine]:
    """The limits to show. The operator's limit over all servers is shown only once it is used up."""
    used = status.used
    every = [usage_line(each, used) for each in status.limits]
    return [each for each in every if each.allowance.scope is not Scope.HOST or not each.allowance.left]


def chart_of(days: Sequence[tuple[date, Amount]], words: Words) -> Chart:
    return Chart(
        days=tuple(Day(words.day(day), spent.images, spent.micro_usd) for day, spent in days),
        title=words.say("usage.chart", days=len(days)),
        images_label=words.say("usage.chart_images"),
        money_label=words.say("usage.chart_money"),
    )
