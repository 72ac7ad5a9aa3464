"""RunComfy's Model API: all of its words stop here. What we call a run, RunComfy calls a request.

https://docs.runcomfy.com/model-apis/async-queue-endpoints and .../model-apis/error-codes. Where the
documents and RunComfy's own clients disagree, both are understood.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
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
from bot.providers.failures import Verdict, classify_text, in_short, is_about_content, is_bare, told
from bot.providers.http import Answer, Client, call, retry_after, utc_now
from bot.providers.wire import (
    Dollars,
    W,
    Wealth,
    Wire,
    as_name,
    micro_usd,
    parse,
    read_json,
    read_pictures,
    shape,
    status_word,
)

log = logging.getLogger(__name__)

QUEUED = frozenset({"in_queue", "pending", "waiting"})
RUNNING = frozenset({"in_progress", "starting", "processing", "running"})
SUCCEEDED = frozenset({"succeeded", "completed"})
CANCELLED = frozenset({"cancelled", "canceled"})
TERMINAL = SUCCEEDED | CANCELLED | {"failed"}
WORDS = QUEUED | RUNNING | TERMINAL

CREDENTIALS = frozenset({400004, 401001})
BALANCE = frozenset({400002, 10001})
NOT_OURS = 403001
NOT_FOUND = 404001
GONE = frozenset({400001, NOT_FOUND})  # of a model
NAMED = CREDENTIALS | BALANCE | GONE | {NOT_OURS, 422001}

NOT_FOUND_LIMIT = 5  # a new request may not be known everywhere at once


class _Submitted(Wire):
    # The reply's *_url are not followed: a wrong one would be handed our token.
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class _Status(Wire):
    status: Any = None
    queue_position: Any = None


class _Result(Wire):
    """Besides this the host may echo the inputs, reference pictures too: only *output* holds pictures."""

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
    balance_usd: Wealth = None


class _Problem(Wire):
    """The host's error envelope; any field may be missing."""

    error_code: Any = None
    error_message: Any = None
    message: Any = None
    error: Any = None
    detail: Any = None

    @property
    def code(self) -> int | None:
        """The host's error number; 0 is none."""
        text = told(self.error_code)
        return int(text) or None if re.fullmatch(r"[0-9]{1,9}", text) else None

    @property
    def said(self) -> list[Any]:
        return [self.error_message, self.message, self.error, self.detail]

    @property
    def text(self) -> str:
        return told(self.said)


def read_submitted(answer: Answer, *, now: int) -> str:
    """The request id out of the answer to a paid submit, or the error that says what to do."""
    if answer.is_success and (taken := parse(_Submitted, answer.body)):
        return taken.request_id
    problem = parse(_Problem, answer.body)
    raise _not_taken(answer, problem, now=now) or SubmitUnknown(_told(answer, problem))


