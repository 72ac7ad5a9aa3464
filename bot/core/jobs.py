"""The job: its data, its states, the allowed transitions (`NEXT`) and the next step. Pure.

This is the only module that decides what happens to a job next. The diagram in docs/jobs.md is generated from `NEXT`.
All times are UTC milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Self

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

ACK_WINDOW = 3 * SECOND  # Discord's limit for acknowledging an interaction
WAIT_LIMIT = 14 * MINUTE  # for a slot, from acceptance: the interaction token is still valid when the job ends
FIND_LIMIT = 10 * MINUTE  # for finding the run of a submit whose answer was lost
COLLECT_LIMIT = 30 * MINUTE  # for downloading finished pictures before the reservation is refunded
WATCH_LIMIT = 24 * HOUR  # for which a run that timed out is still polled for a picture, at no charge to the member

PUNCTUATION = ",.;:!?"  # after a prompt without a space


class Verb(StrEnum):
    IMAGINE = "imagine"
    EDIT = "edit"


class State(StrEnum):
    ACCEPTED = "accepted"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    QUEUED = "queued"
    RUNNING = "running"
    COLLECTING = "collecting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not NEXT[self]


S = State
NEXT: Mapping[State, frozenset[State]] = {
    S.ACCEPTED: frozenset({S.SUBMITTING, S.FAILED, S.REFUSED, S.CANCELLED}),
    S.SUBMITTING: frozenset({S.ACCEPTED, S.QUEUED, S.UNKNOWN, S.FAILED, S.REFUSED}),
    S.UNKNOWN: frozenset({S.QUEUED, S.FAILED}),
    S.QUEUED: frozenset({S.RUNNING, S.COLLECTING, S.FAILED, S.REFUSED, S.CANCELLED}),
    S.RUNNING: frozenset({S.COLLECTING, S.FAILED, S.REFUSED, S.CANCELLED}),
    S.COLLECTING: frozenset({S.SUCCEEDED, S.FAILED, S.REFUSED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.REFUSED: frozenset(),
    S.CANCELLED: frozenset(),
}
SLOT_STATES = frozenset({S.SUBMITTING, S.QUEUED, S.RUNNING})  # each such job takes one of the provider's slots


class Cancel(StrEnum):
    """The progress of a member's cancellation."""

    NONE = "none"
    WANTED = "wanted"
    ASKED = "asked"  # the provider accepted it; the next observation decides
    TOO_LATE = "too_late"


class Step(StrEnum):
    """What is to be done to a job next."""

    CONFIRM = "confirm"
    EXPIRE = "expire"
    CHECK = "check"
    SUBMIT = "submit"
    RECOVER = "recover"
    FIND = "find"
    CANCEL = "cancel"
    POLL = "poll"
    COLLECT = "collect"
    GIVE_UP = "give_up"
    WATCH = "watch"


def message_address(server: int | None, channel: int, message: int | None) -> str:
    """Where a message is: `server/channel/message`, as at the end of its URL; `@me` for direct messages."""
    return f"{server or '@me'}/{channel}/{message}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture that a member wants changed. *expires_at* is when its link expires, where that is known.

    The last three are results of checking the whole file: *fault* is the `UserError` it failed with, as its *key* and
    values; *has_location*, whether the metadata that the provider gets has the location where it was taken;
    *converted_url*, our own link to the file that it was converted to.
    """

    url: str
    filename: str
    content_type: str | None = None
    size: int | None = None  # bytes
    expires_at: int | None = None
    fault: Mapping[str, object] | None = None
    has_location: bool = False
    converted_url: str | None = None

    @property
    def sent_url(self) -> str:
        """The link from which the provider gets the picture."""
        return self.converted_url or self.url

    @property
    def unchecked(self) -> Self:
        return replace(self, fault=None, has_location=False, converted_url=None)


@dataclass(frozen=True, slots=True)
class AppliedStyle:
    """A style as it was when the job was requested: its name, and its words before and after the prompt."""

    name: str
    before: str = ""
    after: str = ""

    def around(self, prompt: str) -> str:
        """*prompt* with the style's words, separated by a space unless punctuation follows."""
        before = f"{self.before} " if self.before else ""
        gap = " " if self.after and self.after[0] not in PUNCTUATION else ""
        return f"{before}{prompt}{gap}{self.after}"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a member asked for, validated against the catalogue; *options* has only options of the model.

    *prompt* is the member's own, without the words of the style.
    """

    model: str
    verb: Verb
    prompt: str
    options: Mapping[str, str | int | bool]
    references: tuple[Reference, ...] = ()
    style: AppliedStyle | None = None

    @property
    def sent_prompt(self) -> str:
        """The prompt that the provider gets."""
        return self.style.around(self.prompt) if self.style else self.prompt

    @property
    def count(self) -> int:
        return int(self.options.get("count", 1))


@dataclass(frozen=True, slots=True)
class Place:
    """A member and a place in Discord. *guild_id* is None in direct messages."""

    user_id: int
    channel_id: int
    guild_id: int | None = None
    parent_id: int | None = None  # a thread's channel
    installed: bool = True  # in the server; False where only the member has installed the bot
    roles: tuple[int, ...] = ()  # the member's, at the time of the request

    @property
    def server(self) -> int:
        """The server whose limits apply and count; 0 for direct messages and user installs."""
        return self.guild_id if self.guild_id is not None and self.installed else 0

    @property
    def channels(self) -> tuple[int, ...]:
        """The channel, followed by its parent where it is a thread."""
        return (self.channel_id,) if self.parent_id is None else (self.channel_id, self.parent_id)

    @property
    def counted_channel(self) -> int:
        """The channel whose limits apply and count: a thread counts as its parent."""
        return self.parent_id or self.channel_id


@dataclass(frozen=True, slots=True)
class Observation:
    """A provider's report about a run, in the terms of `State`. COLLECTING means that its pictures are ready."""

    state: State
    position: int | None = None  # in the provider's queue, 1 is next
    image_urls: tuple[str, ...] = ()
    flagged: bool | None = None  # the provider marked the pictures as not safe for work
    reason: str | None = None  # for the log: written by us, with the provider's codes, without its own text
    empty: bool = False  # the run succeeded without a picture
    cost_micro_usd: int | None = None


