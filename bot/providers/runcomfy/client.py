"""Client of RunComfy's Model API, and the reading of its answers. RunComfy calls a run a request.

Sources: https://docs.runcomfy.com/model-apis/async-queue-endpoints and .../model-apis/error-codes. Where the
documentation and RunComfy's own clients disagree, both forms are accepted.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, ROUND_FLOOR
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import Field

from bot.core.errors import (
    AnswerUnreadable,
    ModelGone,
    NotSearchable,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    RunLost,
    RunNotKnownYet,
    SubmitUnknown,
)
from bot.core.jobs import Observation, State
from bot.providers.base import CancelOutcome, ModelInfo
from bot.providers.failures import Verdict, classify_text, extract_text, is_about_content, is_bare_not_found, summarize
from bot.providers.http import Answer, Client, call, retry_after, utc_now
from bot.providers.wire import (
    Dollars,
    SignedAmount,
    W,
    Wire,
    as_name,
    micro_usd,
    parse,
    read_json,
    read_pictures,
    shape,
    status_of,
)

log = logging.getLogger(__name__)

QUEUED = frozenset({"in_queue", "pending", "waiting"})
RUNNING = frozenset({"in_progress", "starting", "processing", "running"})
SUCCEEDED = frozenset({"succeeded", "completed"})
CANCELLED = frozenset({"cancelled", "canceled"})
TERMINAL = SUCCEEDED | CANCELLED | {"failed"}
STATUSES = QUEUED | RUNNING | TERMINAL

CREDENTIALS = frozenset({400004, 401001})
BALANCE = frozenset({400002, 10001})
FOREIGN_RUN = 403001  # the run belongs to another account
NOT_FOUND = 404001
MODEL_GONE = frozenset({400001, NOT_FOUND})  # of a model
KNOWN_ERRORS = CREDENTIALS | BALANCE | MODEL_GONE | {FOREIGN_RUN, 422001}

NOT_FOUND_LIMIT = 5  # a new request may not be known on every server yet


class _Submitted(Wire):
    # The answer's *_url fields are not followed: a wrong one would receive the token.
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class _Status(Wire):
    status: Any = None
    queue_position: Any = None


class _Result(Wire):
    """A run's result. RunComfy may echo the inputs, reference pictures included: only *output* has results."""

    status: Any = None
    output: Any = None
    error: Any = None
    error_message: Any = None
    message: Any = None
    cost: Dollars = None


T = TypeVar("T")
S = TypeVar("S", _Status, _Result)


class _Cancelled(Wire):
    outcome: Any = None
    status: Any = None


class _Model(Wire):
    base_price_usd: Dollars = None


class _Balance(Wire):
    balance_microdollars: Annotated[int, Field(ge=0)] | None = None
    balance_usd: SignedAmount = None


class _Problem(Wire):
    """RunComfy's error envelope; any field may be missing."""

    error_code: Any = None
    error_message: Any = None
    message: Any = None
    error: Any = None
    detail: Any = None

    @property
    def code(self) -> int | None:
        """The error number; None if it is missing or 0."""
        text = extract_text(self.error_code)
        return int(text) or None if re.fullmatch(r"[0-9]{1,9}", text) else None

    @property
    def prose(self) -> list[Any]:
        return [self.error_message, self.message, self.error, self.detail]

    @property
    def text(self) -> str:
        return extract_text(self.prose)


def read_submitted(answer: Answer, *, now: int) -> str:
    """Return the request id from the answer to a paid submit, or raise the `ProviderError` that it stands for."""
    if answer.is_success and (submitted := parse(_Submitted, answer.body)):
        return submitted.request_id
    problem = parse(_Problem, answer.body)
    raise _submit_error(answer, problem, now=now) or SubmitUnknown(_describe(answer, problem))


