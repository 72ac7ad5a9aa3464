"""TCP listener of the web server, with a limit of connections and timeouts for slow clients."""

import asyncio
from typing import Any, Final

from aiohttp import web

MAX_CONNECTIONS = 512  # at once: a burst of interactions, in half of the 1,024 descriptors that a process usually has
KEEPALIVE_TIMEOUT = 150.0  # seconds for a request's head to arrive; longer than proxies keep an idle connection
LINGER_TIME = 1.0  # seconds for which an unwanted body is still read, so that its sender sees the answer
SHUTDOWN_TIMEOUT = 2.0  # seconds for unfinished answers at shutdown

# Security headers of every answer: no sniffing of its type, no scripts, no caching, no referrer.
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Connection(web.RequestHandler):
    """Adds the security headers to aiohttp's own error answers, such as those to malformed HTTP."""

    def handle_error(self, *args: Any, **kwargs: Any) -> web.StreamResponse:
        answer = super().handle_error(*args, **kwargs)
        answer.headers.update(HEADERS)
        return answer


class Listener:
    """Listens for connections. Above the limit, the oldest ones are closed: proper requests are finished soon."""

    def __init__(self, site: web.Application, *, max_connections: int = MAX_CONNECTIONS) -> None:
        # No decompression: the raw body is what is signed, and a compressed one may expand without limit.
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_TIMEOUT,
            "lingering_time": LINGER_TIME,
        }
        self._runner = web.AppRunner(site, shutdown_timeout=SHUTDOWN_TIMEOUT, **self._options)
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return the host and port. Raises `OSError` if the address cannot be used."""
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(self._accept, host, port)
        except OSError:
            await self._runner.cleanup()
            raise
        name, number, *_ = self._server.sockets[0].getsockname()
        return name, number

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def connections(self) -> list[web.RequestHandler]:
        """Return the open connections, oldest first."""
        connections = self._runner.server.connections if self._runner.server is not None else []
        return [each for each in connections if each.transport is not None]

    def _accept(self) -> asyncio.Protocol:
        connections = self.connections()
        for each in connections[: max(0, len(connections) + 1 - self._max_connections)]:
            each.force_close()
        assert self._runner.server is not None  # set up before the socket listens
        return _Connection(self._runner.server, loop=asyncio.get_running_loop(), **self._options)
