"""Says what each of Discord's refusals means for a reply: another path, smaller files, patience, or the end."""

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
THREAD_LOCKED = 160005
NO_DIRECT_MESSAGES = 50007
NO_COMMON_SERVER = 50278

CLOSED = frozenset(
    {UNKNOWN_CHANNEL, MISSING_ACCESS, MISSING_PERMISSION, TOKEN_INVALID, UNKNOWN_WEBHOOK, THREAD_ARCHIVED,
     THREAD_LOCKED, NO_DIRECT_MESSAGES, NO_COMMON_SERVER}
)  # fmt: skip
FOR_GOOD = frozenset({UNKNOWN_CHANNEL, TOKEN_INVALID, UNKNOWN_WEBHOOK})
BLOCKED = frozenset({200000, 240000, 20009, 400001})  # AutoMod, harmful links, explicit content, no uploads here
LARGE = frozenset({40005, 50045})
LIVE_TOKEN_TRIES = 3  # Discord sometimes does not know a token that lives
LIVE_TOKEN_WAIT = 10.0
LONGEST_WAIT = 86_400.0  # seconds
CLOUDFLARE_PAUSE = 600.0  # seconds, where it does not say how long

DISCORD_ERRORS = (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError)


def judged(exc: Exception, *, path: ReplyPath, reply: Reply, now: int, files: bool) -> Exception:
    """The error class of `bot.delivery` that *exc* comes to."""
    text = f"{type(exc).__name__}: {exc}"
    match exc:
        case discord.RateLimited():
            return DeliverLater(text, retry_after=exc.retry_after)
        case discord.HTTPException():
            return _refused(exc, text, path=path, reply=reply, now=now, files=files)
        case aiohttp.ClientError() | OSError() | RuntimeError():  # RuntimeError: the session is closed
            return DeliverLater(text)
    return DeliverLater(text, retry_after=60.0)


def _refused(
    exc: discord.HTTPException, text: str, *, path: ReplyPath, reply: Reply, now: int, files: bool
) -> Exception:  # fmt: skip
    code, status = exc.code, exc.status
    if status == 429 or code == OLD_MESSAGE_LIMIT:
        return DeliverLater(text, retry_after=retry_after(exc))
    if status >= 500 or (status == 401 and code != TOKEN_INVALID and path is not ReplyPath.TOKEN):
        return DeliverLater(text)
    if code in LARGE or status == 413:
        return TooLarge(text)
    if code in BLOCKED:
        return ContentBlocked(text)
    if code == UNKNOWN_MESSAGE:
        return MessageGone(text)
    if code == UNKNOWN_WEBHOOK and reply.token_lives(now) and reply.attempts < LIVE_TOKEN_TRIES:
        return DeliverLater(text, retry_after=LIVE_TOKEN_WAIT)
    if code == MISSING_PERMISSION and files:  # it may be the one to attach files
        return ContentBlocked(text)
    if code in CLOSED or status in (401, 403):
        outside = code == UNKNOWN_CHANNEL or (code == MISSING_ACCESS and path is not ReplyPath.TOKEN)
        return PathClosed(text, for_good=code in FOR_GOOD or status == 401, channel=outside)
    log.error("Discord does not take a card: %s", text, extra={"event": "card_refused", "job_id": reply.job_id})
    return ContentBlocked(text) if files else PathClosed(text)


def retry_after(exc: discord.HTTPException) -> float | None:
    """Seconds that Discord, or whoever answers for it, asks us to wait; a day at most."""
    try:
        asked = float(exc.response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return min(asked, LONGEST_WAIT) if asked >= 0 else None  # not a number is neither


def is_cloudflare(exc: Exception) -> bool:
    """Whether the whole address is shut out for a while, rather than one route."""
    if not isinstance(exc, discord.HTTPException) or exc.status != 429:
        return False
    return exc.code == 0 and not exc.response.headers.get("Via")
