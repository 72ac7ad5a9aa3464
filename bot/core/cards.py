"""The data that a card is drawn from, and the paths by which a reply can still be edited."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bot.core.jobs import HOUR, MINUTE, SECOND, Job, State, message_address
from bot.core.quota import Allowance, Amount, Grant, Scope, Unit

TOKEN_LIFE = 15 * MINUTE  # Discord's limit, from the interaction
TOKEN_MARGIN = 20 * SECOND  # clocks differ and uploads take time
JOBS_LIST_RETENTION = 24 * HOUR  # how long /jobs lists an ended job whose reply does not show its result
# The provider has the request, or may have it. Where it cannot cancel a run, the member can only hide the reply.
HIDEABLE = frozenset({State.UNKNOWN, State.QUEUED, State.RUNNING, State.COLLECTING})
FINAL_EDIT_AFTER = 13 * MINUTE  # from the interaction; before the token dies, the reply says how to continue


@dataclass(frozen=True, slots=True)
class Picture:
    """A downloaded result picture; *file* is its name in the data folder."""

    n: int  # 1 is the first
    file: str
    type: str  # png | jpeg | webp
    width: int
    height: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Charge:
    """The ledger's amounts for one job. *reserved* does not change when the job ends."""

    reserved: Amount
    settled: Amount | None = None
    released: Amount | None = None
    bonus: int = 0  # how many of these pictures a bonus pays for

    @property
    def price(self) -> int:
        """Micro-dollars of one picture."""
        return self.reserved.micro_usd // max(1, self.reserved.images)


@dataclass(frozen=True, slots=True)
class Reply:
    """Where a job's card is shown, and how it can be edited. *token* is None once it has expired or was refused."""

    job_id: str
    application_id: int
    channel_id: int
    guild_id: int | None
    message_id: int | None
    ephemeral: bool
    bot_can_edit: bool  # the bot has access to the channel, and the reply is not ephemeral
    bot_can_post: bool
    filesize_limit: int  # bytes, as the interaction says
    locale: str
    wanted: int
    delivered: int
    token: str | None = None
    token_expires_at: int = 0
    gone: bool = False  # the message was deleted
    attempts: int = 0
    text_version: int = 0  # the newest version that was shown without its pictures
    notified: bool = False  # a direct message was sent to the member, or cannot be
    request_message: int | None = None  # the message that requested, which the card replies to; None: an interaction
    thread: bool = False  # the finished card gets a thread, which is not open yet

    @property
    def final_edit_at(self) -> int:
        """When a reply that only its token can edit must say how to continue, in UTC milliseconds."""
        return self.token_expires_at - TOKEN_LIFE + FINAL_EDIT_AFTER

    @property
    def address(self) -> str:
        """Its `message_address`."""
        return message_address(self.guild_id, self.channel_id, self.message_id)

    @property
    def is_public(self) -> bool:
        """Whether everybody in the channel sees the message, which was not deleted."""
        return not self.ephemeral and not self.gone

    def token_lives(self, now: int) -> bool:
        return self.token is not None and now < self.token_expires_at - TOKEN_MARGIN


class ReplyPath(StrEnum):
    """How a reply is updated: by its interaction token, as the bot in the channel, or as a new message."""

    TOKEN = "token"  # noqa: S105 - the name of a path, not a secret
    CHANNEL = "channel"
    POST = "post"


def paths(reply: Reply, *, now: int, final: bool) -> tuple[ReplyPath, ...]:
    """The paths by which this reply can be updated now, preferred first.

    Empty where only a click, which brings a new token, or /jobs can show the card.
    """
    if reply.gone:
        return ()
    available = []
    if reply.message_id is not None and reply.token_lives(now):
        available.append(ReplyPath.TOKEN)
    if reply.message_id is not None and reply.bot_can_edit and not reply.ephemeral:
        available.append(ReplyPath.CHANNEL)
    if final and reply.bot_can_post and not reply.ephemeral and reply.delivered < reply.wanted:
        available.append(ReplyPath.POST)
    return tuple(available)


@dataclass(frozen=True, slots=True)
class Card:
    """Everything a reply is drawn from. Times are UTC milliseconds, money micro-dollars."""

    job: Job
    model: str  # display name
    provider: str  # display name
    charge: Charge
    estimated: bool  # the provider publishes no price: this one is an estimate
    left: Allowance | None = None  # the member's tightest allowance of any window
    bonus: Amount = field(default_factory=Amount)  # the member's remaining bonus
    queue_position: int | None = None  # in the queue, 1 is next
    outage: str | None = None  # credentials | balance | down: the provider's outage
    blocked_host: str | None = None  # finished pictures are on an internet host that the operator has not allowed
    slow: bool = False  # past the soft deadline
    ready_at: int | None = None  # UTC milliseconds: when it is likely to be ready
    usual: tuple[float, float] | None = None  # how long such a job usually takes: seconds, from and to
    pictures: tuple[Picture, ...] = ()  # downloaded and not deleted
    final_edit: bool = False  # the reply will not be updated again by itself
    withheld: bool = False  # Discord or the channel accepted no files: /jobs has them
    by_rules: bool = False  # the server withholds pictures that the provider flagged: only /jobs has them
    links: tuple[str, ...] = ()  # to pictures that are too large for Discord
    ai_label: bool = False  # the card says that the pictures are AI-generated
    private: bool = False  # only its requester sees it
    prices: bool = False  # it shows prices although others see it, as the server wants it
    locale: str = "en"  # of its texts
    editable: bool = False  # a model that edits is offered
    larger: tuple[str, ...] = ()  # resolutions in which a picture can be made again, smallest first
    hide_only: bool = False  # the provider cannot cancel a submitted run: the reply can only be hidden

    @property
    def started_at(self) -> int | None:
        return self.job.started_at

    @property
    def hidden(self) -> bool:
        """Whether the member has hidden the reply: it does not show the result."""
        return self.job.hidden_at is not None

    @property
    def shows_prices(self) -> bool:
        return self.private or self.prices

    @property
    def spoiler(self) -> bool:
        """Whether the pictures are covered: their member, a moderator or the provider wants it."""
        return self.job.flagged or self.job.spoiler

    @property
    def listed_until(self) -> int:
        """When /jobs stops listing an ended job that was not shown, in UTC milliseconds."""
        return (self.job.ended_at or 0) + JOBS_LIST_RETENTION

    def revealed(self) -> "Card":
        """The card as its member alone sees it: as if the job were neither hidden nor withheld."""
        return replace(self, by_rules=False, job=replace(self.job, hidden_at=None))


def tightest(allowances: Iterable[Allowance], *, price: int) -> Allowance | None:
    """The member's own allowance that leaves room for the fewest pictures at *price* micro-dollars each."""

    def pictures(allowance: Allowance) -> float:
        if allowance.unit == Unit.MICRO_USD:
            return allowance.left // price if price else float("inf")
        return allowance.left

    own = [each for each in allowances if each.scope is Scope.USER and each.window is not None]
    return min(own, key=pictures, default=None)


def granted(grants: Iterable[Grant]) -> Amount:
    """The sum of what is left of *grants*, by unit."""
    all_grants = list(grants)
    return Amount(
        images=sum(each.left for each in all_grants if each.unit is Unit.IMAGES),
        micro_usd=sum(each.left for each in all_grants if each.unit is Unit.MICRO_USD),
    )
