"""RunComfy's Model API, emulated: submit, status, result, cancel, catalogue, balance."""

from typing import ClassVar
from uuid import uuid4

from aiohttp import web

from bot.sandbox.faults import Fault
from bot.sandbox.host import FUNDS_MICRO_USD, Host, origin
from bot.sandbox.responses import Answer, FaultedCall
from bot.sandbox.runcomfy.answers import (
    NOT_FOUND,
    cancel_answer,
    envelope,
    problem,
    result_answer,
    status_answer,
    submitted,
)
from bot.sandbox.runcomfy.models import MODELS, listing, read_inputs
from bot.sandbox.runs import Run, utc_ms


class RunComfy(Host):
    name: ClassVar[str] = "runcomfy"
    id_key: ClassVar[str] = "request_id"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self.on("models", self._models)),
            web.get("/v1/models/categories", self.on("models", self._categories)),
            web.get("/v1/models/{model:.+}", self.on("model", self._model)),
            web.post("/v1/models/{model:.+}", self.on("submit", self._submit)),
            web.get("/v1/requests/{run_id}/status", self.on("status", self._status)),
            web.get("/v1/requests/{run_id}/result", self.on("result", self._result)),
            web.post("/v1/requests/{run_id}/cancel", self.on("cancel", self._cancel)),
            web.get("/prod/v2/balance", self.on("balance", self._balance)),
            web.get("/files/{run_id}/{name}", self.on("file", self._file)),
        ]

    def refusal(self, bearer: str) -> Answer | None:
        if bearer and self.key in (None, bearer):
            return None
        return problem(400, code=400004, message="UserAccountError: missing, expired or invalid token.")

    def envelope(self, fault: Fault) -> Answer:
        return envelope(fault)

    async def _submit(self, request: web.Request, body: bytes, met: FaultedCall) -> Answer:
        entry = MODELS.get(request.match_info["model"])
        if entry is None:
            return problem(400, code=400001, message="InvalidResourceIdentifier: there is no such model.")
        asked, wrong = read_inputs(entry, body)
        if asked is None:
            return Answer(422, {"detail": wrong})
        inputs = asked.model_dump(exclude_unset=True)
        run = Run(
            str(uuid4()), entry.id, inputs, asked=asked, entry=entry, queue=self.controls.queue, created_at=utc_ms()
        )
        self.accept(run, met)
        return Answer(200, submitted(run.id, origin=origin(request)))

    async def _status(self, request: web.Request, _body: bytes, met: FaultedCall) -> Answer:
        run = self.run(request)
        return status_answer(run, origin=origin(request), faults=met) if run else NOT_FOUND

    async def _result(self, request: web.Request, _body: bytes, met: FaultedCall) -> Answer:
        run = self.run(request)
        if run is None:
            return NOT_FOUND
        broken = await self.files.reference_error(run) if run.state == "completed" else None
        with_cost = request.query.get("include_cost", "").lower() in ("true", "1")
        return result_answer(run, origin=origin(request), faults=met, with_cost=with_cost, broken=broken)

    async def _cancel(self, request: web.Request, _body: bytes, met: FaultedCall) -> Answer:
        run = self.run(request)
        return cancel_answer(run, faults=met) if run else NOT_FOUND

    async def _models(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        query = request.query
        schema = query.get("include_schema", "").lower() in ("true", "1")
        found = listing(search=query.get("search", ""), category=query.get("category", ""), schema=schema)
        try:
            limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
        except ValueError:
            return Answer(422, {"detail": "limit and offset are numbers"})
        return Answer(200, {"models": found[offset : offset + limit], "total": len(found)})

    async def _categories(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        return Answer(200, {"categories": sorted({each.kind for each in MODELS.values()})})

    async def _model(self, request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        entry = MODELS.get(request.match_info["model"])
        if entry is None:
            return problem(404, code=400001, message="InvalidResourceIdentifier: there is no such model.")
        return Answer(200, entry.entry(schema=True))

    async def _balance(self, _request: web.Request, _body: bytes, _met: FaultedCall) -> Answer:
        left = FUNDS_MICRO_USD - sum(each.cost_micro_usd for each in self.runs() if each.state == "completed")
        return Answer(200, {"balance_usd": left / 1_000_000, "balance_microdollars": left, "currency": "USD"})

    async def _file(self, request: web.Request, _body: bytes, met: FaultedCall) -> web.StreamResponse:
        return await self.picture(request, met, path=request.path)
