"""Runflow as a provider: which requests are made, and which callbacks believed. runflow_answers reads the answers."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

from pydantic import Field

from bot.core.errors import ModelGone, ProviderError, ProviderUnavailable, RunLost, RunNotKnownYet
from bot.core.jobs import Observation
from bot.providers.base import CancelOutcome, ModelInfo
from bot.providers.failures import is_bare
from bot.providers.http import Answer, Client, call, utc_now
from bot.providers.runflow.answers import (
    Balance,
    Model,
    Page,
    Problem,
    describe_error,
    good,
    is_gone,
    read_found,
    read_run,
    read_submitted,
    trouble,
)
from bot.providers.wire import Wire, parse

EVENTS = frozenset({"run.completed", "run.failed", "run.cancelled", "run.partial_succeeded"})
NOT_FOUND_LIMIT = 5  # a new run may not be known everywhere at once

# Runflow's own scripts filter by the reference in one spelling and its documents show another; neither says that a
# filter it does not know is refused. https://github.com/runflow-io/templates, asset-validation/api/runs.mjs
RECENT = {"sort_by": "created_at:desc"}
SEARCHES = (
    RECENT | {"q": "client_ref.EQ:'{job_id}'", "limit": "50"},
    RECENT | {"q": "client_ref:{job_id}", "limit": "50"},
    RECENT | {"fields": "id,client_ref,metadata,created_at", "limit": "100"},
    RECENT | {"limit": "50"},
)
SIGNED = {"add_signature": "true"}  # not documented; without it links may not be signed
WALLETS = ("/v1/billing/balance", "/v1/credit-balances")  # documented; in Runflow's own scripts


class BadCallback(Exception):
    """A callback that proves nothing; *problem* is `unsigned`, `signature`, `body` or `event`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class _Callback(Wire):
    event: str
    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


def read_callback(headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str]) -> str:
    """The run that a callback speaks of, once one of *secrets* has signed it; else `BadCallback`.

    *body* as it came, byte for byte. No time is signed, so anyone may play it again, and nothing else in it is
    believed: https://docs.runflow.io/guides/verify-callback-signatures
    """
    given = [value for name, value in headers.items() if name.lower() == "runflow-signature"]
    if not given:
        raise BadCallback("unsigned")
    if len(given) > 1 or not re.fullmatch(r"[0-9a-f]{64}", given[0]):
        raise BadCallback("signature")
    right = [hmac.new(each.encode(), body, hashlib.sha256).hexdigest() for each in secrets if each]
    if not [each for each in right if hmac.compare_digest(each.encode(), given[0].encode())]:
        raise BadCallback("signature")
    said = parse(_Callback, body)
    if said is not None and said.event not in EVENTS:
        raise BadCallback("event")
    if said is None or said.run_id is None:  # a batch has none
        raise BadCallback("body")
    return said.run_id


class Runflow:
    """Runflow as a `Provider`. It offers no way to cancel, but a run can be found by the job it was made for."""

    name = "runflow"
    searchable = True
    cancels = False

    def __init__(self, http: Client, *, now: Callable[[], int] = utc_now) -> None:
        self._http = http
        self._now = now
        self._missed: Counter[str] = Counter()

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        body: dict[str, Any] = {"input": dict(inputs), "client_ref": job_id, "metadata": {"job_id": job_id}}
        if callback_url is not None:
            body["callback_url"] = callback_url
        answer = await call(self._http, "POST", f"/v1/models/{route}/runs", json=body, submits=True)
        return read_submitted(answer, now=self._now())

    async def observe(self, run_id: str) -> Observation:
        """Every look signs the links anew: a link that was refused is replaced by observing again."""
        answer = await self._get(f"/v1/runs/{run_id}", SIGNED)
        if answer.status in (400, 422):  # not a parameter it takes
            answer = await self._get(f"/v1/runs/{run_id}")
        if answer.is_success:
            with suppress(ValueError):  # pydantic's errors are ValueErrors
                seen = read_run(answer.body)
                self._missed.pop(run_id, None)
                return seen
        problem = parse(Problem, answer.body)
        if problem and (answer.status == 404 or problem.name == "RUN_NOT_FOUND"):
            raise self._not_found(run_id, text=describe_error(answer, problem))
        raise trouble(answer, now=self._now())

    def _not_found(self, run_id: str, *, text: str) -> ProviderError:
        self._missed[run_id] += 1
        if self._missed[run_id] <= NOT_FOUND_LIMIT:
            return RunNotKnownYet(text)
        del self._missed[run_id]
        return RunLost(text)

    async def cancel(self, run_id: str) -> CancelOutcome:  # noqa: ARG002 - there is nothing to ask
        """Nothing can be taken back: even the host's own staff can only drop what is paid for all the same."""
        return CancelOutcome.TOO_LATE

    async def find(self, job_id: str) -> str | None:
        for search in SEARCHES:
            answer = await self._get("/v1/runs", {name: word.format(job_id=job_id) for name, word in search.items()})
            if answer.status in (400, 422):
                continue  # not a question it takes
            found = read_found(good(answer, Page, now=self._now()), job_id=job_id)
            if found or "q" not in search:  # a filter that finds nothing may be one that it does not know
                return found
        raise ProviderUnavailable("runflow: takes no search for runs")

    async def describe(self, route: str) -> ModelInfo:
        """Without a price: the record has it in words, and the numbers stand elsewhere, by size."""
        answer = await self._get(f"/v1/models/{route}")
        problem = parse(Problem, answer.body)
        if is_gone(answer, problem):
            if problem is None or is_bare(problem.text):
                raise ProviderUnavailable(describe_error(answer, problem))
            raise ModelGone(describe_error(answer, problem))
        if good(answer, Model, now=self._now()).deleted_at is not None:
            raise ModelGone(describe_error(answer, problem))
        return ModelInfo(route)

    async def balance(self) -> int | None:
        for path in WALLETS:
            answer = await self._get(path)
            problem = parse(Problem, answer.body)
            if answer.status == 404 or (problem and problem.name == "PERMISSION_DENIED"):
                continue  # a key may be allowed to run models and no more
            if (left := good(answer, Balance, now=self._now()).micro_usd) is not None:
                return left
        return None

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        return await call(self._http, "GET", path, params=params)

    async def aclose(self) -> None:
        await self._http.aclose()