def _submit_error(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderError | None:
    """The error of a submit that RunComfy provably did not accept: a 4xx, its own 503, or a 200 with an error code."""
    code = problem.code if problem else None
    client_error = 400 <= answer.status < 500
    busy = answer.status == 503 and code is not None  # a gateway's 503 may have a message but no error number
    if not (client_error or busy or (answer.is_success and code in KNOWN_ERRORS)):
        return None
    if answer.status == 403 and problem and is_about_content(problem.text):
        return ProviderRefused(_describe(answer, problem))
    if error := _account_error(answer, problem, now=now):
        return error
    if answer.status == 404 or code in MODEL_GONE:
        return ModelGone(_describe(answer, problem))
    verdict = classify_text(problem.text) if problem else Verdict.UNKNOWN
    if busy or (verdict is Verdict.TRANSIENT and answer.status == 400):
        return _unavailable(answer, problem, now=now)
    return (ProviderRefused if verdict is Verdict.REFUSED else ProviderRejected)(_describe(answer, problem))


def _account_error(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderError | None:
    """Errors about the account or the current load, not about the request; None for all others."""
    code = problem.code if problem else None
    if answer.status == 402 or code in BALANCE:
        return ProviderPaused(_describe(answer, problem), kind="balance")
    if answer.status == 401 or code in CREDENTIALS or (answer.status == 403 and problem and code != FOREIGN_RUN):
        return ProviderPaused(_describe(answer, problem), kind="credentials")
    # A 403 without JSON comes from a firewall. One prompt may have triggered it, so it must not pause the provider.
    if answer.status in (408, 425, 429) or (answer.status == 403 and not problem):
        return _unavailable(answer, problem, now=now)
    return None


def _unavailable(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderUnavailable:
    return ProviderUnavailable(_describe(answer, problem), retry_after=retry_after(answer.headers, now=now))


def _describe(answer: Answer, problem: _Problem | None) -> str:
    if problem is None:
        return f"runcomfy: HTTP {answer.status}, unreadable answer"
    return f"runcomfy: HTTP {answer.status}, {summarize(problem.code, *problem.prose) or 'no known reason'}"


def read_status(body: bytes) -> Observation | None:
    """Return a pending run's state; None if the run has ended, so that only its result has the outcome.

    Raises `AnswerUnreadable` for an unknown form, `ValueError` for what is not JSON or an error envelope.
    """
    status, status_text = _parse_with_status(_Status, body)
    if status_text in TERMINAL:
        return None
    if status_text in RUNNING:
        return Observation(State.RUNNING)
    place = status.queue_position if status_text in QUEUED else None
    return Observation(State.QUEUED, position=place if isinstance(place, int) and 0 < place < 1_000_000 else None)


def read_result(body: bytes) -> Observation:
    """Return a run's outcome from the result's own status. Raises the same errors as `read_status`.

    The status call says "completed" for failures too, and before the result does.
    """
    result, status_text = _parse_with_status(_Result, body)
    cost = micro_usd(result.cost, rounding=ROUND_CEILING)
    if status_text in CANCELLED:
        return Observation(State.CANCELLED, cost_micro_usd=cost)
    if status_text not in TERMINAL:
        return Observation(State.RUNNING)
    reasons = (result.error, result.error_message, result.message)
    urls = read_pictures(result.output) if status_text in SUCCEEDED else ()
    if urls:
        return Observation(State.COLLECTING, image_urls=urls, cost_micro_usd=cost)
    if urls is None:
        raise AnswerUnreadable("runcomfy: no readable output", shape=shape(result.output), finished=True)
    text = extract_text(list(reasons))
    return Observation(
        State.REFUSED if classify_text(text) is Verdict.REFUSED else State.FAILED,
        reason=f"{status_text}: {summarize(*reasons) or 'no picture, no reason'}",
        cost_micro_usd=cost,
        empty=status_text in SUCCEEDED and not text,
    )


def _parse_with_status(model: type[S], body: bytes) -> tuple[S, str]:
    """Parse *body* and return it with its status in lower case. The status of an error envelope is not a run's."""
    value = read_json(body)
    parsed = model.model_validate(value) if isinstance(value, dict) else model()
    status_text = status_of(parsed.status)
    if status_text not in STATUSES:
        problem = parse(_Problem, body)
        if problem and problem.code:
            raise ValueError("an error, not a run")
        if not status_text:
            raise AnswerUnreadable("runcomfy: an answer without a status", shape=shape(value))
        _warn_unknown_status(status_text)
    return parsed, status_text


@lru_cache(maxsize=256)  # logs each status once
def _warn_unknown_status(status_text: str) -> None:
    log.warning("RunComfy reports an unknown status", extra={"event": "status_unknown", "status": as_name(status_text)})


def read_cancelled(answer: Answer) -> CancelOutcome:
    """Return whether a cancel succeeded. The documented example has `status: completed` beside `outcome: cancelled`."""
    problem = parse(_Problem, answer.body)
    if 400 <= answer.status < 500 or (answer.is_success and problem and problem.code):
        return CancelOutcome.TOO_LATE
    parsed = parse(_Cancelled, answer.body) if answer.is_success else None
    status_text = (status_of(parsed.outcome) or status_of(parsed.status)) if parsed else ""
    if status_text in CANCELLED or status_text == "cancellation_requested":
        return CancelOutcome.CANCELLED
    return (
        CancelOutcome.TOO_LATE if status_text == "not_cancellable" or status_text in TERMINAL else CancelOutcome.UNKNOWN
    )


class RunComfy:
    """RunComfy as a `Provider`. It stores no reference of the caller, so an unanswered submit cannot be looked up."""

    name = "runcomfy"
    searchable = False
    cancels = True
    page_size = 0

    def __init__(self, http: Client, *, balance_url: str | None = None, now: Callable[[], int] = utc_now) -> None:
        self._http = http
        self._balance_url = balance_url
        self._now = now
        self._not_found_counts: Counter[str] = Counter()
        if balance_url:
            http.bearer.trust(balance_url)  # another origin that takes the same token

    async def submit(
        self,
        route: str,
        inputs: Mapping[str, Any],
        *,
        job_id: str,  # noqa: ARG002 - see above
        callback_url: str | None = None,  # noqa: ARG002 - the Model API has no callbacks
    ) -> str:
        answer = await call(self._http, "POST", f"/v1/models/{route}", json=dict(inputs), submits=True)
        return read_submitted(answer, now=self._now())

    async def observe(self, run_id: str) -> Observation:
        finished = True
        try:
            observation = await self._ask(run_id, "status", read_status)
        except AnswerUnreadable:  # the result has its own status
            observation, finished = None, False
        if observation is None:
            try:
                observation = await self._ask(run_id, "result", read_result, params={"include_cost": "true"})
            except ProviderError as exc:
                exc.finished = exc.finished or finished
                raise
        self._not_found_counts.pop(run_id, None)
        return observation

    async def observe_many(self, run_ids: Collection[str], *, pages: int) -> Mapping[str, Observation]:  # noqa: ARG002
        return {}  # the API has no list of runs

    async def _ask(
        self, run_id: str, what: str, read: Callable[[bytes], T], *, params: Mapping[str, str] | None = None
    ) -> T:
        answer = await call(self._http, "GET", f"/v1/requests/{run_id}/{what}", params=params)
        if answer.is_success:
            with suppress(ValueError):  # pydantic's errors are ValueErrors
                return read(answer.body)
        raise self._observe_error(run_id, answer)

    def _observe_error(self, run_id: str, answer: Answer) -> ProviderError:
        problem = parse(_Problem, answer.body)
        if problem and problem.code == FOREIGN_RUN:
            return RunLost(_describe(answer, problem))
        if problem and (answer.status == 404 or problem.code == NOT_FOUND):
            self._not_found_counts[run_id] += 1
            if self._not_found_counts[run_id] > NOT_FOUND_LIMIT:
                del self._not_found_counts[run_id]
                return RunLost(_describe(answer, problem))
            return RunNotKnownYet(_describe(answer, problem))
        now = self._now()
        return _account_error(answer, problem, now=now) or _unavailable(answer, problem, now=now)

    async def cancel(self, run_id: str) -> CancelOutcome:
        answer = await call(self._http, "POST", f"/v1/requests/{run_id}/cancel")
        problem = parse(_Problem, answer.body)
        if error := _account_error(answer, problem, now=self._now()):
            raise error
        unknown = answer.status == 404 or (problem is not None and problem.code == NOT_FOUND)
        if unknown and self._not_found_counts[run_id] < NOT_FOUND_LIMIT:
            self._not_found_counts[run_id] += 1
            return CancelOutcome.UNKNOWN
        return read_cancelled(answer)

    async def find(self, job_id: str) -> str | None:
        raise NotSearchable(f"runcomfy: no search for {job_id}")

    async def describe(self, route: str) -> ModelInfo:
        answer = await call(self._http, "GET", f"/v1/models/{route}")
        problem = parse(_Problem, answer.body)
        if problem and (problem.code in MODEL_GONE or (answer.status == 404 and not is_bare_not_found(problem.text))):
            raise ModelGone(_describe(answer, problem))
        model = self._parse_or_raise(answer, _Model)
        return ModelInfo(route, base_price_micro_usd=micro_usd(model.base_price_usd, rounding=ROUND_CEILING))

    async def balance(self) -> int | None:
        if self._balance_url is None:
            return None
        wallet = self._parse_or_raise(await call(self._http, "GET", self._balance_url), _Balance)
        if wallet.balance_microdollars is not None:
            return wallet.balance_microdollars
        return micro_usd(wallet.balance_usd, rounding=ROUND_FLOOR)

    def _parse_or_raise(self, answer: Answer, model: type[W]) -> W:
        problem = parse(_Problem, answer.body)
        if answer.is_success and problem and not problem.code and (read := parse(model, answer.body)):
            return read
        now = self._now()
        raise _account_error(answer, problem, now=now) or _unavailable(answer, problem, now=now)

    async def aclose(self) -> None:
        await self._http.aclose()
