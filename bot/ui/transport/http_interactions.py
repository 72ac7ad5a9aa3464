"""Interactions over HTTP instead of the gateway: keeps the client logged in, and hands it what Discord sends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import discord

from bot.core.clock import Clock
from bot.core.jobs import MINUTE
from bot.store.database import DATABASE_ERRORS

log = logging.getLogger(__name__)

CHECK_INTERVAL = 40.0  # seconds between requests that show that Discord answers; the gateway's heartbeats have 41
CLAIM_TIMEOUT = 0.5  # seconds
CLAIM_LIFETIME = 15 * MINUTE  # longer than a signature is accepted
AUTOCOMPLETE = discord.InteractionType.autocomplete.value

ENDPOINT_WARNING = "Application has an interaction endpoint URL set"  # by discord.py, which expects the gateway

Claim = Callable[..., Awaitable[bool]]  # as `Store.claim_delivery(interaction_id, *, now)`


class OwnClaims:
    """Claims of the only process there is, kept while a signature may hold: no write that a member waits for."""

    def __init__(self) -> None:
        self._claimed: dict[int, int] = {}  # when, by interaction; oldest first

    async def claim(self, interaction_id: int, *, now: int) -> bool:
        if interaction_id in self._claimed:
            return False
        self._claimed[interaction_id] = now
        while now - next(iter(self._claimed.values())) > CLAIM_LIFETIME:
            del self._claimed[next(iter(self._claimed))]
        return True


class HttpInteractions:
    """Passes interactions to the handlers of a client that has no connection to the gateway."""

    def __init__(self, client: discord.Client, claim: Claim, *, clock: Clock) -> None:
        """*claim* records that an interaction has arrived, and returns False if it had before."""
        self._client = client
        self._claim = claim
        self._clock = clock
        self._application: discord.AppInfo | None = None
        self._answered_at = 0  # UTC milliseconds
        logging.getLogger("discord.client").addFilter(_is_not_about_the_endpoint)

    def public_key(self) -> bytes | None:
        """The key with which Discord signs (32 bytes); None before the login."""
        return bytes.fromhex(self._application.verify_key) if self._application is not None else None

    def heartbeat_age(self) -> float | None:
        """Seconds since Discord last answered a check; None before the login and after the end."""
        if self._application is None or self._client.is_closed():
            return None
        return (self._clock() - self._answered_at) / 1000

    async def check_until(self, closing: asyncio.Event) -> None:
        """Ask Discord about the application from time to time, until *closing* is set.

        Raises `discord.LoginFailure` if the token is not valid any more.
        """
        while not closing.is_set():
            await self._check()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    await closing.wait()

    async def _check(self) -> None:
        try:
            self._application = await self._client.application_info()
            self._answered_at = self._clock()
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            if isinstance(exc, discord.HTTPException) and exc.status == 401:
                raise discord.LoginFailure("Discord does not know the token any more") from exc
            log.warning("Discord cannot be reached: %s", exc, extra={"event": "discord_down"})

    async def receive(self, payload: Mapping[str, Any]) -> None:
        """Start the handler of an authentic interaction, as the gateway does; a repeated one is dropped."""
        if payload.get("type") == AUTOCOMPLETE or await self._is_new(payload):
            self._client._connection.parse_interaction_create(payload)  # type: ignore[arg-type]  # noqa: SLF001 - discord.py has no public way in

    async def _is_new(self, payload: Mapping[str, Any]) -> bool:
        """Whether no process has this interaction; True if the database does not answer, so that the handler says so.

        An unreadable id is left to the parser.
        """
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT):
                return await self._claim(int(payload["id"]), now=self._clock())
        except (KeyError, TypeError, ValueError):
            return True
        except DATABASE_ERRORS:  # TimeoutError included
            return True


def _is_not_about_the_endpoint(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(ENDPOINT_WARNING)
