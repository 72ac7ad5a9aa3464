"""Faults for chosen requests: errors of Discord, Cloudflare and the network."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from tests.discord.calls import Recorded
from tests.discord.rules import Json

Match = str | Callable[[str, str], bool]


@dataclass(slots=True)
class Fault:
    """*match* is a route's name or a function of method and path; *left* None: until `stop()`."""

    match: Match
    do: str
    left: int | None
    retry_after: float
    hits: int = 0

    def fits(self, request: Recorded) -> bool:
        if self.left == 0:
            return False
        if isinstance(self.match, str):
            return self.match == request.route
        return self.match(request.method, request.path)

    def hit(self) -> None:
        self.hits += 1
        if self.left is not None:
            self.left -= 1

    def stop(self) -> None:
        self.left = 0

    @property
    def taken(self) -> bool:
        """Whether the request takes effect although the bot gets no success response."""
        return self.do.startswith("accepted_then_")

    def answer(self) -> web.Response | None:
        """The response; None for a hanging or broken connection."""
        match self.do:
            case "500" | "accepted_then_500":
                return reply(500, {"message": "500: Internal Server Error", "code": 0})
            case "429":
                return self._limited()
            case "cloudflare":
                headers = {"Retry-After": str(int(self.retry_after) or 1), "Content-Type": "text/html; charset=UTF-8"}
                return web.Response(status=429, body=b"<html>error code: 1015</html>", headers=headers)
            case "hang" | "reset" | "accepted_then_lost":
                return None
            case code if code.startswith("code:"):
                _, status, number = code.split(":")
                return reply(int(status), {"message": "As the test wants it", "code": int(number)})
        raise ValueError(f"no such fault: {self.do}")

    def _limited(self) -> web.Response:
        headers = {
            "Via": "1.1 google",  # without it discord.py takes a 429 for Cloudflare's
            "Retry-After": str(int(self.retry_after) + 1),
            "X-RateLimit-Scope": "user",
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset-After": str(self.retry_after),
            "X-RateLimit-Bucket": "local",
        }
        body: Json = {"message": "You are being rate limited.", "retry_after": self.retry_after, "global": False}
        return reply(429, body, headers=headers)


def reply(status: int, body: object, *, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response without a charset in its content type: with one, discord.py would read it as text."""
    raw = json.dumps(body).encode()
    return web.Response(status=status, body=raw, headers={"Content-Type": "application/json", **(headers or {})})
