"""Tells the operator what only they can put right, and servers which limits come near their end."""

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

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds
MOST_UNSENT = 20


class OperatorChannel:
    def __init__(self, client: discord.Client, texts: Texts, *, channel_id: int) -> None:
        """*channel_id* is 0 where the operator named none."""
        self._client = client
        self._texts = texts
        self._channel_id = channel_id
        self._unsent: deque[tuple[str, Mapping[str, object]]] = deque(maxlen=MOST_UNSENT)
        client.event(self.on_ready)

    async def notify(self, key: str, values: Mapping[str, object]) -> None:
        """Post the sentence for *key*; the log has it whatever happens, and nothing is raised.

        What is said before the bot is connected is posted when it is.
        """
        english = self._texts.for_locale(ENGLISH)
        log.warning("%s", sentence(english, key, values), extra={"event": "operator", "key": key})
        if self._channel_id:
            await self._post_message(key, values)

    async def on_ready(self) -> None:
        for _ in range(len(self._unsent)):
            await self._post_message(*self._unsent.popleft())

    async def _post_message(self, key: str, values: Mapping[str, object]) -> None:
        if not await self._post(self._channel_id, notice(key, self._words(self._channel_id), **values)):
            self._unsent.append((key, values))

    async def alert(self, channel_id: int | None, alert: PendingAlert) -> bool:
        """Say that a limit comes near its end, in a server's channel or (None) the operator's; whether it is there.

        Where the operator has named no channel, the log has said it.
        """
        where = channel_id or self._channel_id
        if not where:
            return True
        return await self._post(where, limit_alert(alert, self._words(where)))

    async def _post(self, channel_id: int, view: ui.LayoutView) -> bool:
        if self._client.is_closed() or self._client.user is None:
            return False
        channel = self._client.get_partial_messageable(channel_id)
        try:
            async with asyncio.timeout(TIMEOUT):
                await channel.send(view=view, allowed_mentions=discord.AllowedMentions.none())
        except (discord.Forbidden, discord.NotFound) as exc:  # it will not come by itself
            log.warning("A channel for messages cannot be used: %s", exc, extra={"event": "operator_unreached"})
            return True
        except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as exc:
            log.warning("A channel for messages cannot be reached: %s", exc, extra={"event": "operator_unreached"})
            return False
        return True

    def _words(self, channel_id: int) -> Words:
        """In the language of the server that the channel is in, where that is known."""
        guild = getattr(self._client.get_channel(channel_id), "guild", None)
        return self._texts.for_locale(str(guild.preferred_locale) if guild else ENGLISH)


def limit_alert(alert: PendingAlert, words: Words) -> ui.LayoutView:
    """What has been used of which limit, and when it begins anew."""
    body = alert.body
    shown = [_amount(body, name, words) for name in ("used", "limit")]
    values = {"used": shown[0], "limit": shown[1], "percent": body["percent"], "channel": f"<#{body['channel']}>"}
    told = words.say(f"alert.{body['scope']}", **values)
    span = words.say(f"limits.now.{body['window']}")
    again = words.say("alert.again", when=relative(body["resets_at"])) if body["resets_at"] else ""
    done = words.say("alert.full") if body["percent"] >= 100 else ""
    return page(box(paragraph(told, small(span, again), done), colour=YELLOW))


def _amount(body: Mapping[str, Any], name: str, words: Words) -> str:
    number = int(body[name])
    return words.money(number) if body["unit"] == Unit.MICRO_USD else words.say("card.asked", count=number)
