"""The bot's own web server: health, metrics, pictures too large for Discord, and where a host calls us back."""

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bot.core.cards import Picture
from bot.core.references import is_loopback
from bot.jobs.build import Services
from bot.store.database import DATABASE_ERRORS
from bot.web.cached import Cached
from bot.web.callbacks import Callbacks
from bot.web.listener import HEADERS

log = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds for the database
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")

Health = Callable[[], Awaitable[Mapping[str, object]]]  # `ok` among its keys decides the status
Unready = Callable[[], Awaitable[str | None]]  # why it is not ready
Metrics = Callable[[], Awaitable[bytes]]


class PictureLinks:
    """Addresses of kept pictures that nobody can guess: each is signed with a secret of this installation."""

    def __init__(self, public_url: str, *, secret: bytes) -> None:
        self.public_url = public_url.rstrip("/")
        self._secret = secret

    def __call__(self, job_id: str, picture: Picture) -> str | None:
        """Where people can get *picture*; None when the operator serves none."""
        if not self.public_url:
            return None
        return f"{self.public_url}/pictures/{job_id}/{picture.n}/{self.key(job_id, picture.n)}"

    def key(self, job_id: str, n: int) -> str:
        return hmac.new(self._secret, f"{job_id}:{n}".encode(), sha256).hexdigest()[:32]


def build(
    services: Services,
    *,
    health: Health,
    unready: Unready,
    metrics: Metrics,
    links: PictureLinks,
    data: Path,
    callbacks: Callbacks | None = None,
    metrics_token: str = "",
) -> web.Application:
    """*metrics_token*: what opens /metrics; where it is empty, only this machine may read them, through no proxy."""
    report_health = Cached(health, clock=services.clock)
    find_reason = Cached(unready, clock=services.clock)
    write_page = Cached(metrics, clock=services.clock)

    async def healthz(_: web.Request) -> web.Response:
        report = await report_health()
        return web.Response(
            status=200 if report["ok"] else 503, text=json.dumps(report), content_type="application/json"
        )

    async def readyz(_: web.Request) -> web.Response:
        reason = await find_reason()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ready'}\n")

    async def scraped(request: web.Request) -> web.Response:
        if (refusal := _refused(request, metrics_token, proxied=bool(links.public_url))) is not None:
            return refusal
        return web.Response(body=await write_page(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def picture(request: web.Request) -> web.StreamResponse:
        job_id, n, key = request.match_info["job"], int(request.match_info["n"]), request.match_info["key"]
        if not hmac.compare_digest(links.key(job_id, n).encode(), key.encode()):
            raise web.HTTPNotFound
        try:
            async with asyncio.timeout(TIMEOUT):
                record = await services.store.job_record(job_id)
        except DATABASE_ERRORS as exc:  # running out of time is one of them
            log.warning("A picture was asked for while the database did not answer", extra={"event": "store_trouble"})
            raise web.HTTPServiceUnavailable from exc
        held = [each for each in record.pictures if each.n == n] if record else []
        if not held:
            raise web.HTTPNotFound
        named = {"Content-Disposition": f'inline; filename="{held[0].file}"', "Cache-Control": "private, no-cache"}
        return web.FileResponse(data / held[0].file, headers={"Content-Type": f"image/{held[0].type}", **named})

    app = web.Application(client_max_size=64 * 1024, middlewares=[_named(services)])
    app.on_response_prepare.append(_with_headers)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scraped)
    app.router.add_get(r"/pictures/{job:\w{26}}/{n:\d}/{key:[0-9a-f]{32}}", picture)
    if callbacks is not None:
        app.router.add_post("/callbacks/runflow/{token}", callbacks.receive)
    return app


async def _with_headers(_: web.Request, answer: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)


def _refused(request: web.Request, token: str, *, proxied: bool) -> web.Response | None:
    """The answer to a request for /metrics that may not have them.

    *proxied*: something here passes on requests of others, and nothing in a request need tell of that.
    """
    if token:
        header = {"WWW-Authenticate": "Bearer"}
        return None if _has_token(request, token) else web.Response(status=401, headers=header, text="401: no token\n")
    if not proxied and _is_from_here(request):
        return None
    elsewhere = "403: set web.metrics_token; without it only this machine is answered, while web.public_url is empty\n"
    return web.Response(status=403, text=elsewhere)


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return same and scheme.lower() == "bearer"


def _is_from_here(request: web.Request) -> bool:
    """Whether it comes from this machine, and by no proxy that stands here for others."""
    passed_on = any(name in request.headers for name in FORWARDED)
    asked_for = re.sub(r":[0-9]*$", "", request.headers.get("Host", "")).lower()
    return not passed_on and is_loopback((request.remote or "").removeprefix("::ffff:")) and is_loopback(asked_for)


def _named(services: Services) -> Middleware:
    """Says which outage keeps a request from its answer; any other error is a defect, which aiohttp logs."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as exc:  # one request's trouble
            if (outage := services.outages.seen(exc)) is None:
                raise
            return web.Response(status=503, text=f"{outage}\n")

    return answer
