"""Discord's rate limits: how many requests each route has left, and the pace of requests with the bot's token.

discord.py sends a route's last request of a window and then waits for the end of the window before it returns (5 s for
messages in a channel), and it does not limit requests across routes. So cards of unfinished jobs leave the last two
requests of a window to final cards, which leave the last one if they need not wait long for the next window.

The limits are the bot's, not a process's: docs/decisions/0020-shared-rate-limits.md says how processes share them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from bot.core.budgets import HeldSlots, Pace
from bot.store.budgets import Budgets
from bot.store.database import DATABASE_ERRORS
from bot.ui.transport.limiter import Limiter

log = logging.getLogger(__name__)

KEPT_FOR_FINAL = 2  # requests of a window that cards of unfinished jobs leave
SHORT_WAIT = 1.0  # seconds that a final card waits rather than use a window's last request
TOKEN_REQUESTS = 45  # a second: with slots that last so long, at most 49 are sent in any second; Discord allows 50
WAITING_TOKEN_REQUESTS = 30  # a second, of them for cards of unfinished jobs and other messages
SLOT = 0.08  # seconds
USUAL_LIMIT = 5  # requests in a window, until a response says otherwise
USUAL_WINDOW = 5.0  # seconds, likewise
TURN = 0.5  # seconds that a turn on a route lasts which other processes use as well
CONTENDED = 60.0  # seconds without requests of others after which a route is ours alone
UNKNOWN_WAIT = 0.25  # seconds until a response of a new window should be there
NEW_WINDOW = 0.5  # seconds by which a window's end moves at least when a new one has begun
MANY = 256  # routes, from which expired ones are removed
_admitted = ContextVar("admitted", default=0)  # requests of this task that have waited and are to be sent
MAJOR_SEGMENTS = {"webhooks": 3, "channels": 2}  # segments of a path whose ids have limits of their own


def route_of(method: str, path: str) -> str | None:
    """The route that has a limit of its own: without the ids of messages. None for routes that send no card."""
    segments = path.split("/")
    for resource, count in MAJOR_SEGMENTS.items():
        if resource in segments:
            rest = segments[segments.index(resource) :]
            own, kinds = rest[:count], rest[count::2]
            return " ".join([method, *own, *kinds])
    return None


@dataclass(slots=True)
class _Window:
    limit: int = USUAL_LIMIT
    left: int = 0
    ends_at: float = 0.0
    in_flight: int = 0
    length: float = USUAL_WINDOW
    contended_until: float = 0.0  # other processes have used up much of a window
    turns: HeldSlots | None = None
    taking: asyncio.Task[None] | None = None  # the next turn

    @property
    def pace(self) -> Pace:
        """Evenly spaced, one request fewer than the limit fits into a window wherever that begins."""
        return Pace((self.length + TURN) / max(1, self.limit - 1), late=TURN)


class RateLimits:
    def __init__(
        self,
        budgets: Budgets | None = None,
        *,
        rest_proxy: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*budgets*: those of all processes; otherwise the limits are this process's. *now* is their clock, in seconds.

        *rest_proxy*: requests go through a proxy that keeps the limits, so that none waits here for the token's.
        """
        self._budgets = budgets or Budgets(now=now)
        self._rest_proxy = rest_proxy
        self._now = now
        self._sleep = sleep
        self._windows: dict[str, _Window] = {}
        self._max_windows = MANY
        self._all = self._limiter("discord:token", TOKEN_REQUESTS)
        self._waiting = self._limiter("discord:token:waiting", WAITING_TOKEN_REQUESTS)

    def _limiter(self, name: str, per_second: int) -> Limiter:
        pace = Pace(1 / per_second, late=SLOT)
        return Limiter(self._budgets.budget(name, pace), pace, now=self._now, sleep=self._sleep)

    # --- routes

    def trace(self) -> aiohttp.TraceConfig:
        """For the session of requests: discord.py does not show the headers of responses."""
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._on_request)
        config.on_request_end.append(self._on_response)
        return config

    async def _on_response(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:  # fmt: skip
        route = route_of(params.method, params.url.path)
        if route is not None:
            self.note(route, params.response.headers, refused=params.response.status == 429)

    def note(self, route: str, headers: Mapping[str, str], *, refused: bool = False) -> None:
        """Take over what the headers of a response say about its route; *refused*: the request exceeded the limit."""
        try:
            left, seconds = int(headers["X-RateLimit-Remaining"]), float(headers["X-RateLimit-Reset-After"])
            limit = int(headers.get("X-RateLimit-Limit", USUAL_LIMIT))
        except (KeyError, ValueError):
            return
        window, ends_at = self._window(route), self._now() + seconds
        same = ends_at - window.ends_at < NEW_WINDOW and self._now() < window.ends_at
        by_others = left < (window.left if same else limit) - max(1, window.in_flight)
        if refused or (by_others and left <= KEPT_FOR_FINAL):
            window.contended_until = self._now() + CONTENDED
        window.left = min(left, window.left) if same else left
        window.length = max(window.length, seconds)
        window.limit, window.ends_at = limit, ends_at

    def delay(self, route: str, *, final: bool) -> float:
        """Seconds until the next request to *route* should be sent; *final*: the card of an ended job."""
        window = self._windows.get(route)
        if window is None:
            return 0.0
        left, wait = window.left, window.ends_at - self._now()
        is_new = wait <= 0
        if is_new:
            left, wait = window.limit, UNKNOWN_WAIT
        left -= window.in_flight
        enough = left > 1 or (left == 1 and wait > SHORT_WAIT) if final else left > KEPT_FOR_FINAL
        if is_new and self._takes_turns(route):  # the first response says what others have used
            enough = not window.in_flight
        return self._until_turn(route, window) if enough else wait

    def _until_turn(self, route: str, window: _Window) -> float:
        """Seconds until this process may use a route that others use as well: there each request has a turn."""
        now = self._now()
        if not self._takes_turns(route) or window.contended_until <= now:
            return 0.0
        if window.turns is not None and (turn := window.turns.next(now)) is not None:
            return max(0.0, turn.begins - now)
        if window.taking is None or window.taking.done():
            window.taking = asyncio.create_task(self._take_turn(route, window), name="turn")
        return UNKNOWN_WAIT

    def _takes_turns(self, route: str) -> bool:
        """Whether several processes may use *route*, without a proxy between them and Discord.

        The token of an interaction belongs to one reply, and that to one process.
        """
        return self._budgets.shared and not self._rest_proxy and " channels " in route

    async def _take_turn(self, route: str, window: _Window) -> None:
        pace = window.pace
        try:
            slots = await self._budgets.budget(f"discord:{route}", pace).take(1)
        except DATABASE_ERRORS:
            log.exception("A rate limit cannot be read", extra={"event": "budget_unreadable"})
            return
        window.turns = HeldSlots(pace)
        window.turns.add(slots)

    @contextmanager
    def sending(self, route: str) -> Iterator[None]:
        """Wrap a request, which counts as one that is left until its response is there."""
        window = self._window(route)
        if window.turns is not None and window.turns.next(self._now()) is not None:
            window.turns.use()
        window.in_flight += 1
        try:
            yield
        finally:
            window.in_flight -= 1

    def _window(self, route: str) -> _Window:
        window = self._windows.get(route)
        if window is None:
            if len(self._windows) >= self._max_windows:
                self._remove_expired()
            window = self._windows[route] = _Window()
        return window

    def _remove_expired(self) -> None:
        now = self._now()
        self._windows = {
            route: each
            for route, each in self._windows.items()
            if each.in_flight or now < max(each.ends_at, each.contended_until)
        }
        self._max_windows = max(MANY, 2 * len(self._windows))

    # --- the bot's token

    async def wait_for_token(self, *, final: bool) -> None:
        """Wait until a request with the bot's token may be sent. *final* ones go before all others."""
        if self._rest_proxy:
            return
        if not final:
            await self._waiting.acquire()
        await self._all.acquire(urgent=final)
        _admitted.set(_admitted.get() + 1)

    async def _on_request(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:  # fmt: skip
        """Count a request that has not waited, such as one of discord.py's own.

        Answers to interactions are sent without the bot's token, and do not count.
        """
        if self._rest_proxy or not params.headers.get("Authorization", "").startswith("Bot "):
            return
        if admitted := _admitted.get():
            _admitted.set(admitted - 1)
        else:
            self._all.count()