def _not_taken(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderError | None:
    """The error of a submit that the host provably did not take: a 4xx, its own 503, or a 200 that names an error."""
    code = problem.code if problem else None
    refusable = 400 <= answer.status < 500
    busy = answer.status == 503 and code is not None  # a gateway's 503 may have a message, but no number
    if not (refusable or busy or (answer.is_success and code in NAMED)):
        return None
    if answer.status == 403 and problem and is_about_content(problem.text):
        return ProviderRefused(_told(answer, problem))
    if error := _standing(answer, problem, now=now):
        return error
    if answer.status == 404 or code in GONE:
        return ModelGone(_told(answer, problem))
    verdict = classify_text(problem.text) if problem else Verdict.UNKNOWN
    if busy or (verdict is Verdict.TRANSIENT and answer.status == 400):
        return _unavailable(answer, problem, now=now)
    return (ProviderRefused if verdict is Verdict.REFUSED else ProviderRejected)(_told(answer, problem))


def _standing(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderError | None:
    """The errors that are about us or the moment, not about what was asked."""
    code = problem.code if problem else None
    if answer.status == 402 or code in BALANCE:
        return ProviderPaused(_told(answer, problem), kind="balance")
    if answer.status == 401 or code in CREDENTIALS or (answer.status == 403 and problem and code != NOT_OURS):
        return ProviderPaused(_told(answer, problem), kind="credentials")
    # A 403 without JSON is a firewall's page: one member's prompt may have called it up, so it pauses nothing.
    if answer.status in (408, 425, 429) or (answer.status == 403 and not problem):
        return _unavailable(answer, problem, now=now)
    return None


def _unavailable(answer: Answer, problem: _Problem | None, *, now: int) -> ProviderUnavailable:
    return ProviderUnavailable(_told(answer, problem), retry_after=retry_after(answer.headers, now=now))


def _told(answer: Answer, problem: _Problem | None) -> str:
    if problem is None:
        return f"runcomfy: HTTP {answer.status}, no readable answer"
    return f"runcomfy: HTTP {answer.status}, {in_short(problem.code, *problem.said) or 'no reason we know'}"


def read_status(body: bytes) -> Observation | None:
    """What a pending run's status says; None when only its result can tell.

    `AnswerUnreadable` for an unknown form, `ValueError` for what is no JSON, or an error and no run.
    """
    status, word = _known(_Status, body)
    if word in TERMINAL:
        return None
    if word in RUNNING:
        return Observation(State.RUNNING)
    place = status.queue_position if word in QUEUED else None
    return Observation(State.QUEUED, position=place if isinstance(place, int) and 0 < place < 1_000_000 else None)


def read_result(body: bytes) -> Observation:
    """What a run came to, by the result's own status and nothing else; errors as `read_status`.

    The status call says "completed" of failures too, and earlier than the result knows of it.
    """
    result, word = _known(_Result, body)
    cost = micro_usd(result.cost, rounding=ROUND_CEILING)
    if word in CANCELLED:
        return Observation(State.CANCELLED, cost_micro_usd=cost)
    if word not in TERMINAL:
        return Observation(State.RUNNING)
    why = (result.error, result.error_message, result.message)
    urls = read_pictures(result.output) if word in SUCCEEDED else ()
    if urls:
        return Observation(State.COLLECTING, image_urls=urls, cost_micro_usd=cost)
    if urls is None:
        raise AnswerUnreadable("runcomfy: no readable output", shape=shape(result.output), finished=True)
    text = told(list(why))
    return Observation(
        State.REFUSED if classify_text(text) is Verdict.REFUSED else State.FAILED,
        reason=f"{word}: {in_short(*why) or 'no picture, no reason'}",
        cost_micro_usd=cost,
        empty=word in SUCCEEDED and not text,
    )


def _known(model: type[S], body: bytes) -> tuple[S, str]:
    """*body*, and its status in lower case. An error envelope may have a status of its own: that is none of a run."""
    value = read_json(body)
    read = model.model_validate(value) if isinstance(value, dict) else model()
    word = status_word(read.status)
    if word not in WORDS:
        problem = parse(_Problem, body)
        if problem and problem.code:
            raise ValueError("an error, not a run")
        if not word:
            raise AnswerUnreadable("runcomfy: an answer without a status", shape=shape(value))
        _wonder(word)
    return read, word


@lru_cache(maxsize=256)  # once for each word
def _wonder(word: str) -> None:
    log.warning("RunComfy reports a status we do not know", extra={"event": "status_unknown", "status": as_name(word)})


def read_cancelled(answer: Answer) -> CancelOutcome:
    """Whether a cancel took hold. The documented example has `status: completed` beside `outcome: cancelled`."""
    problem = parse(_Problem, answer.body)
    if 400 <= answer.status < 500 or (answer.is_success and problem and problem.code):
        return CancelOutcome.TOO_LATE
    read = parse(_Cancelled, answer.body) if answer.is_success else None
    word = (status_word(read.outcome) or status_word(read.status)) if read else ""
    if word in CANCELLED or word == "cancellation_requested":
        return CancelOutcome.CANCELLED
    return CancelOutcome.TOO_LATE if word == "not_cancellable" or word in TERMINAL else CancelOutcome.UNKNOWN


class RunComfy:
    """RunComfy as a `Provider`. It takes no reference of ours, so an unanswered submit cannot be found again."""

    name = "runcomfy"
    searchable = False
    cancels = True

    def __init__(self, http: Client, *, balance_url: str | None = None, now: Callable[[], int] = utc_now) -> None:
        self._http = http
        self._balance_url = balance_url
        self._now = now
        self._missed: Counter[str] = Counter()
        if balance_url:
            http.bearer.trust(balance_url)  # the wallet has an address of its own, and the same token

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
            seen = await self._ask(run_id, "status", read_status)
        except AnswerUnreadable:  # the result has a status of its own
            seen, finished = None, False
        if seen is None:
            try:
                seen = await self._ask(run_id, "result", read_result, params={"include_cost": "true"})
            except ProviderError as exc:
                exc.finished = exc.finished or finished
                raise
        self._missed.pop(run_id, None)
        return seen

    async def _ask(
        self, run_id: str, what: str, read: Callable[[bytes], T], *, params: Mapping[str, str] | None = None
    ) -> T:
        answer = await call(self._http, "GET", f"/v1/requests/{run_id}/{what}", params=params)
        if answer.is_success:
            with suppress(ValueError):  # pydantic's errors are ValueErrors
                return read(answer.body)
        raise self._trouble(run_id, answer)

    def _trouble(self, run_id: str, answer: Answer) -> ProviderError:
        problem = parse(_Problem, answer.body)
        if problem and problem.code == NOT_OURS:
            return RunLost(_told(answer, problem))
        if problem and (answer.status == 404 or problem.code == NOT_FOUND):
            self._missed[run_id] += 1
            if self._missed[run_id] > NOT_FOUND_LIMIT:
                del self._missed[run_id]
                return RunLost(_told(answer, problem))
            return RunNotKnownYet(_told(answer, problem))
        now = self._now()
        return _standing(answer, problem, now=now) or _unavailable(answer, problem, now=now)

    async def cancel(self, run_id: str) -> CancelOutcome:
        answer = await call(self._http, "POST", f"/v1/requests/{run_id}/cancel")
        problem = parse(_Problem, answer.body)
        if error := _standing(answer, problem, now=self._now()):
            raise error
        unknown = answer.status == 404 or (problem is not None and problem.code == NOT_FOUND)
        if unknown and self._missed[run_id] < NOT_FOUND_LIMIT:
            self._missed[run_id] += 1
            return CancelOutcome.UNKNOWN
        return read_cancelled(answer)

    async def find(self, job_id: str) -> str | None:
        raise NotSearchable(f"runcomfy: no search for {job_id}")

    async def describe(self, route: str) -> ModelInfo:
        answer = await call(self._http, "GET", f"/v1/models/{route}")
        problem = parse(_Problem, answer.body)
        if problem and (problem.code in GONE or (answer.status == 404 and not is_bare(problem.text))):
            raise ModelGone(_told(answer, problem))
        model = self._good(answer, _Model)
        return ModelInfo(route, base_price_micro_usd=micro_usd(model.base_price_usd, rounding=ROUND_CEILING))

    async def balance(self) -> int | None:
        if self._balance_url is None:
            return None
        wallet = self._good(await call(self._http, "GET", self._balance_url), _Balance)
        if wallet.balance_microdollars is not None:
            return wallet.balance_microdollars
        return micro_usd(wallet.balance_usd, rounding=ROUND_FLOOR)

    def _good(self, answer: Answer, model: type[W]) -> W:
        problem = parse(_Problem, answer.body)
        if answer.is_success and problem and not problem.code and (read := parse(model, answer.body)):
            return read
        now = self._now()
        raise _standing(answer, problem, now=now) or _unavailable(answer, problem, now=now)

    async def aclose(self) -> None:
        await self._http.aclose()
