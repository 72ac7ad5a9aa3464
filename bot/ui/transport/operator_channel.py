"""Messages to the operator's channel about what only they can fix, and limit alerts to servers."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiohttp
import discord
from discord import ui

from bot.core.quota import Unit
from bot.store.alerts import PendingAlert
from bot.ui.cards.components import YELLOW, box, page, paragraph, sentence, small
from bot.ui.cards.notices import notice
from bot.ui.cards.texts import ENGLISH, Texts, Words, relative
from bot.ui.transport.rate_limits import RateLimits

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds
MAX_UNSENT = 20  # messages


class OperatorChannel:
    def __init__(self, client: discord.Client, texts: Texts, *, limits: RateLimits, channel_id: int) -> None:
        """*channel_id* is 0 if the operator has configured none."""
        self._client = client
        self._texts = texts
        self._limits = limits
        self._channel_id = channel_id
        self._unsent: deque[tuple[str, Mapping[str, object]]] = deque(maxlen=MAX_UNSENT)
        client.event(self.on_ready)

    async def notify(self, key: str, values: Mapping[str, object]) -> None:
        """Log the sentence for *key* in English and post it in the operator's channel; raises nothing.

        Until the bot is connected, up to `MAX_UNSENT` messages are kept; they are posted once it is.
        """
        english = self._texts.for_locale(ENGLISH)
        log.warning("%s", sentence(english, key, values), extra={"event": "operator", "key": key})
        if self._channel_id:
            await self._post_or_keep(key, values)

    async def on_ready(self) -> None:
        for _ in range(len(self._unsent)):
            await self._post_or_keep(*self._unsent.popleft())

    async def _post_or_keep(self, key: str, values: Mapping[str, object]) -> None:
        if not await self._post(self._channel_id, notice(key, self._words(self._channel_id), **values)):
            self._unsent.append((key, values))

    async def alert(self, channel_id: int | None, alert: PendingAlert) -> bool:
        """Post a limit alert in *channel_id*, or in the operator's channel if None; whether it needs no retry.

        Without any channel there is nothing to retry: the log has the alert.
        """
        target_id = channel_id or self._channel_id
        if not target_id:
            return True
        return await self._post(target_id, limit_alert(alert, self._words(target_id)))

    async def _post(self, channel_id: int, view: ui.LayoutView) -> bool:
        if self._client.is_closed() or self._client.user is None:
            return False
        channel = self._client.get_partial_messageable(channel_id)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._limits.wait_for_token(final=False)
                await channel.send(view=view, allowed_mentions=discord.AllowedMentions.none())
        except (discord.Forbidden, discord.NotFound) as exc:  # a retry would fail too
            log.warning("The bot cannot post in a channel: %s", exc, extra={"event": "operator_unreached"})
            return True
        except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as exc:
            log.warning("Discord cannot be reached for a message: %s", exc, extra={"event": "operator_unreached"})
            return False
        return True

    def _words(self, channel_id: int) -> Words:
        """The texts in the channel's server's language, or in English if the cache does not have the channel."""
        guild = getattr(self._client.get_channel(channel_id), "guild", None)
        return self._texts.for_locale(str(guild.preferred_locale) if guild else ENGLISH)


def limit_alert(alert: PendingAlert, words: Words) -> ui.LayoutView:
    """The message of a limit alert: what is used of which limit, and when it resets."""
    body = alert.body
    amounts = [_amount(body, name, words) for name in ("used", "limit")]
    values = {"used": amounts[0], "limit": amounts[1], "percent": body["percent"], "channel": f"<#{body['channel']}>"}
    text = words.say(f"alert.{body['scope']}", **values)
    period = words.say(f"limits.now.{body['window']}")
    resets = words.say("alert.again", when=relative(body["resets_at"])) if body["resets_at"] else ""
    full = words.say("alert.full") if body["percent"] >= 100 else ""
    return page(box(paragraph(text, small(period, resets), full), colour=YELLOW))


def _amount(body: Mapping[str, Any], name: str, words: Words) -> str:
    number = int(body[name])
    return words.money(number) if body["unit"] == Unit.MICRO_USD else words.say("card.asked", count=number)
