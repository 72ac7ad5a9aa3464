"""Base class of both emulated providers: handles a call, applies its faults and logs it."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar

from aiohttp import web

from bot.sandbox.control import Call, Controls
from bot.sandbox.faults import EARLY, Fault
from bot.sandbox.files import Files
from bot.sandbox.responses import Answer, FaultedCall, as_response, drop, instead, send_with_faults
from bot.sandbox.runs import Run

MAX_BODY = 96 * 1024 * 1024  # bytes; a submit may contain data URIs
FUNDS_MICRO_USD = 25_000_000
Work = Callable[[web.Request, bytes, FaultedCall], Awaitable[Answer | web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host(ABC):
    """One emulated provider. *key*: the only bearer token accepted; None accepts any well-formed one."""

    name: ClassVar[str]
    id_key: ClassVar[str]  # key of the run's id in the answer to a submit
    public_ops: ClassVar[frozenset[str]] = frozenset({"file"})

    def __init__(
        self, controls: Controls, files: Files, *, key: str | None, now: Callable[[], float], stopping: asyncio.Event
    ) -> None:
        self.controls = controls
        self.files = files
        self.key = key
        self.now = now
        self.stopping = stopping

    @abstractmethod
    def routes(self) -> list[web.RouteDef]: ...

    @abstractmethod
    def refusal(self, bearer: str) -> Answer | None:
        """Return the error answer to a call with that token, None if it is accepted."""

    @abstractmethod
    def envelope(self, fault: Fault) -> Answer:
        """Return the provider's error answer for *fault*."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(self.controls.control_routes())
        app.add_routes(self.routes())
        return app

    def on(self, op: str, work: Work) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            token = bearer(request)
            run_id = request.match_info.get("run_id")
            call = Call(op, request.method, request.path_qs, run_id, at=self.now(), host=self.name)
            call.authorized = bool(token)
            self.controls.log.append(call)
            self.controls.reread_faults()
            if self.controls.faults.take(op, [run_id or ""], host=self.name, among=EARLY):
                return drop(request)
            refused = None if op in self.public_ops else self.refusal(token)
            if refused:
                return self._logged(call, as_response(refused))
            return await self._answer(call, request, await request.read(), work=work)

        return handle

    def run(self, request: web.Request) -> Run | None:
        """Return the run named in the URL if it is this provider's, else None."""
        found = self.controls.runs.get(request.match_info["run_id"])
        return found if found and found.host == self.name else None

    def accept(self, run: Run, met: FaultedCall) -> None:
        """Accept *run*, with the faults that apply to its later calls."""
        self.controls.runs[run.id] = run
        for fault in met.run_faults:
            if fault.name == "queue":
                run.place = int(fault.word)
            elif fault.name != "stuck_queue":
                run.faults.add(fault.for_run())
        self.controls.queue.join(run)
        if "stuck_queue" in met:
            self.controls.queue.keep_queued(run)
        self.files.prefetch(run)
        met.run_id = met.run_id or run.id

    def runs(self) -> list[Run]:
        """Return the runs of this provider."""
        return [each for each in self.controls.runs.values() if each.host == self.name]

    async def picture(self, request: web.Request, met: FaultedCall, *, path: str) -> web.StreamResponse:
        run = self.run(request)
        if run is None or path not in run.images or run.state != "completed":
            return web.Response(status=404, text="no such file")
        return await self.files.answer(run, run.images.index(path), met=met, request=request)

    async def _answer(self, call: Call, request: web.Request, body: bytes, *, work: Work) -> web.StreamResponse:
        """Do the work and send its answer, both changed by the faults of this call."""
        run = self.controls.runs.get(call.run_id or "")
        about = run.about if run else (*_match_texts(body), call.run_id or "")
        met = FaultedCall(self.controls.faults.take(call.op, about, host=self.name))
        if run is not None:
            met.add(run.faults.take(call.op, [""]))
        answer: Answer | web.StreamResponse | None = None
        if not met.instead or met.accepted:
            answer = await work(request, body, met)
            call.run_id, call.note = call.run_id or met.run_id, met.note
        await met.wait(self.stopping)
        if met.instead:
            response = await instead(met.instead, request, stopping=self.stopping, envelope=self.envelope)
        elif isinstance(answer, Answer):
            earlier = self._earlier(call.run_id) if "same_id" in met else None
            response = await send_with_faults(answer, met, request, id_key=self.id_key, earlier=earlier)
        else:
            assert answer is not None
            response = drop(request) if "accepted_then_lost" in met else answer
        return self._logged(call, response)

    def _logged(self, call: Call, response: web.StreamResponse) -> web.StreamResponse:
        call.status = response.status if response.status < 600 else None
        return response

    def _earlier(self, run_id: str | None) -> str | None:
        ids = [each.id for each in self.runs()]
        return ids[max(0, ids.index(run_id) - 1)] if run_id in ids and run_id else None


def bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def origin(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _match_texts(body: bytes) -> tuple[str, ...]:
    """Return the texts of a submit that a fault's *match* is searched in: prompt and reference."""
    try:
        submitted = json.loads(body)
        inputs = submitted.get("input", submitted)
        return (str(inputs.get("prompt", "")), str(submitted.get("client_ref", "")))
    except (ValueError, AttributeError):
        return ()
