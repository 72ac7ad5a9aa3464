"""The local image service: RunComfy's Model API on 127.0.0.1, with drawn pictures and faults on request.

It speaks the host's published API (submit, status, result, cancel, the catalogue, the balance, files), so that the
whole bot can run without an account. What can be made to go wrong is listed in `bot.sandbox.faults`: FAULTS maps
each fault to one line. Other programs switch faults on over HTTP, without a token:

====================================  =====================================================================
PUT, GET /_sandbox/faults             a JSON list of faults: {"op": "result", "do": "fail", "times": null}
GET /_sandbox/log, /_sandbox/runs     every call so far; every run with its state
POST /_sandbox/runs/{id}/advance      {"state": "in_progress"}: in_queue, in_progress, completed, cancelled
PUT /_sandbox/pace                    {"queue_s": 0.4, "run_s": 0.8, "slots": 4}
PUT /_sandbox/hold                    {"hold": true}: nothing advances by itself
====================================  =====================================================================

or with a file of faults that is read again whenever it changes.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from aiohttp import web

from bot.sandbox.faults import FAULTS, Fault
from bot.sandbox.upstream_answers import (
    NOT_FOUND,
    Answer,
    cancel_answer,
    problem,
    result_answer,
    status_answer,
    submitted,
)
from bot.sandbox.upstream_control import Call, Controls
from bot.sandbox.upstream_files import Files
from bot.sandbox.upstream_models import MODELS, listing, read_inputs
from bot.sandbox.upstream_runs import Line, Pace, Run
from bot.sandbox.upstream_wire import Met, as_response, drop, instead, spoil

__all__ = ["FAULTS", "Call", "Fault", "ImageService", "Pace", "Run", "serve"]

MOST_BODY = 96 * 1024 * 1024  # data URIs may travel in a submit
FUNDS_MICRO_USD = 25_000_000
Work = Callable[[web.Request, bytes, Met], Awaitable[Answer | web.StreamResponse]]


class ImageService(Controls):
    """The service, its runs and its faults. *token*: the only bearer token taken; None takes any."""

    def __init__(
        self,
        *,
        token: str | None = None,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        now: Callable[[], float] = time.monotonic,
        faults_file: Path | None = None,
    ) -> None:
        super().__init__(Line(pace, now), faults_file=faults_file)
        self.url = ""
        self._token = token
        self._now = now
        self._files = Files()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._stopping.clear()
        await self._files.start()
        self._runner = web.AppRunner(
            self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0, handle_signals=False
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._files.stop()

    @asynccontextmanager
    async def running(self, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        await self.start(port, host)
        try:
            yield self
        finally:
            await self.stop()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MOST_BODY)
        app.add_routes(self.control_routes())
        app.add_routes(
            [
                web.get("/v1/models", self._on("models", self._models)),
                web.get("/v1/models/categories", self._on("models", self._categories)),
                web.get("/v1/models/{model:.+}", self._on("model", self._model)),
                web.post("/v1/models/{model:.+}", self._on("submit", self._submit)),
                web.get("/v1/requests/{run_id}/status", self._on("status", self._status)),
                web.get("/v1/requests/{run_id}/result", self._on("result", self._result)),
                web.post("/v1/requests/{run_id}/cancel", self._on("cancel", self._cancel)),
                web.get("/prod/v2/balance", self._on("balance", self._balance)),
                web.get("/files/{run_id}/{name}", self._on("file", self._file)),
            ]
        )
        return app

    def _on(self, op: str, work: Work) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            bearer = _bearer(request)
            run_id = request.match_info.get("run_id")
            call = Call(op, request.method, request.path_qs, run_id, self._now(), authorized=bool(bearer))
            self.log.append(call)
            self.reread_faults()
            if self.faults.take(op, [run_id or ""], early=True):
                return drop(request)
            if op != "file" and not self._known(bearer):
                refused = problem(400, code=400004, message="UserAccountError: missing, expired or invalid token.")
                return self._logged(call, as_response(refused))
            return await self._meet(call, request, await request.read(), work=work)

        return handle

    async def _meet(self, call: Call, request: web.Request, body: bytes, *, work: Work) -> web.StreamResponse:
        """Do the work, or what the faults that this call meets make of it."""
        run = self.runs.get(call.run_id or "")
        prompt = run.prompt if run else _prompt(body)
        met = Met(self.faults.take(call.op, [prompt, call.run_id or ""]))
        if run is not None:
            met.add(run.faults.take(call.op, [""]))
        answer: Answer | web.StreamResponse | None = None
        if not met.instead or met.accepted:
            answer = await work(request, body, met)
            if call.op == "submit" and isinstance(answer, Answer) and answer.status == 200:
                call.run_id = answer.body["request_id"]
        await met.wait(self._stopping)
        if met.instead:
            response = await instead(met.instead, request, stopping=self._stopping)
        elif isinstance(answer, Answer):
            earlier = self._earlier(call.run_id) if "same_id" in met else None
            response = await spoil(answer, met, request, earlier=earlier)
        else:
            assert answer is not None
            response = drop(request) if "accepted_then_lost" in met else answer
        return self._logged(call, response)

    def _logged(self, call: Call, response: web.StreamResponse) -> web.StreamResponse:
        call.status = response.status if response.status < 600 else None
        return response

    def _earlier(self, run_id: str | None) -> str | None:
        ids = self.accepted
        return ids[max(0, ids.index(run_id) - 1)] if run_id in self.runs and run_id else None

    def _known(self, bearer: str) -> bool:
        return bool(bearer) if self._token is None else bearer == self._token

    async def _submit(self, request: web.Request, body: bytes, met: Met) -> Answer:
        entry = MODELS.get(request.match_info["model"])
        if entry is None:
            return problem(400, code=400001, message="InvalidResourceIdentifier: there is no such model.")
        asked, wrong = read_inputs(entry, body)
        if asked is None:
            return Answer(422, {"detail": wrong})
        run = self._line.join(entry, asked=asked)
        self.runs[run.id] = run
        for fault in met.traits:
            if fault.name == "queue":
                run.place = int(fault.word)
            elif fault.name == "stuck_queue":
                self._line.stick(run)
            else:
                run.faults.add(fault.stuck())
        self._files.expect(run)
        return Answer(200, submitted(run.id, origin=_origin(request)))

    async def _status(self, request: web.Request, _body: bytes, met: Met) -> Answer:
        run = self.runs.get(request.match_info["run_id"])
        return status_answer(run, origin=_origin(request), faults=met) if run else NOT_FOUND

    async def _result(self, request: web.Request, _body: bytes, met: Met) -> Answer:
        run = self.runs.get(request.match_info["run_id"])
        if run is None:
            return NOT_FOUND
        broken = await self._files.trouble(run) if run.state == "completed" else None
        with_cost = request.query.get("include_cost", "").lower() in ("true", "1")
        return result_answer(run, origin=_origin(request), faults=met, with_cost=with_cost, broken=broken)

    async def _cancel(self, request: web.Request, _body: bytes, met: Met) -> Answer:
        run = self.runs.get(request.match_info["run_id"])
        return cancel_answer(run, faults=met) if run else NOT_FOUND

    async def _models(self, request: web.Request, _body: bytes, _met: Met) -> Answer:
        query = request.query
        schema = query.get("include_schema", "").lower() in ("true", "1")
        found = listing(search=query.get("search", ""), category=query.get("category", ""), schema=schema)
        try:
            limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
        except ValueError:
            return Answer(422, {"detail": "limit and offset are numbers"})
        return Answer(200, {"models": found[offset : offset + limit], "total": len(found)})

    async def _categories(self, _request: web.Request, _body: bytes, _met: Met) -> Answer:
        return Answer(200, {"categories": sorted({each.kind for each in MODELS.values()})})

    async def _model(self, request: web.Request, _body: bytes, _met: Met) -> Answer:
        entry = MODELS.get(request.match_info["model"])
        if entry is None:
            return problem(404, code=400001, message="InvalidResourceIdentifier: there is no such model.")
        return Answer(200, entry.entry(schema=True))

    async def _balance(self, _request: web.Request, _body: bytes, _met: Met) -> Answer:
        spent = sum(each.cost_micro_usd for each in self.runs.values() if each.state == "completed")
        left = FUNDS_MICRO_USD - spent
        return Answer(200, {"balance_usd": left / 1_000_000, "balance_microdollars": left, "currency": "USD"})

    async def _file(self, request: web.Request, _body: bytes, met: Met) -> web.StreamResponse:
        run = self.runs.get(request.match_info["run_id"])
        path = f"/files/{request.match_info['run_id']}/{request.match_info['name']}"
        if run is None or path not in run.images or run.state != "completed":
            return web.Response(status=404, text="no such file")
        return await self._files.answer(run, run.images.index(path), met=met, request=request)


async def serve(port: int, *, faults_file: Path | None, token: str | None) -> None:
    """Run the service until cancelled, and print where it is."""
    service = ImageService(token=token, faults_file=faults_file)
    async with service.running(port):
        print(f"image service: {service.url}", flush=True)
        await asyncio.Event().wait()


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _prompt(body: bytes) -> str:
    try:
        return str(json.loads(body)["prompt"])
    except (ValueError, KeyError, TypeError):
        return ""


def _origin(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"
