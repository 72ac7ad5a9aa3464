"""Listens for the bot's web server, and keeps whoever is slow, silent or many from holding it up."""

import asyncio
from typing import Any, Final

from aiohttp import web

CONNECTIONS = 256  # at once: far more than are needed, far fewer than would use up the process's descriptors
IDLE = 150.0  # seconds for a request's head to come; longer than proxies keep a connection without use
LINGER = 1.0  # seconds that a body which nobody wants is taken in, for its sender to see the answer
LEAVE = 2.0  # seconds for answers under way when the program ends

# What every answer says of itself: it is what its type says, runs nothing, is kept by nobody and tells of no address.
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Connection(web.RequestHandler):
    """Answers what is no HTTP, or met a defect, with the same headers as everything else."""

    def handle_error(self, *args: Any, **kwargs: Any) -> web.StreamResponse:
        answer = super().handle_error(*args, **kwargs)
        answer.headers.update(HEADERS)
        return answer


class Listener:
    """When there are too many connections, the oldest gives way: good requests are over soon, the others are not."""

    def __init__(self, site: web.Application, *, most: int = CONNECTIONS) -> None:
        # What is signed is the body as it came; and what is packed may be far larger than it looks.
        self._ways: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": IDLE,
            "lingering_time": LINGER,
        }
        self._runner = web.AppRunner(site, shutdown_timeout=LEAVE, **self._ways)
        self._most = most
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """The address it has from now on; `OSError` where it cannot be used."""
        await self._runner.setup()
        try:
            self._listening = await asyncio.get_running_loop().create_server(self._admit, host, port)
        except OSError:
            await self._runner.cleanup()
            raise
        name, number, *_ = self._listening.sockets[0].getsockname()
        return name, number

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def connections(self) -> list[web.RequestHandler]:
        """Those that are open, the oldest first."""
        held = self._runner.server.connections if self._runner.server is not None else []
        return [each for each in held if each.transport is not None]

    def _admit(self) -> asyncio.Protocol:
        held = self.connections()
        for each in held[: max(0, len(held) + 1 - self._most)]:
            each.force_close()
        assert self._runner.server is not None  # set up before anybody can connect
        return _Connection(self._runner.server, loop=asyncio.get_running_loop(), **self._ways)
