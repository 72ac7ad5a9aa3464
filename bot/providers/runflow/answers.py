"""What Runflow's answers mean, whatever their shape: all of its words stop here.

https://docs.runflow.io/concepts/runs and .../concepts/errors. Where the documents, their older versions and
Runflow's own clients disagree, all of them are understood.
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
from bot.providers.failures import Verdict, classify_text, in_short, is_about_content, told
from bot.providers.http import Answer, retry_after
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

QUEUED = frozenset({"queued", "pending", "dispatching"})
RUNNING = frozenset({"running", "processing", "in_progress"})
SUCCEEDED = frozenset({"succeeded", "completed", "partial_succeeded"})
CANCELLED = frozenset({"canceled", "cancelled"})  # one l in a run, two in its callback
FAILED = frozenset({"failed", "errored"})  # the second in Runflow's own scripts
WORDS = QUEUED | RUNNING | SUCCEEDED | CANCELLED | FAILED

CREDENTIALS = frozenset({"UNAUTHORIZED", "PERMISSION_DENIED", "EMAIL_NOT_VERIFIED"})
BALANCE = frozenset({"INSUFFICIENT_CREDIT", "INSUFFICIENT_CREDITS"})
BUSY = frozenset({"MODEL_UNAVAILABLE", "RATE_LIMITED"})
GONE = re.compile(r"MODEL_(NOT_FOUND|GONE|DELETED|DISABLED|DEPRECATED|RETIRED|ARCHIVED|INACTIVE)")

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class _Created(Wire):
    id: RunId = Field(validation_alias=AliasChoices("id", "run_id"))  # the second in Runflow's own scripts


class _Run(Wire):
    """A run's record. Any field may be missing or null, and the record holds the member's inputs as well."""

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
    def word(self) -> str:
        """Its status in lower case; empty where it has none."""
        return status_word(self.status_code) or status_word(self.status)

    @property
    def flagged(self) -> bool | None:
        """True: marked by the model's maker, False: cleared, None: not looked at."""
        flag = self.output.get("nsfw_detected") if isinstance(self.output, dict) else None
        return flag if isinstance(flag, bool) else None


class _Found(Wire):
    id: RunId
    client_ref: Any = None
    metadata: Any = None
    created_at: Any = None

    def is_for(self, job_id: str) -> bool:
        named = self.metadata.get("job_id") if isinstance(self.metadata, dict) else None
        return job_id in (self.client_ref, named)

    @property
    def age(self) -> tuple[float, str]:
        """Sorts the oldest first; ids tell the time too (UUIDv7)."""
        try:
            made = datetime.fromisoformat(told(self.created_at))
            return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp(), self.id
        except (ValueError, OverflowError):
            return float("inf"), self.id


class Page(Wire):
    items: list[Any]


class Model(Wire):
    deleted_at: Any = None


class Balance(Wire):
    balance_cents: Wealth = None
    balance: Wealth = Field(None, validation_alias=AliasChoices("balance_usd", "balance"))  # dollars
    items: "tuple[Balance, ...]" = ()

    @property
    def micro_usd(self) -> int | None:
        cents = self.balance_cents
        dollars = self.balance if cents is None else cents / 100
        if dollars is None and self.items:
            return self.items[0].micro_usd
        return micro_usd(dollars, rounding=ROUND_FLOOR)


class Problem(Wire):
    """The host's error envelope: by its documents at the top, by its own client inside `error`."""

    code: Any = None
    message: Any = None
    errors: Any = None
    error: Any = None
    detail: Any = None

    @property
    def name(self) -> str | None:
        """The host's own word for the error; a gateway's page or number is none."""
        inner = self.error.get("code") if isinstance(self.error, dict) else None
        words = (each for each in (self.code, inner) if isinstance(each, str))
        return next((each for each in words if re.fullmatch(r"[A-Z][A-Z0-9_]{2,63}", each)), None)

    @property
    def said(self) -> list[Any]:
        inner = self.error.get("errors") if isinstance(self.error, dict) else None
        return [self.code, self.message, self.errors, self.error, inner, self.detail]

    @property
    def text(self) -> str:
        return told(self.said)


def read_submitted(answer: Answer, *, now: int) -> str:
    """The run's id out of the answer to a paid submit, or the error that says what to do."""
    if answer.is_success and (taken := parse(_Created, answer.body)):
        return taken.id
    problem = parse(Problem, answer.body)
    raise _not_taken(answer, problem, now=now) or SubmitUnknown(describe_error(answer, problem))


def _not_taken(answer: Answer, problem: Problem | None, *, now: int) -> ProviderError | None:
    """The error of a submit that the host provably did not take: a 4xx, or a 503 in its own words.

    Not a 409: by the documents that is a duplicate or a race, so a run of ours may be there, and a search tells.
    """
    name = problem.name if problem else None
    busy = answer.status == 503 and name is not None
    if not busy and (answer.status == 409 or not 400 <= answer.status < 500):
        return None
    text = problem.text if problem else ""
    if answer.status == 403 and is_about_content(text):
        return ProviderRefused(describe_error(answer, problem))
    if error := _standing(answer, problem, now=now):
        return error
    if is_gone(answer, problem):
        return ModelGone(describe_error(answer, problem))
    verdict = classify_text(text)
    if busy or name in BUSY or (verdict is Verdict.TRANSIENT and answer.status == 400):
        return _unavailable(answer, problem, now=now)
    return (ProviderRefused if verdict is Verdict.REFUSED else ProviderRejected)(describe_error(answer, problem))


