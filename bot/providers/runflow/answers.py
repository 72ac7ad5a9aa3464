"""Reads Runflow's answers into observations and errors.

Sources: https://docs.runflow.io/concepts/runs and .../concepts/errors. Where the documentation, its older versions
and Runflow's own clients disagree, all forms are accepted.
"""

import logging
import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError

from bot.core.errors import (
    AnswerUnreadable,
    ModelGone,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    SubmitUnknown,
)
from bot.core.jobs import Observation, State
from bot.providers.failures import Verdict, classify_text, extract_text, is_about_content, summarize
from bot.providers.http import Answer, retry_after
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

QUEUED = frozenset({"queued", "pending", "dispatching"})
RUNNING = frozenset({"running", "processing", "in_progress"})
SUCCEEDED = frozenset({"succeeded", "completed", "partial_succeeded"})
CANCELLED = frozenset({"canceled", "cancelled"})  # one l in a run, two in its callback
FAILED = frozenset({"failed", "errored"})  # "errored" in Runflow's own scripts
STATUSES = QUEUED | RUNNING | SUCCEEDED | CANCELLED | FAILED

CREDENTIALS = frozenset({"UNAUTHORIZED", "PERMISSION_DENIED", "EMAIL_NOT_VERIFIED"})
BALANCE = frozenset({"INSUFFICIENT_CREDIT", "INSUFFICIENT_CREDITS"})
BUSY = frozenset({"MODEL_UNAVAILABLE", "RATE_LIMITED"})
MODEL_GONE = re.compile(r"MODEL_(NOT_FOUND|GONE|DELETED|DISABLED|DEPRECATED|RETIRED|ARCHIVED|INACTIVE)")

MAX_CURSOR = 1_000  # characters
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class _Created(Wire):
    id: RunId = Field(validation_alias=AliasChoices("id", "run_id"))  # "errored" in Runflow's own scripts


class _Run(Wire):
    """A run's record. Any field may be missing or null; the record also contains the member's inputs."""

    status_code: Any = None
    status: Any = None  # the older name
    output: Any = None
    cost: Dollars = None
    failure_code: Any = None
    failure_message: Any = None
    failure_reason: Any = None  # in Runflow's own scripts
    failure_stage_code: Any = None
    failure_stage: Any = None
    error: Any = None

    @property
    def status_text(self) -> str:
        """The status in lower case, "" if there is none."""
        return status_of(self.status_code) or status_of(self.status)

    @property
    def flagged(self) -> bool | None:
        """True: flagged by the model's maker, False: cleared, None: not checked."""
        flag = self.output.get("nsfw_detected") if isinstance(self.output, dict) else None
        return flag if isinstance(flag, bool) else None


