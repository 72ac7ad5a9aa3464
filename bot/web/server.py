"""The web server's routes: health, metrics, pictures too large for Discord, and callbacks of providers."""

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bot.core.cards import Picture
from bot.core.clock import Clock
from bot.core.references import CONVERTED_FILE, is_loopback
from bot.files.storage import PictureStorage
from bot.jobs import converted_references
from bot.jobs.build import Services
from bot.store.database import DATABASE_ERRORS
from bot.web.cached import Cached
from bot.web.callbacks import Callbacks
from bot.web.listener import HEADERS
from bot.web.pictures import send

log = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds for the database
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")

Health = Callable[[], Awaitable[Mapping[str, object]]]  # the value of `ok` decides the HTTP status
Unready = Callable[[], Awaitable[str | None]]  # the reason, None if ready
Metrics = Callable[[], Awaitable[bytes]]


class PictureLinks:
    """URLs of stored pictures, each with an HMAC as an unguessable key.

    Those of results are valid while the picture is stored; those of converted references expire. `ex` in them is the
    time, as in Discord's own links: seconds since 1970, in hexadecimal.
    """

    def __init__(self, public_url: str, *, secret: bytes) -> None:
        self.public_url = public_url.rstrip("/")
        self._secret = secret

    def __call__(self, job_id: str, picture: Picture) -> str | None:
        """Return the URL of *picture*, None if the operator has not set `web.public_url`."""
        if not self.public_url:
            return None
        return f"{self.public_url}/pictures/{job_id}/{picture.n}/{self.key(job_id, picture.n)}"

    def key(self, job_id: str, n: int) -> str:
        return self._key(f"{job_id}:{n}")

    def of_reference(self, file: str, expires_at: int) -> str:
        """Return the URL of the converted reference *file* until *expires_at* (UTC milliseconds)."""
        ex = f"{expires_at // 1000:x}"
        return f"{self.public_url}/pictures/{file}?ex={ex}&key={self._key(f'reference:{file}:{ex}')}"

    def admits_to_reference(self, file: str, query: Mapping[str, str], *, now: int) -> bool:
        """Whether *query* is that of a URL of *file* that has not expired."""
        ex, key = query.get("ex", ""), query.get("key", "")
        if not hmac.compare_digest(self._key(f"reference:{file}:{ex}").encode(), key.encode(errors="replace")):
            return False
        return now < int(ex, 16) * 1000

    def _key(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(errors="replace"), sha256).hexdigest()[:32]


def build(
    services: Services,
    *,
    health: Health,
    unready: Unready,
    metrics: Metrics,
    links: PictureLinks,
    storage: PictureStorage,
    callbacks: Callbacks | None = None,
    metrics_token: str = "",
) -> web.Application:
    """*metrics_token*: bearer token for /metrics; if empty, only loopback clients without a proxy may read it."""
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

    async def metrics_page(request: web.Request) -> web.Response:
        if (refusal := _reject_metrics(request, metrics_token, proxied=bool(links.public_url))) is not None:
            return refusal
        return web.Response(body=await write_page(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def picture(request: web.Request) -> web.StreamResponse:
        job_id, n, key = request.match_info["job"], int(request.match_info["n"]), request.match_info["key"]
        if not hmac.compare_digest(links.key(job_id, n).encode(), key.encode()):
            raise web.HTTPNotFound
        try:
            async with asyncio.timeout(TIMEOUT):
                record = await services.store.job_record(job_id)
        except DATABASE_ERRORS as exc:  # TimeoutError included
            log.warning("A picture was requested while the database did not answer", extra={"event": "store_trouble"})
            raise web.HTTPServiceUnavailable from exc
        found = next((each for each in record.pictures if each.n == n), None) if record else None
        if found is None:
            raise web.HTTPNotFound
        return await send(request, storage, name=found.file, type=found.type)

    app = web.Application(client_max_size=64 * 1024, middlewares=[_answer_outages(services)])
    app.on_response_prepare.append(_with_headers)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_get(r"/pictures/{job:\w{26}}/{n:\d}/{key:[0-9a-f]{32}}", picture)
    app.router.add_get(
        rf"/pictures/{{file:{CONVERTED_FILE.pattern}}}",
        _serve_references(links, services.clock, storage=storage),
    )
    if callbacks is not None:
        app.router.add_post("/callbacks/runflow/{token}", callbacks.receive)
    return app


def _serve_references(links: PictureLinks, clock: Clock, *, storage: PictureStorage) -> Handler:
    async def reference(request: web.Request) -> web.StreamResponse:
        file = request.match_info["file"]
        if not links.admits_to_reference(file, request.query, now=clock()):
            raise web.HTTPNotFound
        name = f"{converted_references.FOLDER}/{file}"
        return await send(request, storage, name=name, type="png" if file.endswith("png") else "jpeg")

    return reference


async def _with_headers(_: web.Request, answer: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)


def _reject_metrics(request: web.Request, token: str, *, proxied: bool) -> web.Response | None:
    """Return the error answer to a request that may not read /metrics, None if it may.

    *proxied*: a reverse proxy is expected, so that a loopback client may be forwarding requests of others.
    """
    if token:
        header = {"WWW-Authenticate": "Bearer"}
        return None if _has_token(request, token) else web.Response(status=401, headers=header, text="401: no token\n")
    if not proxied and _is_from_here(request):
        return None
    reason = "403: set web.metrics_token; without it only this machine is answered, while web.public_url is empty\n"
    return web.Response(status=403, text=reason)


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    is_valid = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return is_valid and scheme.lower() == "bearer"


def _is_from_here(request: web.Request) -> bool:
    """Return whether a request comes from this machine without a proxy: checks client, Host and proxy headers."""
    forwarded = any(name in request.headers for name in FORWARDED)
    host = re.sub(r":[0-9]*$", "", request.headers.get("Host", "")).lower()
    return not forwarded and is_loopback((request.remote or "").removeprefix("::ffff:")) and is_loopback(host)


def _answer_outages(services: Services) -> Middleware:
    """Return a middleware that answers 503 with the name of an outage; aiohttp logs any other error as a defect."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as exc:  # one request
            if (outage := services.outages.seen(exc)) is None:
                raise
            return web.Response(status=503, text=f"{outage}\n")

    return answer
