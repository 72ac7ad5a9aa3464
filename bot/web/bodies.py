"""Reads the raw bodies of requests, with limits of size and time."""

import asyncio

from aiohttp import web


class BadBody(Exception):
    """A body that was not read; *problem*: `too_large`, `slow` or `broken`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


async def read_body(request: web.Request, *, limit: int, seconds: float) -> bytes:
    """Return a body of at most *limit* bytes that arrives within *seconds*. Raises `BadBody` for any other."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while len(body) <= limit and (request.content_length or 0) <= limit:
                if not (chunk := await request.content.readany()):
                    return bytes(body)
                body += chunk
    except TimeoutError as exc:
        raise BadBody("slow") from exc
    except (OSError, web.RequestPayloadError, RuntimeError) as exc:
        raise BadBody("broken") from exc  # connection lost; malformed body; connection lost before reading
    raise BadBody("too_large")
