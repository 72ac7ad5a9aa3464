"""What a reply says: the facts a card is drawn from, and which way it can still reach Discord."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bot.core.jobs import HOUR, MINUTE, SECOND, Job, State
from bot.core.quota import Allowance, Amount, Grant, Scope, Unit

TOKEN_LIFE = 15 * MINUTE  # Discord's, from the interaction
TOKEN_MARGIN = 20 * SECOND  # clocks differ and uploads take time
IN_JOBS_FOR = 24 * HOUR  # how long /jobs has what ended and was not shown
# What is the host's by now, as far as anybody knows: one that cannot stop it leaves a member no more than to hide it.
HIDEABLE = frozenset({State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING})
LAST_WORD = 13 * MINUTE  # a reply that only its token can reach says by then how to go on


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in hand: *file* is its name in the data folder."""

    n: int  # 1 is the first
    file: str
    type: str  # png | jpeg | webp
    width: int
    height: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Charge:
    """What the ledger says of one job. `reserved` stays what it was once the job has ended."""

    reserved: Amount
    settled: Amount | None = None
    released: Amount | None = None
    bonus: int = 0  # of these pictures, how many a bonus pays

    @property
    def price(self) -> int:
        """Micro-dollars of one picture."""
        return self.reserved.micro_usd // max(1, self.reserved.images)


@dataclass(frozen=True, slots=True)
class Reply:
    """Where a job's card is and how it can be reached. *token* is None once it has died."""

    job_id: str
    application_id: int
    channel_id: int
    guild_id: int | None
    message_id: int | None
    ephemeral: bool
    bot_can_edit: bool  # the bot itself sees the channel, and the reply is not ephemeral
    bot_can_post: bool
    filesize_limit: int  # bytes, this interaction's own
    locale: str
    wanted: int
    delivered: int
    token: str | None = None
    token_expires_at: int = 0
    gone: bool = False  # somebody deleted the message
    attempts: int = 0
    text_version: int = 0  # the newest version that was shown without its pictures
    notified: bool = False  # the member was told by a direct message, or takes none

    @property
    def last_word_at(self) -> int:
        """When a reply that only its token reaches has to say how to go on."""
        return self.token_expires_at - TOKEN_LIFE + LAST_WORD

    def token_lives(self, now: int) -> bool:
        return self.token is not None and now < self.token_expires_at - TOKEN_MARGIN


class ReplyPath(StrEnum):
    TOKEN = "token"  # noqa: S105 - the name of a route, not a secret
    CHANNEL = "channel"
    POST = "post"


def paths(reply: Reply, *, now: int, final: bool) -> tuple[ReplyPath, ...]:
    """The ways by which this reply can be changed now, best first. Empty: only a click or /jobs can."""
    if reply.gone:
        return ()
    open_paths = []
    if reply.message_id is not None and reply.token_lives(now):
        open_paths.append(ReplyPath.TOKEN)
    if reply.message_id is not None and reply.bot_can_edit and not reply.ephemeral:
        open_paths.append(ReplyPath.CHANNEL)
    if final and reply.bot_can_post and not reply.ephemeral and reply.delivered < reply.wanted:
        open_paths.append(ReplyPath.POST)
    return tuple(open_paths)


@dataclass(frozen=True, slots=True)
class Card:
    """Everything a reply is drawn from. Times are UTC milliseconds, money micro-dollars."""

    job: Job
    model: str  # the model's name for people
    provider: str  # the host's name for people
    charge: Charge
    estimated: bool  # the price is our estimate of the host's
    left: Allowance | None = None  # the member's tightest allowance of any window
    bonus: Amount = field(default_factory=Amount)  # what is left to the member beside it
    place: int | None = None  # in our own line, 1 is next
    trouble: str | None = None  # credentials | balance | down: why the host takes nothing at the moment
    blocked_host: str | None = None  # finished pictures lie on a host the operator has not allowed
    slow: bool = False  # past the soft deadline
    usual: tuple[int, int] | None = None  # seconds, from and to
    pictures: tuple[Picture, ...] = ()  # in hand and not deleted
    last_word: bool = False  # this reply cannot update itself any more
    withheld: bool = False  # Discord or the channel took no files: they wait in /jobs
    links: tuple[str, ...] = ()  # where pictures too large for Discord can be had
    ai_label: bool = False  # it says that a machine made the pictures
    hides: bool = False  # the host cannot stop what it has taken: that can only be hidden

    @property
    def started_at(self) -> int | None:
        return self.job.started_at

    @property
    def hidden(self) -> bool:
        """Whether the reply shows nothing of what is made."""
        return self.job.hidden_at is not None

    @property
    def in_jobs_until(self) -> int:
        """When /jobs forgets an ended job that was not shown."""
        return (self.job.ended_at or 0) + IN_JOBS_FOR

    def revealed(self) -> "Card":
        """The card as if the job were not hidden."""
        return replace(self, job=replace(self.job, hidden_at=None)) if self.hidden else self


def tightest(allowances: Iterable[Allowance], *, price: int) -> Allowance | None:
    """The one of a member's own allowances that lets through the fewest pictures at *price* micro-dollars."""

    def pictures(allowance: Allowance) -> float:
        if allowance.unit == Unit.MICRO_USD:
            return allowance.left // price if price else float("inf")
        return allowance.left

    own = [each for each in allowances if each.scope is Scope.USER and each.window is not None]
    return min(own, key=pictures, default=None)


def granted(grants: Iterable[Grant]) -> Amount:
    """What is left of *grants* together."""
    held = list(grants)
    return Amount(
        images=sum(each.left for each in held if each.unit is Unit.IMAGES),
        micro_usd=sum(each.left for each in held if each.unit is Unit.MICRO_USD),
    )