def is_gone(answer: Answer, problem: Problem | None) -> bool:
    """Whether the answer to a question about a model says that there is none."""
    name = (problem.name if problem else None) or ""
    return name not in BUSY and (answer.status in (404, 410) or GONE.fullmatch(name) is not None)


def _standing(answer: Answer, problem: Problem | None, *, now: int) -> ProviderError | None:
    """The errors that are about us or the moment, not about what was asked."""
    name = problem.name if problem else None
    if answer.status == 402 or name in BALANCE:
        return ProviderPaused(describe_error(answer, problem), kind="balance")
    if answer.status == 401 or name in CREDENTIALS or (answer.status == 403 and problem):
        return ProviderPaused(describe_error(answer, problem), kind="credentials")
    # A 403 without JSON is a firewall's page: one member's prompt may have called it up, so it pauses nothing.
    if answer.status in (408, 425, 429) or answer.status == 403:
        return _unavailable(answer, problem, now=now)
    return None


def _unavailable(answer: Answer, problem: Problem | None, *, now: int) -> ProviderUnavailable:
    return ProviderUnavailable(describe_error(answer, problem), retry_after=retry_after(answer.headers, now=now))


def describe_error(answer: Answer, problem: Problem | None) -> str:
    if problem is None:
        return f"runflow: HTTP {answer.status}, no readable answer"
    return f"runflow: HTTP {answer.status}, {in_short(*problem.said) or 'no reason we know'}"


def read_run(body: bytes) -> Observation:
    """What a run has come to. Its links are fresh, and die soon.

    `AnswerUnreadable` for an unknown form, `ValueError` for what is no JSON, or an error and no run.
    """
    value = read_json(body)
    run = _Run.model_validate(value) if isinstance(value, dict) else _Run()
    word = run.word
    cost = micro_usd(run.cost, rounding=ROUND_CEILING)
    if word in CANCELLED:
        return Observation(State.CANCELLED, cost_micro_usd=cost)
    if word in RUNNING:
        return Observation(State.RUNNING)
    if word not in SUCCEEDED | FAILED:
        return _pending(word, value)
    return _ended(run, word=word, cost=cost)


def _pending(word: str, value: object) -> Observation:
    if word not in WORDS:
        if isinstance(value, dict) and Problem.model_validate(value).name:
            raise ValueError("an error, not a run")
        if not word:
            raise AnswerUnreadable("runflow: an answer without a status", shape=shape(value))
        _wonder(word)
    return Observation(State.QUEUED)


@lru_cache(maxsize=256)  # once for each word
def _wonder(word: str) -> None:
    log.warning("Runflow reports a status we do not know", extra={"event": "status_unknown", "status": as_name(word)})


def _ended(run: _Run, *, word: str, cost: int | None) -> Observation:
    urls = read_pictures(run.output) if word in SUCCEEDED else ()  # of a failed one it may be an error in any shape
    if urls:
        return Observation(State.COLLECTING, image_urls=urls, flagged=run.flagged, cost_micro_usd=cost)
    if urls is None:
        raise AnswerUnreadable("runflow: no readable output", shape=shape(run.output), finished=True)
    why = (run.failure_code, run.failure_message, run.failure_reason, run.error)
    text = told(list(why))
    # Where it failed is for the operator: a stage may be called after moderation and fail for another reason.
    stage = told(run.failure_stage_code or run.failure_stage, in_codes=True)
    refused = run.flagged or classify_text(text) is Verdict.REFUSED
    return Observation(
        State.REFUSED if refused else State.FAILED,
        flagged=run.flagged,
        reason=f"{word}: {in_short(*why) or 'no picture, no reason'}" + (f" at {stage}" if stage else ""),
        cost_micro_usd=cost,
        empty=word in SUCCEEDED and not text,
    )


def read_found(page: Page, *, job_id: str) -> str | None:
    """The oldest run that bears our reference.

    Each is compared here: a host that overlooks the filter would hand us the runs of others.
    """
    runs = []
    for item in page.items:
        with suppress(ValidationError):
            runs.append(_Found.model_validate(item))
    ours = sorted((each for each in runs if each.is_for(job_id)), key=lambda each: each.age)
    return ours[0].id if ours else None


def trouble(answer: Answer, *, now: int) -> ProviderError:
    """The error of a question that was not answered; it costs nothing to ask it again."""
    problem = parse(Problem, answer.body)
    return _standing(answer, problem, now=now) or _unavailable(answer, problem, now=now)


def good(answer: Answer, model: type[W], *, now: int) -> W:
    """The answer as a *model*; `ProviderUnavailable` or `ProviderPaused` where it is none."""
    problem = parse(Problem, answer.body)
    if answer.is_success and problem and not problem.name and (read := parse(model, answer.body)):
        return read
    raise trouble(answer, now=now)