class _SearchedRun(Wire):
    id: RunId
    client_ref: Any = None
    metadata: Any = None
    created_at: Any = None

    def is_for(self, job_id: str) -> bool:
        job_reference = self.metadata.get("job_id") if isinstance(self.metadata, dict) else None
        return job_id in (self.client_ref, job_reference)

    @property
    def age(self) -> tuple[float, str]:
        """Sort key, oldest first; the ids are UUIDv7 and sort by time too."""
        try:
            created = datetime.fromisoformat(extract_text(self.created_at))
            return (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp(), self.id
        except (ValueError, OverflowError):
            return float("inf"), self.id


class _ListedRun(Wire):
    id: RunId
    status_code: Any = None
    status: Any = None


class Page(Wire):
    items: list[Any]
    next_pq: Any = None

    @property
    def next_page(self) -> str | None:
        """The cursor of the next page; None on the last one."""
        return self.next_pq if isinstance(self.next_pq, str) and 0 < len(self.next_pq) <= MAX_CURSOR else None


class Model(Wire):
    deleted_at: Any = None


class Balance(Wire):
    balance_cents: SignedAmount = None
    balance: SignedAmount = Field(None, validation_alias=AliasChoices("balance_usd", "balance"))  # dollars
    items: "tuple[Balance, ...]" = ()

    @property
    def micro_usd(self) -> int | None:
        cents = self.balance_cents
        dollars = self.balance if cents is None else cents / 100
        if dollars is None and self.items:
            return self.items[0].micro_usd
        return micro_usd(dollars, rounding=ROUND_FLOOR)


class Problem(Wire):
    """Runflow's error envelope: at the top level in its documentation, inside `error` in its own client."""

    code: Any = None
    message: Any = None
    errors: Any = None
    error: Any = None
    detail: Any = None

    @property
    def name(self) -> str | None:
        """Runflow's error code in capitals; None for the page or number of a gateway."""
        inner = self.error.get("code") if isinstance(self.error, dict) else None
        codes = (each for each in (self.code, inner) if isinstance(each, str))
        return next((each for each in codes if re.fullmatch(r"[A-Z][A-Z0-9_]{2,63}", each)), None)

    @property
    def prose(self) -> list[Any]:
        inner = self.error.get("errors") if isinstance(self.error, dict) else None
        return [self.code, self.message, self.errors, self.error, inner, self.detail]

    @property
    def text(self) -> str:
        return extract_text(self.prose)


def read_submitted(answer: Answer, *, now: int) -> str:
    """Return the run's id from the answer to a paid submit, or raise the `ProviderError` that it stands for."""
    if answer.is_success and (created := parse(_Created, answer.body)):
        return created.id
    problem = parse(Problem, answer.body)
    raise _submit_error(answer, problem, now=now) or SubmitUnknown(describe_error(answer, problem))


def _submit_error(answer: Answer, problem: Problem | None, *, now: int) -> ProviderError | None:
    """The error of a submit that Runflow provably did not accept: a 4xx, or a 503 with an error code.

    Not a 409: by the documentation that is a duplicate or a race, so the run may exist and a search can find it.
    """
    name = problem.name if problem else None
    busy = answer.status == 503 and name is not None
    if not busy and (answer.status == 409 or not 400 <= answer.status < 500):
        return None
    text = problem.text if problem else ""
    if answer.status == 403 and is_about_content(text):
        return ProviderRefused(describe_error(answer, problem))
    if error := _account_error(answer, problem, now=now):
        return error
    if is_model_gone(answer, problem):
        return ModelGone(describe_error(answer, problem))
    verdict = classify_text(text)
    if busy or name in BUSY or (verdict is Verdict.TRANSIENT and answer.status == 400):
        return _unavailable(answer, problem, now=now)
    return (ProviderRefused if verdict is Verdict.REFUSED else ProviderRejected)(describe_error(answer, problem))


def is_model_gone(answer: Answer, problem: Problem | None) -> bool:
    """Return whether the answer to a request about a model says that it does not exist."""
    name = (problem.name if problem else None) or ""
    return name not in BUSY and (answer.status in (404, 410) or MODEL_GONE.fullmatch(name) is not None)


def _account_error(answer: Answer, problem: Problem | None, *, now: int) -> ProviderError | None:
    """Errors about the account or the current load, not about the request; None for all others."""
    name = problem.name if problem else None
    if answer.status == 402 or name in BALANCE:
        return ProviderPaused(describe_error(answer, problem), kind="balance")
    if answer.status == 401 or name in CREDENTIALS or (answer.status == 403 and problem):
        return ProviderPaused(describe_error(answer, problem), kind="credentials")
    # A 403 without JSON comes from a firewall. One prompt may have triggered it, so it must not pause the provider.
    if answer.status in (408, 425, 429) or answer.status == 403:
        return _unavailable(answer, problem, now=now)
    return None


def _unavailable(answer: Answer, problem: Problem | None, *, now: int) -> ProviderUnavailable:
    return ProviderUnavailable(describe_error(answer, problem), retry_after=retry_after(answer.headers, now=now))


def describe_error(answer: Answer, problem: Problem | None) -> str:
    if problem is None:
        return f"runflow: HTTP {answer.status}, unreadable answer"
    return f"runflow: HTTP {answer.status}, {summarize(*problem.prose) or 'no known reason'}"


def read_run(body: bytes) -> Observation:
    """Return a run's state. Its picture links were signed for this answer and expire soon.

    Raises `AnswerUnreadable` for an unknown form, `ValueError` for what is not JSON or an error envelope.
    """
    value = read_json(body)
    run = _Run.model_validate(value) if isinstance(value, dict) else _Run()
    status = run.status_text
    cost = micro_usd(run.cost, rounding=ROUND_CEILING)
    if status in CANCELLED:
        return Observation(State.CANCELLED, cost_micro_usd=cost)
    if status in RUNNING:
        return Observation(State.RUNNING)
    if status not in SUCCEEDED | FAILED:
        return _pending(status, value)
    return _ended(run, status=status, cost=cost)


def read_listed(page: Page) -> dict[str, Observation]:
    """Return the runs of a page that are queued or running. Others are asked for one by one, with all their fields."""
    found = {}
    for item in page.items:
        with suppress(ValidationError):
            run = _ListedRun.model_validate(item)
            status = status_of(run.status_code) or status_of(run.status)
            if status in QUEUED | RUNNING:
                found[run.id] = Observation(State.QUEUED if status in QUEUED else State.RUNNING)
    return found


def _pending(status: str, value: object) -> Observation:
    if status not in STATUSES:
        if isinstance(value, dict) and Problem.model_validate(value).name:
            raise ValueError("an error, not a run")
        if not status:
            raise AnswerUnreadable("runflow: an answer without a status", shape=shape(value))
        _warn_unknown_status(status)
    return Observation(State.QUEUED)


@lru_cache(maxsize=256)  # logs each status once
def _warn_unknown_status(status: str) -> None:
    log.warning("Runflow reports an unknown status", extra={"event": "status_unknown", "status": as_name(status)})


def _ended(run: _Run, *, status: str, cost: int | None) -> Observation:
    urls = read_pictures(run.output) if status in SUCCEEDED else ()  # a failed run's output may be an error of any form
    if urls:
        return Observation(State.COLLECTING, image_urls=urls, flagged=run.flagged, cost_micro_usd=cost)
    if urls is None:
        raise AnswerUnreadable("runflow: no readable output", shape=shape(run.output), finished=True)
    reasons = (run.failure_code, run.failure_message, run.failure_reason, run.error)
    text = extract_text(list(reasons))
    # The stage goes into the log only: one that is named after moderation may fail for another reason.
    stage = extract_text(run.failure_stage_code or run.failure_stage, codes_only=True)
    refused = run.flagged or classify_text(text) is Verdict.REFUSED
    return Observation(
        State.REFUSED if refused else State.FAILED,
        flagged=run.flagged,
        reason=f"{status}: {summarize(*reasons) or 'no picture, no reason'}" + (f" at {stage}" if stage else ""),
        cost_micro_usd=cost,
        empty=status in SUCCEEDED and not text,
    )


def read_search(page: Page, *, job_id: str) -> str | None:
    """Return the id of the oldest run whose reference is *job_id*, None if there is none.

    Every run is compared again: a server that ignores the filter returns other runs too.
    """
    runs = []
    for item in page.items:
        with suppress(ValidationError):
            runs.append(_SearchedRun.model_validate(item))
    matches = sorted((each for each in runs if each.is_for(job_id)), key=lambda each: each.age)
    return matches[0].id if matches else None


def read_error(answer: Answer, *, now: int) -> ProviderError:
    """Return the error for a failed free request, which may be repeated."""
    problem = parse(Problem, answer.body)
    return _account_error(answer, problem, now=now) or _unavailable(answer, problem, now=now)


def parse_or_raise(answer: Answer, model: type[W], *, now: int) -> W:
    """Parse the answer as a *model*. Raises `ProviderUnavailable` or `ProviderPaused` if it is not one."""
    problem = parse(Problem, answer.body)
    if answer.is_success and problem and not problem.name and (parsed := parse(model, answer.body)):
        return parsed
    raise read_error(answer, now=now)
