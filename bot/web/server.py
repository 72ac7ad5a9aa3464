"""The bot's own web server: health, metrics, pictures too large for Discord, and where a host calls us back."""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bot.core.cards import Picture
from bot.service import Service
from bot.web.callbacks import Callbacks

log = logging.getLogger(__name__)

Health = Callable[[], Awaitable[Mapping[str, object]]]  # `ok` among its keys decides the status
Unready = Callable[[], Awaitable[str | None]]  # why it is not ready
Metrics = Callable[[], Awaitable[bytes]]


class PictureLinks:
    """Addresses of kept pictures that nobody can guess: each is signed with a secret of this installation."""

    def __init__(self, public_url: str, *, secret: bytes) -> None:
        self._public_url = public_url.rstrip("/")
        self._secret = secret

    def __call__(self, job_id: str, picture: Picture) -> str | None:
        """Where people can get *picture*; None when the operator serves none."""
        if not self._public_url:
            return None
        return f"{self._public_url}/pictures/{job_id}/{picture.n}/{self.key(job_id, picture.n)}"

    def key(self, job_id: str, n: int) -> str:
        return hmac.new(self._secret, f"{job_id}:{n}".encode(), sha256).hexdigest()[:32]


def build(
    service: Service,
    *,
    health: Health,
    unready: Unready,
    metrics: Metrics,
    links: PictureLinks,
    data: Path,
    callbacks: Callbacks | None = None,
) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        report = await health()
        return web.Response(
            status=200 if report["ok"] else 503, text=json.dumps(report), content_type="application/json"
        )

    async def readyz(_: web.Request) -> web.Response:
        reason = await unready()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ready'}\n")

    async def scraped(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def picture(request: web.Request) -> web.StreamResponse:
        job_id, n, key = request.match_info["job"], int(request.match_info["n"]), request.match_info["key"]
        if not hmac.compare_digest(links.key(job_id, n).encode(), key.encode()):
            raise web.HTTPNotFound
        dossier = await service.store.dossier(job_id)
        held = [each for each in dossier.pictures if each.n == n] if dossier else []
        if not held:
            raise web.HTTPNotFound
        return web.FileResponse(data / held[0].file)

    app = web.Application(client_max_size=64 * 1024, middlewares=[_named(service)])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scraped)
    app.router.add_get(r"/pictures/{job:\w{26}}/{n:\d}/{key:[0-9a-f]{32}}", picture)
    if callbacks is not None:
        app.router.add_post("/callbacks/runflow/{token}", callbacks.receive)
    return app


def _named(service: Service) -> Middleware:
    """Says which outage keeps a request from its answer; any other error is a defect, which aiohttp logs."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as exc:  # one request's trouble
            if (outage := service.outages.seen(exc)) is None:
                raise
            return web.Response(status=503, text=f"{outage}\n")

    return answer
