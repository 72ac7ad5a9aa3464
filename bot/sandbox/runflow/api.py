"""Runflow's API, emulated: runs, search, callbacks, catalogue, balance, files.

Source: docs.runflow.io. There is no cancel, because Runflow has none for customers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from aiohttp import web

from bot.sandbox.control import Controls
from bot.sandbox.faults import OUTCOME, SEARCH, Fault
from bot.sandbox.files import Files
from bot.sandbox.host import FUNDS_MICRO_USD, Host, origin
from bot.sandbox.models import Inputs
from bot.sandbox.responses import Answer, FaultedCall
from bot.sandbox.runflow.answers import (
    NOT_FOUND,
    STATUSES,
    Outcome,
    billed_micro_usd,
    envelope,
    outcome,
    payload,
    problem,
    record,
)
from bot.sandbox.runflow.callbacks import Callbacks
from bot.sandbox.runflow.models import MODELS, SYNC_MODE, SubmitBody, entry, read_submit, uuid_of
from bot.sandbox.runflow.runs import FlowRun, Signer, uuid7
from bot.sandbox.runflow.search import FILTERABLE, BadSearch, read_search
from bot.sandbox.runs import utc_ms

KEY_PREFIX = "rf_live_"
NO_MODEL = problem(404, code="NOT_FOUND", message="Model not found.")
SERVICE_KEY_PREFIX = "rf_svc_"  # keys for administration, which cannot create runs


class Runflow(Host):
    name: ClassVar[str] = "runflow"
    id_key: ClassVar[str] = "id"
    public_ops: ClassVar[frozenset[str]] = frozenset({"file", "health"})

    def __init__(
        self,
        controls: Controls,
        files: Files,
        *,
        key: str | None,
        now: Callable[[], float],
        stopping: asyncio.Event,
        secrets: Sequence[str],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__(controls, files, key=key, now=now, stopping=stopping)
        self.origin = ""  # its base URL, for picture addresses in callbacks
        self.callbacks = Callbacks(controls, build_payload=self._callback_payload, secrets=secrets, sleep=sleep)
        self._signer = Signer(now)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/models/{model:.+}/runs", self.on("submit", self._submit)),
            web.get("/v1/models", self.on("models", self._models)),
            web.get("/v1/models/{model:.+}", self.on("model", self._model)),
            web.get("/v1/runs", self.on("search", self._search)),
            web.get("/v1/runs/statuses", self.on("statuses", self._statuses)),
            web.get("/v1/runs/{run_id}", self.on("run", self._run)),
            web.get("/v1/runs/{run_id}/callback", self.on("deliveries", self._deliveries)),
            web.post("/v1/runs/{run_id}/callback-redeliveries", self.on("redeliver", self._redeliver)),
            web.get("/v1/billing/balance", self.on("balance", self._balance)),
            web.get("/v1/credit-balances", self.on("balance", self._credit_balances)),
            web.get("/v1/health", self.on("health", self._health)),
            web.get("/storage/{run_id}/{name}", self.on("file", self._file)),
            web.route("*", "/{rest:.*}", self.on("unknown", self._unknown)),
        ]

    def refusal(self, bearer: str) -> Answer | None:
        if bearer.startswith(SERVICE_KEY_PREFIX):
            return problem(403, message="This key is not for runs.")
        if bearer.startswith(KEY_PREFIX) and self.key in (None, bearer):
            return None
        return problem(401, message="Missing, unknown or revoked API key.")

    def envelope(self, fault: Fault) -> Answer:
        return envelope(fault)

    def flow_run(self, request: web.Request) -> FlowRun | None:
        run = self.run(request)
        return run if isinstance(run, FlowRun) else None

    async def _submit(self, request: web.Request, body: bytes, met: FaultedCall) -> Answer:
        model = MODELS.get(request.match_info["model"])
        if model is None:
            return NO_MODEL
        read, wrong = read_submit(model, body)
        if read is None:
            met.note = SYNC_MODE if any(each["message"] == SYNC_MODE for each in wrong) else ""
            return problem(422, message="The request is not valid.", errors=wrong)
        first, *_ = [self._accept(model.id, *read, met=met) for _ in range(2 if "twice" in met else 1)]
        answer = record(first, Outcome("queued"), FaultedCall([]))
        if "callback:early" in met and first.callback_url:
            self.controls.queue.move(first, "completed")
            await first.callback_done.wait()
        return Answer(200 if "created_200" in met else 201, answer)

    def _accept(self, model: str, submit: SubmitBody, asked: Inputs, *, met: FaultedCall) -> FlowRun:
        run = FlowRun(
            id=uuid7(),
            model=model,
            inputs=asked.model_dump(exclude_unset=True),
            asked=asked,
            entry=MODELS[model],
            queue=self.controls.queue,
            created_at=utc_ms(),
            client_ref=submit.client_ref,
            metadata=submit.metadata,
            callback_url=submit.callback_url,
        )
        self.accept(run, met)
        return run

    async def _run(self, request: web.Request, _body: bytes, met: FaultedCall) -> Answer:
        run = self.flow_run(request)
        if run is None or "lost" in met or "404_after_submit" in met:
            return NOT_FOUND
        run.version += 1
        asked = request.query.get("add_signature") == "true"
        return Answer(200, record(run, await self._outcome_of(run, met, at=origin(request), asked=asked), met))

    async def _outcome_of(self, run: FlowRun, met: FaultedCall, *, at: str, asked: bool = False) -> Outcome:
        """*asked*: whether signed addresses were requested, which matters only under the fault `unsigned`."""
        broken = await self.files.reference_error(run) if run.state == "completed" else None
        signs = asked or "unsigned" not in met

        def address(path: str) -> str:
            return at + (self._signer.sign(path, version=run.version) if signs else path)

        return outcome(run, met, sign=address, broken=broken)

    async def _callback_payload(self, run: FlowRun, met: FaultedCall) -> dict[str, Any]:
        """Return the body of a callback about *run*."""
        shown = FaultedCall(run.faults.peek(OUTCOME.keys() - {"result_pending"}))
        return payload(run, await self._outcome_of(run, shown, at=self.origin), met)

    async def _search(self, request: web.Request, _body: bytes, met: FaultedCall) -> Answer:
        try:
            spelling = met.get("spelling")
            search = read_search(
                request.query,
                filterable=FILTERABLE - {"client_ref"} if "unfilterable" in met else FILTERABLE,
                spelling=spelling.word if spelling else None,
            )
        except BadSearch as exc:
            return problem(422, message=str(exc), errors=[{"field": exc.field, "message": str(exc)}])
        listed = [run for run in self._flow_runs() if not run.faults.take("search", [""], among=SEARCH)]
        records = []
        for run in listed:
            shown = FaultedCall(run.faults.peek(OUTCOME))
            records.append(record(run, await self._outcome_of(run, shown, at=origin(request)), shown))
        return Answer(200, search.page(records))

    def _flow_runs(self) -> list[FlowRun]:
        return [each for each in self.runs() if isinstance(each, FlowRun)]

    async def _statuses(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        return Answer(200, list(STATUSES))

    async def _deliveries(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        run = self.flow_run(request)
        if run is None:
            return NOT_FOUND
        return Answer(200, [each.as_json() for each in self.callbacks.deliveries if each.run_id == run.id])

    async def _redeliver(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        run = self.flow_run(request)
        if run is None:
            return NOT_FOUND
        try:
            (sent,) = await self.callbacks.send(run.id)
        except ValueError as exc:
            return problem(409, message=str(exc))
        return Answer(201, sent.as_json())

    async def _models(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        listed = [entry(each, schema=False) for each in MODELS.values()]
        wanted = request.query.get("q", "").lower()
        items = [each for each in listed if wanted in f"{each['owner']}/{each['slug']} {each['name']}".lower()]
        return Answer(200, {"items": items, "next_pq": None, "prev_pq": None})

    async def _model(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        name = request.match_info["model"]
        model = next((each for each in MODELS.values() if name in (each.id, uuid_of(each.id))), None)
        return Answer(200, entry(model)) if model else NO_MODEL

    async def _balance(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        return Answer(200, {"balance_cents": await self._left() // 10_000, "currency": "USD"})

    async def _credit_balances(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        """The balance as Runflow's own scripts read it."""
        return Answer(200, {"items": [{"balance_usd": await self._left() / 1_000_000, "currency": "USD"}]})

    async def _left(self) -> int:
        left = FUNDS_MICRO_USD
        for run in self._flow_runs():
            shown = FaultedCall(run.faults.peek(OUTCOME))
            left -= billed_micro_usd(run, await self._outcome_of(run, shown, at=self.origin), shown)
        return left

    async def _health(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        return Answer(200, {"status": "ok"})

    async def _unknown(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        return problem(404, code="NOT_FOUND", message="There is no such endpoint.")

    async def _file(self, request: web.Request, _body: bytes, met: FaultedCall) -> web.StreamResponse:
        run, version = self.flow_run(request), self._signer.version(request.path, request.query)
        if run is not None and "file:expired" in met:
            run.expired = max(run.expired, run.version)
        if run is None or version is None or version <= run.expired:
            return web.Response(
                status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"
            )
        return await self.picture(request, met, path=request.path)
