"""A small REST proxy in front of Discord, as big bots run one: it keeps the limits, and its clients need not.

It forwards requests so that Discord's global limit holds, one at a time on each route, and waits where a route's
window has no request left.
"""

import asyncio
from collections import defaultdict
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from bot.ui.transport.rate_limits import route_of

GAP = 1 / 48  # seconds between two requests with the bot's token
HOP = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}  # headers of one connection


class RestProxy:
    """The server, on a loopback port. Use it as an async context manager."""

    def __init__(self, upstream: str) -> None:
        """*upstream*: the base of Discord's API, like http://127.0.0.1:9/api/v10."""
        self._upstream, _, self._path = upstream.partition("/api/")
        self._routes: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._open_at: dict[str, float] = {}
        self._next_at = 0.0
        self.forwarded = 0
        self._port = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/{self._path}"

    async def _forward(self, request: web.Request) -> web.Response:
        self.forwarded += 1
        route = route_of(request.method, request.path)
        if route is None:
            return await self._ask(request)
        async with self._routes[route]:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, self._open_at.get(route, 0.0) - now))
            answer = await self._ask(request)
            if answer.headers.get("X-RateLimit-Remaining") == "0":
                wait = float(answer.headers["X-RateLimit-Reset-After"])
                self._open_at[route] = asyncio.get_running_loop().time() + wait
        for name in [each for each in answer.headers if each.lower().startswith("x-ratelimit")]:
            del answer.headers[name]
        return answer

    async def _ask(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            now = asyncio.get_running_loop().time()
            at = self._next_at = max(now, self._next_at + GAP)
            await asyncio.sleep(at - now)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        url = self._upstream + request.raw_path
        async with self._session.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)
