"""Discord's error codes, and the delivery error that each stands for.

Codes: docs, "Opcodes and Status Codes", JSON error codes.
"""

import logging

import aiohttp
import discord

from bot.core.cards import Reply, ReplyPath
from bot.core.errors import ContentBlocked, DeliverLater, MessageGone, PathClosed, TooLarge

log = logging.getLogger(__name__)

UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008
UNKNOWN_WEBHOOK = 10015
UNKNOWN_INTERACTION = 10062
ALREADY_ACKNOWLEDGED = 40060
TOKEN_INVALID = 50027
OLD_MESSAGE_LIMIT = 30046
MISSING_ACCESS = 50001
MISSING_PERMISSION = 50013
THREAD_ARCHIVED = 50083
THREAD_EXISTS = 160004
THREAD_LOCKED = 160005
NO_DIRECT_MESSAGES = 50007
NO_COMMON_SERVER = 50278

PATH_CLOSED_CODES = frozenset(
    {UNKNOWN_CHANNEL, MISSING_ACCESS, MISSING_PERMISSION, TOKEN_INVALID, UNKNOWN_WEBHOOK, THREAD_ARCHIVED,
     THREAD_LOCKED, NO_DIRECT_MESSAGES, NO_COMMON_SERVER}
)  # fmt: skip
PERMANENT_CODES = frozenset({UNKNOWN_CHANNEL, TOKEN_INVALID, UNKNOWN_WEBHOOK})
# AutoMod, harmful links, explicit content, no uploads here
CONTENT_BLOCKED_CODES = frozenset({200000, 240000, 20009, 400001})
TOO_LARGE_CODES = frozenset({40005, 50045})
MAX_LIVE_TOKEN_ATTEMPTS = 3  # Discord sometimes reports a valid token as unknown
LIVE_TOKEN_RETRY_DELAY = 10.0  # seconds
MAX_RETRY_AFTER = 86_400.0  # seconds
ADDRESS_BLOCK_TIMEOUT = 600.0  # seconds, if Cloudflare does not say how long

DISCORD_ERRORS = (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError)


def classify_error(exc: Exception, *, path: ReplyPath, reply: Reply, now: int, files: bool) -> Exception:
    """Return the delivery error (`bot.core.errors`) that *exc* stands for.

    *path* is how the reply was sent, *now* is in UTC milliseconds, *files*: pictures were attached.
    """
    text = f"{type(exc).__name__}: {exc}"
    match exc:
        case discord.RateLimited():
            return DeliverLater(text, retry_after=exc.retry_after)
        case discord.HTTPException():
            return _classify_response(exc, text, path=path, reply=reply, now=now, files=files)
        case aiohttp.ClientError() | OSError() | RuntimeError():  # RuntimeError: the session is closed
            return DeliverLater(text)
    return DeliverLater(text, retry_after=60.0)


def _classify_response(
    exc: discord.HTTPException, text: str, *, path: ReplyPath, reply: Reply, now: int, files: bool
) -> Exception:  # fmt: skip
    code, status = exc.code, exc.status
    if status == 429 or code == OLD_MESSAGE_LIMIT:
        return DeliverLater(text, retry_after=retry_after(exc))
    if status >= 500 or (status == 401 and code != TOKEN_INVALID and path is not ReplyPath.TOKEN):
        return DeliverLater(text)
    if code in TOO_LARGE_CODES or status == 413:
        return TooLarge(text)
    if code in CONTENT_BLOCKED_CODES:
        return ContentBlocked(text)
    if code == UNKNOWN_MESSAGE:
        return MessageGone(text)
    if code == UNKNOWN_WEBHOOK and reply.token_lives(now) and reply.attempts < MAX_LIVE_TOKEN_ATTEMPTS:
        return DeliverLater(text, retry_after=LIVE_TOKEN_RETRY_DELAY)
    if code == MISSING_PERMISSION and files:  # perhaps only the permission to attach files is missing
        return ContentBlocked(text)
    if code in PATH_CLOSED_CODES or status in (401, 403):
        outside = code == UNKNOWN_CHANNEL or (code == MISSING_ACCESS and path is not ReplyPath.TOKEN)
        return PathClosed(text, permanent=code in PERMANENT_CODES or status == 401, channel=outside)
    log.error("Discord rejected a card: %s", text, extra={"event": "card_refused", "job_id": reply.job_id})
    return ContentBlocked(text) if files else PathClosed(text)


def retry_after(exc: discord.HTTPException) -> float | None:
    """The `Retry-After` header in seconds, at most `MAX_RETRY_AFTER`; None if absent or invalid."""
    try:
        seconds = float(exc.response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return min(seconds, MAX_RETRY_AFTER) if seconds >= 0 else None  # false for NaN too


def is_address_blocked(exc: Exception) -> bool:
    """Whether Cloudflare blocks all requests from our IP address, as opposed to Discord limiting one route.

    Cloudflare's responses have no JSON error code and no `Via` header.
    """
    if not isinstance(exc, discord.HTTPException) or exc.status != 429:
        return False
    return exc.code == 0 and not exc.response.headers.get("Via")
