"""What a job is, and every way it can change.

This module decides. It never waits, reads a clock or talks to anything, and no other module
may decide for it: the diagram in docs/jobs.md is drawn from NEXT. All times are UTC milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

ACK_WINDOW = 3 * SECOND  # Discord forgets an interaction that is not acknowledged by then
WAIT_LIMIT = 14 * MINUTE  # how long an accepted job may wait for a slot: its ending still finds a living token
FIND_LIMIT = 10 * MINUTE  # how long a lost submit is searched for
COLLECT_LIMIT = 30 * MINUTE  # how long finished pictures are fetched before the money goes back
WATCH_LIMIT = 24 * HOUR  # how long a run we gave up on may still bring a free picture


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
AT_HOST = frozenset({S.SUBMITTING, S.QUEUED, S.RUNNING})  # these take one of the host's slots


class Cancel(StrEnum):
    """How far a member's wish to cancel has come."""

    NONE = "none"
    WANTED = "wanted"
    ASKED = "asked"  # the host agreed; its next report decides
    TOO_LATE = "too_late"


class Step(StrEnum):
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


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture somebody wants changed. *expires_at* is when its link dies, where that is known.

    *fault* and *has_location* are what the check of the whole file found: the `UserError` that it came to, as its
    *key* and values, and whether the file says where it was taken.
    """

    url: str
    filename: str
    content_type: str | None = None
    size: int | None = None  # bytes
    expires_at: int | None = None
    fault: Mapping[str, object] | None = None
    has_location: bool = False


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a member asked for, checked against the catalogue; *options* holds only what the model has."""

    model: str
    verb: Verb
    prompt: str
    options: Mapping[str, str | int | bool]
    references: tuple[Reference, ...] = ()

    @property
    def count(self) -> int:
        return int(self.options.get("count", 1))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in Discord, and who. *guild_id* is None in direct messages."""

    user_id: int
    channel_id: int
    guild_id: int | None = None
    parent_id: int | None = None  # the channel that a thread belongs to
    installed: bool = True  # False where only the member has the bot, and not the server
    roles: tuple[int, ...] = ()  # the member's, when they asked

    @property
    def server(self) -> int:
        """The server whose limits hold and whose money is spent; 0 outside of all."""
        return self.guild_id if self.guild_id is not None and self.installed else 0

    @property
    def channels(self) -> tuple[int, ...]:
        """The channel, and the one it belongs to where it is a thread."""
        return (self.channel_id,) if self.parent_id is None else (self.channel_id, self.parent_id)

    @property
    def counted_channel(self) -> int:
        """The channel whose limits hold: a thread has none of its own."""
        return self.parent_id or self.channel_id


@dataclass(frozen=True, slots=True)
class Observation:
    """What a host says about a run, in our words. COLLECTING means its pictures are ready."""

    state: State
    position: int | None = None  # in the host's queue, 1 is next
    image_urls: tuple[str, ...] = ()
    flagged: bool | None = None  # the host's own not-safe-for-work mark
    reason: str | None = None  # for the log: our own words and the host's codes, never its prose
    empty: bool = False  # the run succeeded, and made no picture
    cost_micro_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Our durable record of one ImageRequest, as the store last saw it."""

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
    checked: bool = True  # False: the reference pictures are still to be checked
    submitted_at: int | None = None
    started_at: int | None = None
    run_id: str | None = None
    position: int | None = None
    cancel: Cancel = Cancel.NONE
    reason: str | None = None  # a message key, for states that need one
    images: int = 0  # pictures in hand
    flagged: bool = False
    watch_until: int | None = None
    ended_at: int | None = None
    parent_id: str | None = None
    deleted_at: int | None = None
    hidden_at: int | None = None  # the member does not want to see it, where it cannot be stopped

    @property
    def inputs_expire_at(self) -> int | None:
        times = [each.expires_at for each in self.request.references if each.expires_at is not None]
        return min(times) if times else None

    @property
    def deadline(self) -> int:
        """When we give up on what the job is doing now."""
        if self.state is S.ACCEPTED:
            waited = self.created_at + WAIT_LIMIT
            return min(waited, self.inputs_expire_at) if self.inputs_expire_at else waited
        if self.state is S.UNKNOWN:
            return self.changed_at + FIND_LIMIT
        if self.state is S.COLLECTING:
            return self.changed_at + COLLECT_LIMIT
        return (self.submitted_at or self.changed_at) + self.give_up_after


def is_news(job: Job, seen: Observation) -> bool:
    """Whether *seen* moves the job or its place in the queue. A late or repeated report does not, and is no error."""
    if seen.state in NEXT[job.state]:
        return True
    return seen.state is job.state is S.QUEUED and seen.position not in (None, job.position)


def next_step(job: Job, now: int) -> Step | None:
    """The one thing to do when this job's clock comes up; None: wait for somebody else."""
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
    if job.cancel is Cancel.WANTED:  # pressed while it was being sent, and the host did not take it
        return Step.CANCEL
    if now >= job.deadline:
        return Step.EXPIRE
    return Step.SUBMIT if job.checked else Step.CHECK
