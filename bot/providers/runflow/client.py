"""Client of Runflow's API, and the check of its callbacks. `answers` reads the answers."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

from pydantic import Field

from bot.core.errors import ModelGone, ProviderError, ProviderUnavailable, RunLost, RunNotKnownYet
from bot.core.jobs import Observation
from bot.providers.base import CancelOutcome, ModelInfo
from bot.providers.failures import is_bare_not_found
from bot.providers.http import Answer, Client, call, utc_now
from bot.providers.runflow.answers import (
    Balance,
    Model,
    Page,
    Problem,
    describe_error,
    is_model_gone,
    parse_or_raise,
    read_error,
    read_listed,
    read_run,
    read_search,
    read_submitted,
)
from bot.providers.wire import Wire, parse

EVENTS = frozenset({"run.completed", "run.failed", "run.cancelled", "run.partial_succeeded"})
NOT_FOUND_LIMIT = 5  # a new run may not be known on every server yet

# Runflow's own scripts filter by the reference in one syntax and its documentation shows another; neither says that an
# unknown filter is rejected. https://github.com/runflow-io/templates, asset-validation/api/runs.mjs
RECENT = {"sort_by": "created_at:desc"}
SEARCHES = (
    RECENT | {"q": "client_ref.EQ:'{job_id}'", "limit": "50"},
    RECENT | {"q": "client_ref:{job_id}", "limit": "50"},
    RECENT | {"fields": "id,client_ref,metadata,created_at", "limit": "100"},
    RECENT | {"limit": "50"},
)
SIGNED = {"add_signature": "true"}  # undocumented; without it links may be unsigned
BALANCE_PATHS = (
    "/v1/billing/balance",
    "/v1/credit-balances",
)  # the first is documented, the second is in Runflow's own scripts


class BadCallback(Exception):
    """A callback that is not authentic or not usable; *problem* is `unsigned`, `signature`, `body` or `event`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class _Callback(Wire):
    event: str
    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


def read_callback(headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str]) -> str:
    """Return the run id of a callback signed with one of *secrets*. Raises `BadCallback`.

    *body* is the body as received, byte for byte. No timestamp is signed, so a callback can be replayed, and nothing
    else in it is trusted: https://docs.runflow.io/guides/verify-callback-signatures
    """
    given = [value for name, value in headers.items() if name.lower() == "runflow-signature"]
    if not given:
        raise BadCallback("unsigned")
    if len(given) > 1 or not re.fullmatch(r"[0-9a-f]{64}", given[0]):
        raise BadCallback("signature")
    valid = [hmac.new(each.encode(), body, hashlib.sha256).hexdigest() for each in secrets if each]
    if not [each for each in valid if hmac.compare_digest(each.encode(), given[0].encode())]:
        raise BadCallback("signature")
    callback = parse(_Callback, body)
    if callback is not None and callback.event not in EVENTS:
        raise BadCallback("event")
    if callback is None or callback.run_id is None:  # the callback of a batch has no run id
        raise BadCallback("body")
    return callback.run_id


class Runflow:
    """Runflow as a `Provider`. It cannot cancel a run, but can find one by the id of its job."""

    name = "runflow"
    searchable = True
    cancels = False
    page_size = (
        500  # Runflow's own scripts read batches like this; https://docs.runflow.io/api-reference/runs/search-runs
    )

    def __init__(self, http: Client, *, now: Callable[[], int] = utc_now) -> None:
        self._http = http
        self._now = now
        self._not_found_counts: Counter[str] = Counter()

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        body: dict[str, Any] = {"input": dict(inputs), "client_ref": job_id, "metadata": {"job_id": job_id}}
        if callback_url is not None:
            body["callback_url"] = callback_url
        answer = await call(self._http, "POST", f"/v1/models/{route}/runs", json=body, submits=True)
        return read_submitted(answer, now=self._now())

    async def observe(self, run_id: str) -> Observation:
        """Each observation returns newly signed links: an expired link is replaced by observing again."""
        answer = await self._get(f"/v1/runs/{run_id}", SIGNED)
        if answer.status in (400, 422):  # it does not support the parameter
            answer = await self._get(f"/v1/runs/{run_id}")
        if answer.is_success:
            with suppress(ValueError):  # pydantic's errors are ValueErrors
                observation = read_run(answer.body)
                self._not_found_counts.pop(run_id, None)
                return observation
        problem = parse(Problem, answer.body)
        if problem and (answer.status == 404 or problem.name == "RUN_NOT_FOUND"):
            raise self._not_found(run_id, text=describe_error(answer, problem))
        raise read_error(answer, now=self._now())

    async def observe_many(self, run_ids: Collection[str], *, pages: int) -> Mapping[str, Observation]:
        """The newest runs are listed without a filter, whose syntax the sources disagree on."""
        found: dict[str, Observation] = {}
        query = {**RECENT, "fields": "id,status_code,status", "limit": str(self.page_size)}
        for _ in range(pages):
            page = parse_or_raise(await self._get("/v1/runs", query), Page, now=self._now())
            found |= read_listed(page)
            if page.next_page is None:
                break
            query["pq"] = page.next_page
        return {run_id: found[run_id] for run_id in run_ids if run_id in found}

    def _not_found(self, run_id: str, *, text: str) -> ProviderError:
        self._not_found_counts[run_id] += 1
        if self._not_found_counts[run_id] <= NOT_FOUND_LIMIT:
            return RunNotKnownYet(text)
        del self._not_found_counts[run_id]
        return RunLost(text)

    async def cancel(self, run_id: str) -> CancelOutcome:  # noqa: ARG002 - no request is sent
        """Always too late: the API has no cancel, and Runflow's staff can only drop a run that is paid anyway."""
        return CancelOutcome.TOO_LATE

    async def find(self, job_id: str) -> str | None:
        for search in SEARCHES:
            answer = await self._get("/v1/runs", {name: value.format(job_id=job_id) for name, value in search.items()})
            if answer.status in (400, 422):
                continue  # it does not support this filter
            run_id = read_search(parse_or_raise(answer, Page, now=self._now()), job_id=job_id)
            if run_id or "q" not in search:  # no match may mean an unknown filter
                return run_id
        raise ProviderUnavailable("runflow: accepts no search for runs")

    async def describe(self, route: str) -> ModelInfo:
        """Return the entry without a price: the record has it as prose only."""
        answer = await self._get(f"/v1/models/{route}")
        problem = parse(Problem, answer.body)
        if is_model_gone(answer, problem):
            if problem is None or is_bare_not_found(problem.text):
                raise ProviderUnavailable(describe_error(answer, problem))
            raise ModelGone(describe_error(answer, problem))
        if parse_or_raise(answer, Model, now=self._now()).deleted_at is not None:
            raise ModelGone(describe_error(answer, problem))
        return ModelInfo(route)

    async def balance(self) -> int | None:
        for path in BALANCE_PATHS:
            answer = await self._get(path)
            problem = parse(Problem, answer.body)
            if answer.status == 404 or (problem and problem.name == "PERMISSION_DENIED"):
                continue  # a key may be permitted to run models only
            if (left := parse_or_raise(answer, Balance, now=self._now()).micro_usd) is not None:
                return left
        return None

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        return await call(self._http, "GET", path, params=params)

    async def aclose(self) -> None:
        await self._http.aclose()