class Lease(NamedTuple):
    """By which a job and its reply belong to a process: its id, and a number that is higher for each later lease."""

    worker: int  # 0: nobody's
    number: int


NOBODYS = Lease(0, 0)


@dataclass(frozen=True, slots=True)
class Job:
    """The durable record of one ImageRequest, as last read from the store."""

    id: str
    place: Place
    request: ImageRequest
    provider: str
    route: str
    state: State
    created_at: int
    changed_at: int
    due_at: int | None
    give_up_after: int  # milliseconds from submission
    acked_at: int | None = None
    checked: bool = True  # False: the reference pictures have not been checked yet
    submitted_at: int | None = None
    started_at: int | None = None
    run_id: str | None = None
    position: int | None = None
    cancel: Cancel = Cancel.NONE
    reason: str | None = None  # a locale key, for states that need one
    images: int = 0  # downloaded pictures
    flagged: bool = False
    watch_until: int | None = None
    ended_at: int | None = None
    parent_id: str | None = None
    deleted_at: int | None = None
    hidden_at: int | None = None  # when the member hid the reply of a job that cannot be cancelled
    parent_picture: int | None = None  # which picture of the parent is edited
    source: str | None = None  # the `message_address` of that picture
    spoiler: bool = False  # the pictures are covered until they are clicked
    lease: Lease = NOBODYS
    version: int = 0  # of its row, higher with each change

    @property
    def inputs_expire_at(self) -> int | None:
        links = [each for each in self.request.references if each.converted_url is None]  # ours live longer than a job
        return min((each.expires_at for each in links if each.expires_at is not None), default=None)

    @property
    def deadline(self) -> int:
        """When the current state times out."""
        if self.state is S.ACCEPTED:
            waits_until = self.created_at + WAIT_LIMIT
            return min(waits_until, self.inputs_expire_at) if self.inputs_expire_at else waits_until
        if self.state is S.UNKNOWN:
            return self.changed_at + FIND_LIMIT
        if self.state is S.COLLECTING:
            return self.changed_at + COLLECT_LIMIT
        return (self.submitted_at or self.changed_at) + self.give_up_after


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What every process keeps in memory of a job that is not done: whose turn it is, and when something is due."""

    job_id: str
    version: int  # of its row: of two summaries, the one with the higher version is newer
    worker: int  # the process that it belongs to; 0: none
    provider: str
    state: State
    acknowledged: bool
    due_at: int | None  # UTC milliseconds
    user_id: int
    server: int  # 0 for direct messages and user installs
    created_at: int

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            job_id=job.id,
            version=job.version,
            worker=job.lease.worker,
            provider=job.provider,
            state=job.state,
            acknowledged=job.acked_at is not None,
            due_at=job.due_at,
            user_id=job.place.user_id,
            server=job.place.server,
            created_at=job.created_at,
        )

    @property
    def waits(self) -> bool:
        """Whether the job waits for a slot of its provider."""
        return self.state is S.ACCEPTED and self.acknowledged

    @property
    def has_slot(self) -> bool:
        return self.state in SLOT_STATES


def is_news(seen: Observation, *, state: State, position: int | None) -> bool:
    """Whether *seen* changes a job's state or its position in the provider's queue.

    False for late and repeated reports, which are not an error.
    """
    if seen.state in NEXT[state]:
        return True
    return seen.state is state is S.QUEUED and seen.position not in (None, position)


def next_step(job: Job, now: int) -> Step | None:
    """The step to run when the job is due; None where it waits for an event, or is done."""
    match job.state:
        case S.ACCEPTED:
            return _before_submit(job, now)
        case S.SUBMITTING:
            return Step.RECOVER
        case S.UNKNOWN:
            return Step.GIVE_UP if now >= job.deadline else Step.FIND
        case S.QUEUED | S.RUNNING:
            if now >= job.deadline:
                return Step.GIVE_UP
            return Step.CANCEL if job.cancel is Cancel.WANTED else Step.POLL
        case S.COLLECTING:
            return Step.GIVE_UP if now >= job.deadline else Step.COLLECT
        case _:
            watched = job.watch_until is not None and now < job.watch_until
            return Step.WATCH if watched else None


def _before_submit(job: Job, now: int) -> Step | None:
    if job.acked_at is None:
        return Step.CONFIRM if now >= job.created_at + ACK_WINDOW else None
    if job.cancel is Cancel.WANTED:  # cancelled during a submit that the provider did not accept
        return Step.CANCEL
    if now >= job.deadline:
        return Step.EXPIRE
    return Step.SUBMIT if job.checked else Step.CHECK
