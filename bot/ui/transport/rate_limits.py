"""Discord's rate limits: how many requests each route has left, and the pace of requests with the bot's token.

discord.py sends a route's last request of a window and then waits for the end of the window before it returns (5 s for
messages in a channel), and it does not limit requests across routes. So cards of unfinished jobs leave the last two
requests of a window to final cards, which leave the last one if they need not wait long for the next window.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

KEPT_FOR_FINAL = 2  # requests of a window that cards of unfinished jobs leave
SHORT_WAIT = 1.0  # seconds that a final card waits rather than use a window's last request
# A second; Discord's limit for a bot is 50, of which the rest is for rare requests, such as those at the login.
TOKEN_REQUESTS = 45
WAITING_TOKEN_REQUESTS = 30  # a second, of them for cards of unfinished jobs and other messages
USUAL_LIMIT = 5  # requests in a window, until a response says otherwise
UNKNOWN_WAIT = 0.25  # seconds until a response of a new window should be there
NEW_WINDOW = 0.5  # seconds by which a window's end moves at least when a new one has begun
MANY = 256  # routes, from which expired ones are removed
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


class RateLimits:
    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*now* is in seconds."""
        self._now = now
        self._sleep = sleep
        self._windows: dict[str, _Window] = {}
        self._max_windows = MANY
        self._all, self._waiting = _Spacing(TOKEN_REQUESTS), _Spacing(WAITING_TOKEN_REQUESTS)

    # --- routes

    def trace(self) -> aiohttp.TraceConfig:
        """For the session of requests: discord.py does not show the headers of responses."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._on_response)
        return config

    async def _on_response(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:  # fmt: skip
        route = route_of(params.method, params.url.path)
        if route is not None:
            self.note(route, params.response.headers)

    def note(self, route: str, headers: Mapping[str, str]) -> None:
        """Take over what the headers of a response say about its route."""
        try:
            left, seconds = int(headers["X-RateLimit-Remaining"]), float(headers["X-RateLimit-Reset-After"])
            limit = int(headers.get("X-RateLimit-Limit", USUAL_LIMIT))
        except (KeyError, ValueError):
            return
        window, ends_at = self._window(route), self._now() + seconds
        same = ends_at - window.ends_at < NEW_WINDOW and self._now() < window.ends_at
        window.left = min(left, window.left) if same else left
        window.limit, window.ends_at = limit, ends_at

    def delay(self, route: str, *, final: bool) -> float:
        """Seconds until the next request to *route* should be sent; *final*: the card of an ended job."""
        window = self._windows.get(route)
        if window is None:
            return 0.0
        left, wait = window.left, window.ends_at - self._now()
        if wait <= 0:
            left, wait = window.limit, UNKNOWN_WAIT
        left -= window.in_flight
        if not final:
            return 0.0 if left > KEPT_FOR_FINAL else wait
        return 0.0 if left > 1 or (left == 1 and wait > SHORT_WAIT) else wait

    @contextmanager
    def sending(self, route: str) -> Iterator[None]:
        """Wrap a request, which counts as one that is left until its response is there."""
        window = self._window(route)
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
            route: each for route, each in self._windows.items() if each.ends_at > now or each.in_flight
        }  # fmt: skip
        self._max_windows = max(MANY, 2 * len(self._windows))

    # --- the bot's token

    async def wait_for_token(self, *, final: bool) -> None:
        """Wait until a request with the bot's token may be sent. *final* ones go before all others."""
        if not final:
            await self._wait_until(self._waiting.reserve(self._now()))
            while (busy := self._all.next_at - self._now()) > 0:
                await self._sleep(busy)
        await self._wait_until(self._all.reserve(self._now()))

    async def _wait_until(self, at: float) -> None:
        if (seconds := at - self._now()) > 0:
            await self._sleep(seconds)


class _Spacing:
    """Spaces requests evenly."""

    def __init__(self, per_second: int) -> None:
        self._gap = 1 / per_second
        self.next_at = 0.0

    def reserve(self, now: float) -> float:
        """When the next request may be sent; it is reserved."""
        at = max(now, self.next_at)
        self.next_at = at + self._gap
        return at
