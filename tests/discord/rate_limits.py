"""Discord's rate limits, off unless a test sets them: of an interaction, of a channel, and of the bot's token."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from tests.discord.faults import reply

MAJOR = ("token", "channel")  # parameters of a path that have limits of their own
REQUESTS = 5  # of each route in a window
TOKEN_REQUESTS = 50  # with the bot's token, in a second
# Seconds, as developers have measured them; Discord says that only the headers of responses count.
WINDOWS: Mapping[str, float] = {"edit_by_token": 2.0, "follow_up": 2.0, "edit_message": 5.0, "create_message": 5.0}


@dataclass(slots=True)
class _Window:
    ends_at: float = 0.0
    used: int = 0

    def use(self, seconds: float) -> None:
        now = time.monotonic()
        if now >= self.ends_at:
            self.ends_at, self.used = now + seconds, 0
        self.used += 1


class RateLimits:
    """*seconds*: the window of each route that has a limit, by its name."""

    def __init__(self, seconds: Mapping[str, float] = WINDOWS) -> None:
        self._seconds = seconds
        self._windows: dict[tuple[str, str], _Window] = {}
        self._token = _Window()

    def refusal(self, name: str, params: Mapping[str, str], *, token: bool) -> web.Response | None:
        """Count a request; the response where it exceeds a limit."""
        if token:
            self._token.use(1.0)
            if self._token.used > TOKEN_REQUESTS:
                return _limited(self._token, {}, everywhere=True)
        if name not in self._seconds:
            return None
        window = self._window(name, params)
        window.use(self._seconds[name])
        return _limited(window, self.headers(name, params)) if window.used > REQUESTS else None

    def headers(self, name: str, params: Mapping[str, str]) -> dict[str, str]:
        """The headers of a response, refused or not."""
        if name not in self._seconds:
            return {}
        window = self._window(name, params)
        return {
            "X-RateLimit-Limit": str(REQUESTS),
            "X-RateLimit-Remaining": str(max(0, REQUESTS - window.used)),
            "X-RateLimit-Reset-After": f"{max(0.0, window.ends_at - time.monotonic()):.3f}",
            "X-RateLimit-Bucket": name,
        }

    def _window(self, name: str, params: Mapping[str, str]) -> _Window:
        major = next((params[each] for each in MAJOR if each in params), "")
        return self._windows.setdefault((name, major), _Window())


def _limited(window: _Window, headers: Mapping[str, str], *, everywhere: bool = False) -> web.Response:
    seconds = max(0.001, window.ends_at - time.monotonic())
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": everywhere}
    more = {"Via": "1.1 google", "Retry-After": str(int(seconds) + 1)}  # without `Via` it would be Cloudflare's
    return reply(429, body, headers={**headers, **more, **({"X-RateLimit-Global": "true"} if everywhere else {})})
