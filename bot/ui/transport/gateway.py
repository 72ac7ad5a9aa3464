"""Keeps the bot connected to Discord: a broken connection is made anew while jobs go on, a hopeless one ends it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import discord
from discord.utils import MISSING

log = logging.getLogger(__name__)

FIRST_WAIT = 2.0  # seconds before a broken client is started again; doubled up to LONGEST_WAIT
LONGEST_WAIT = 120.0
STEADY = 300.0  # a client that lived that long starts again with the first wait
FATAL_CODES = {
    4004: "Discord does not know this token: set DARKROOM_DISCORD__TOKEN to the one on the Developer Portal's Bot page",
    4014: "Discord refused an intent: Darkroom asks only for guilds, so check the application in the Developer Portal",
}


class FatalGatewayError(Exception):
    """Discord will not have this bot as it is configured; the text is one line for the operator."""


class DiscordUnreachable(Exception):
    """Discord did not do what was asked of it now; the text is one line for the operator."""


async def sync_commands(client: discord.Client, token: str, *, sync: Callable[[], Awaitable[object]]) -> None:
    """Log in, have the commands sent to Discord by *sync*, and leave; `FatalGatewayError`, or `DiscordUnreachable`."""
    try:
        await client.login(token)
        await sync()
    except discord.LoginFailure as exc:
        raise FatalGatewayError(FATAL_CODES[4004]) from exc
    except discord.HTTPException as exc:
        raise DiscordUnreachable(
            f"Discord did not take the commands (HTTP {exc.status}): try again in a while"
        ) from exc
    except (aiohttp.ClientError, OSError) as exc:
        why = f"Discord cannot be reached ({type(exc).__name__})"
        raise DiscordUnreachable(f"{why}: check the network and DARKROOM_DISCORD__API_BASE") from exc
    finally:
        await client.close()


async def stay_connected(client: discord.Client, token: str, *, closing: asyncio.Event) -> None:
    """Run *client* until *closing* is set and it is closed; `FatalGatewayError` where retrying would do harm.

    An event with one missing key ends discord.py's client with the parser's exception, so whatever ends it
    is logged and it is started again, slower each time: a thousand identifies a day reset the token.
    """
    wait = FIRST_WAIT
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
            _judge(error)
        wait = FIRST_WAIT if loop.time() - began > STEADY else min(LONGEST_WAIT, wait * 2)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await closing.wait()
        client.clear()
        client.http.connector = MISSING  # `clear` keeps the closed one, and `login` creates one only for `MISSING`


def _judge(error: BaseException) -> None:
    """Raise `FatalGatewayError` for what only the operator can mend, log everything else."""
    if isinstance(error, discord.LoginFailure):
        raise FatalGatewayError(FATAL_CODES[4004]) from error
    if isinstance(error, discord.PrivilegedIntentsRequired):
        raise FatalGatewayError(FATAL_CODES[4014]) from error
    if isinstance(error, discord.ConnectionClosed) and error.code in FATAL_CODES:
        raise FatalGatewayError(FATAL_CODES[error.code]) from error
    if isinstance(error, discord.HTTPException | aiohttp.ClientError | OSError):
        log.warning("Discord cannot be reached: %s", error, extra={"event": "gateway_down"})
        return
    log.error("The Discord client broke and is started again", exc_info=error, extra={"event": "gateway_broken"})
