"""The local Discord on a loopback port: REST, gateway and CDN, for a bot in this or another process."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.discord.calls import Call, Recorded, read
from tests.discord.cdn import Upload
from tests.discord.faults import Fault, Match, reply
from tests.discord.interactions import Interaction, send
from tests.discord.member import Member
from tests.discord.rate_limits import RateLimits
from tests.discord.routes import ROUTES, Route, handle
from tests.discord.world import Guild, World

API = "/api/v10"
CDN_FOLDERS = ("attachments", "ephemeral-attachments", "external")


class LocalDiscord(World):
    """The server. Use it as an async context manager; see `World` for what it can contain."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__(now)
        self.requests: list[Recorded] = []
        self.limits: RateLimits | None = None
        self._faults: list[Fault] = []
        self._ended = asyncio.Event()
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=256 * 1024 * 1024)
        for route in ROUTES:
            app.router.add_route(route.method, API + route.path, self._serve(route))
        for path in ("/gateway", "/gateway/"):
            app.router.add_get(path, self.gateway.serve)
        for folder in CDN_FOLDERS:
            app.router.add_get(f"/{folder}/{{channel}}/{{id}}/{{name}}", self._fetch)
        app.router.add_route("*", "/{tail:.*}", self._unknown)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        self._ended.set()
        await self.endpoint.close()
        await self.gateway.close(1001)
        await self._runner.cleanup()

    @property
    def api_base(self) -> str:
        return f"http://{self.cdn_host}{API}"

    @property
    def gateway_url(self) -> str:
        return f"ws://{self.cdn_host}/gateway"

    @property
    def cdn_host(self) -> str:
        return f"127.0.0.1:{self._port}"

    def add_member(
        self,
        name: str,
        guild: Guild | None = None,
        *,
        permissions: int = 0,
        installed: bool = False,
        locale: str = "en-US",
    ) -> Member:
        """Add a user, as a member of *guild* if given. *installed*: they have installed the application."""
        user = self.add_user(name)
        user.installed, user.locale = installed, locale
        member = Member(self, user)
        return member if guild is None else member.join(guild, permissions=permissions)

    def operator(self, guild: Guild | None = None) -> Member:
        """The application's owner, as a member who can act."""
        member = Member(self, self.application.owner)
        return member if guild is None else member.join(guild)

    async def until(self, check: Callable[[], bool], *, within: float) -> None:
        """Wait until *check* is true; it is called after every request, sync and connection."""
        await self.changes.until(lambda: check() or None, within=within, seen=lambda: self.requests[-5:])

    async def ready(self, *commands: str, within: float = 10.0) -> None:
        """Wait until a bot is connected, or its endpoint is saved, and these commands are synced."""

        def look() -> bool:
            known = {each["name"] for group in self.commands.values() for each in group}
            return bool(self.gateway.live or self.endpoint.urls) and known.issuperset(commands)

        await self.until(look, within=within)

    def fault(self, match: Match, *, do: str, times: int | None = 1, retry_after: float = 0.2) -> Fault:
        """Make the next *times* matching requests fail; None: until `stop()` of the returned fault.

        *match* is a name of `ROUTES` (or `cdn`), or a function of method and path. *do*: 500, 429, cloudflare,
        hang, reset, accepted_then_lost, accepted_then_500, code:<status>:<JSON code>.
        """
        fault = Fault(match, do, times, retry_after)
        if not fault.taken and do != "hang":
            fault.answer()  # raises here for a misspelt name
        self._faults.append(fault)
        return fault

    async def down(self) -> None:
        """Refuse connections and abort existing ones."""
        assert self._runner is not None
        assert self._runner.server is not None
        if self._site is not None:
            await self._site.stop()
            self._site = None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def up(self) -> None:
        """Listen (again), always on the same port."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = int(self._runner.addresses[0][1])
        self.cdn.host = self.cdn_host
        self.gateway.url = self.gateway_url

    async def close_gateway(self, code: int) -> None:
        await self.gateway.close(code)

    def reconnect(self) -> None:
        """Ask every bot to reconnect and resume (opcode 7)."""
        self.gateway.control(7)

    def invalid_session(self, *, resumable: bool) -> None:
        """Send opcode 9. discord.py sleeps five seconds before it identifies again."""
        if not resumable:
            self.gateway.forget()
        self.gateway.control(9, resumable)

    def send_again(self, interaction: Interaction) -> None:
        """Send the same interaction once more, as Discord sometimes does."""
        send(interaction)

    def _serve(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body, files, size = await read(request)
            record = self._record(route.name, request, body=body, files=files)
            call = Call(
                params=request.match_info,
                query=request.query,
                json=body,
                files=files,
                size=size,
                authorization=request.headers.get("Authorization", ""),
                what=f"{route.method} {record.path}",
            )
            limits = self.limits
            if limits is None:
                return await self._conclude(request, record, lambda: handle(self, route, call=call))
            refusal = limits.refusal(route.name, call.params, token=route.token)
            if refusal is not None:
                self.violations.append(f"rate limit exceeded: {call.what}")
            answer = await self._conclude(request, record, lambda: refusal or handle(self, route, call=call))
            answer.headers.update(limits.headers(route.name, call.params))
            return answer

        return serve

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        def handle() -> web.StreamResponse:
            file = self.cdn.fetch(request.path, request.query)
            if file is None:
                return web.Response(status=404, text="This content is no longer available.")
            return web.Response(body=file.data, content_type=file.content_type)

        return await self._conclude(request, self._record("cdn", request), handle)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        record = self._record("unknown", request)
        self.violations.append(f"no such route: {request.method} {record.path}")
        record.status = 404
        return reply(404, {"message": "404: Not Found", "code": 0})

    def _record(
        self, name: str, request: web.Request, *, body: object = None, files: Sequence[Upload] = ()
    ) -> Recorded:
        path = request.path.removeprefix(API)
        record = Recorded(name, request.method, path, body, files, self.now(), request.query)
        self.requests.append(record)
        self.changes.notify()
        return record

    async def _conclude(
        self, request: web.Request, record: Recorded, handle: Callable[[], web.StreamResponse]
    ) -> web.StreamResponse:
        fault = next((each for each in self._faults if each.fits(record)), None)
        answer: web.StreamResponse | None
        if fault is None:
            answer = handle()
        else:
            fault.hit()
            if fault.taken:
                handle()
            answer = await self._fail(request, fault)
        record.status = answer.status if answer is not None else None
        self.changes.notify()
        return answer or web.Response()

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        if fault.do == "hang":
            await self._ended.wait()
        answer = fault.answer()
        if answer is None and request.transport is not None:
            with contextlib.suppress(OSError):
                request.transport.abort()
        return answer
