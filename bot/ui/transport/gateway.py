"""Connection to Discord's gateway: reconnects after recoverable errors, raises on fatal ones."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import discord
from discord.http import DiscordClientWebSocketResponse  # type: ignore[attr-defined]  # not exported
from discord.utils import MISSING

log = logging.getLogger(__name__)

MIN_RECONNECT_DELAY = 2.0  # seconds; doubled after each failure, up to MAX_RECONNECT_DELAY
MAX_RECONNECT_DELAY = 120.0
STABLE_AFTER = 300.0  # seconds; a connection that lasted longer resets the delay
FATAL_CODES = {
    4004: "Discord does not know this token: set DARKROOM_DISCORD__TOKEN to the one on the Developer Portal's Bot page",
    4014: "Discord refused an intent: turn on Message Content Intent on the Developer Portal's Bot page, or set "
    "DARKROOM_DISCORD__MESSAGE_CONTENT to false",
}


class _Socket(DiscordClientWebSocketResponse):
    """Keeps the code with which Discord has closed the connection.

    discord.py answers the close. On uvloop the transport may be closed by then, and aiohttp reports the code 1006 of a
    lost connection in its place, after which discord.py would reconnect with a wrong token or intent.
    """

    async def close(self, *, code: int = 4000, message: bytes = b"") -> bool:
        received = self.close_code
        closed = await super().close(code=code, message=message)
        if received is not None:
            self._close_code = received
        return closed


def keep_close_codes(client: discord.Client) -> None:
    """Let the connections of *client*, which has logged in, report why Discord closed them."""
    session = vars(client.http).get("_HTTPClient__session")  # discord.py has no setting for it
    if isinstance(session, aiohttp.ClientSession):  # the demo's Discord is in the same process
        session._ws_response_class = _Socket  # noqa: SLF001 - nor has aiohttp, once the session was made


class FatalGatewayError(Exception):
    """Discord rejects the bot's token or intents; the message is one line for the operator."""


class DiscordUnreachable(Exception):
    """Discord cannot be reached or answers with an error; the message is one line for the operator."""


async def sync_commands(client: discord.Client, token: str, *, sync: Callable[[], Awaitable[object]]) -> None:
    """Log in, call *sync* and close the client.

    Raises `FatalGatewayError` for a wrong token and `DiscordUnreachable` for other failures.
    """
    try:
        await client.login(token)
        await sync()
    except discord.LoginFailure as exc:
        raise FatalGatewayError(FATAL_CODES[4004]) from exc
    except discord.HTTPException as exc:
        raise DiscordUnreachable(f"Discord did not accept the commands (HTTP {exc.status}): try again later") from exc
    except (aiohttp.ClientError, OSError) as exc:
        why = f"Discord cannot be reached ({type(exc).__name__})"
        raise DiscordUnreachable(f"{why}: check the network and DARKROOM_DISCORD__API_BASE") from exc
    finally:
        await client.close()


async def stay_connected(client: discord.Client, token: str, *, closing: asyncio.Event) -> None:
    """Run *client*, reconnecting after errors, until *closing* is set and the client is closed.

    Raises `FatalGatewayError` for what reconnecting cannot fix. Other errors are logged: an event with a missing key
    is enough to end discord.py's client with an exception from its parser. The delay doubles after each failure,
    because Discord resets a bot's token after 1000 identifies in a day.
    """
    delay = MIN_RECONNECT_DELAY
    loop = asyncio.get_running_loop()
    while not closing.is_set():
        began = loop.time()
        async with client:  # `login` sets up only a client's first connection; the context manager each one
            connection = asyncio.create_task(client.start(token), name="discord client")
            await asyncio.wait({connection})
        error = connection.exception()
        if closing.is_set():
            return
        if error is not None:
            _raise_if_fatal(error)
        delay = MIN_RECONNECT_DELAY if loop.time() - began > STABLE_AFTER else min(MAX_RECONNECT_DELAY, delay * 2)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await closing.wait()
        client.clear()
        client.http.connector = MISSING  # `clear` keeps the closed one, and `login` creates one only for `MISSING`


async def stay_logged_in(
    client: discord.Client,
    token: str,
    *,
    closing: asyncio.Event,
    stay: Callable[[asyncio.Event], Awaitable[object]] = asyncio.Event.wait,
) -> None:
    """Log *client* in, so that it can send, without a connection to the gateway, until *closing* is set.

    *stay* runs while it is logged in, until *closing* is set. Raises `FatalGatewayError` for what another attempt
    cannot fix.
    """
    delay = MIN_RECONNECT_DELAY
    while not closing.is_set():
        try:
            async with client:
                await client.login(token)
                await stay(closing)
                return
        except (discord.DiscordException, aiohttp.ClientError, OSError) as exc:
            _raise_if_fatal(exc)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await closing.wait()
        delay = min(MAX_RECONNECT_DELAY, delay * 2)
        client.clear()
        client.http.connector = MISSING  # as above


def _raise_if_fatal(error: BaseException) -> None:
    """Raise `FatalGatewayError` for what only the operator can fix; log everything else."""
    if isinstance(error, discord.LoginFailure):
        raise FatalGatewayError(FATAL_CODES[4004]) from error
    if isinstance(error, discord.PrivilegedIntentsRequired):
        raise FatalGatewayError(FATAL_CODES[4014]) from error
    if isinstance(error, discord.ConnectionClosed) and error.code in FATAL_CODES:
        raise FatalGatewayError(FATAL_CODES[error.code]) from error
    if isinstance(error, discord.HTTPException | discord.GatewayNotFound | aiohttp.ClientError | OSError):
        log.warning("Discord cannot be reached: %s", error, extra={"event": "gateway_down"})
        return
    log.error("The Discord client failed and is restarted", exc_info=error, extra={"event": "gateway_broken"})
