"""Circuit breaker for one provider: pure state transitions.

Closed: paid requests are sent. Open: none is sent. Half-open: one is sent as a trial. The breaker opens when requests
fail in a row, and at once when the provider refuses the account. It is half-open after a free request has been answered
and the pause is over, and closes when a paid request is accepted. A request refused for its content does not count.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from bot.core.jobs import MINUTE, SECOND

OPENS_AFTER = 3  # failures in a row
MIN_STREAK = 1 * SECOND  # since the first of them, so that failures at the same instant do not open the breaker
FIRST_PAUSE = 1 * MINUTE  # before a paid request whose failure may be billed is tried again; doubled each time
MAX_PAUSE = 15 * MINUTE
TRIAL_TIMEOUT = 5 * MINUTE  # a paid request takes no longer


class Mode(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Streak:
    """Failures in a row, and the time of the first one in UTC milliseconds."""

    count: int = 0
    since: int = 0

    def extended(self, now: int) -> "Streak":
        return Streak(self.count + 1, self.since if self.count else now)

    def opens_breaker(self, now: int) -> bool:
        return self.count >= OPENS_AFTER and now - self.since >= MIN_STREAK


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The state of one provider's breaker. *outage* is why it is not closed: credentials, balance or down."""

    outage: str | None = None
    paid: Streak = Streak()  # submits
    free: Streak = Streak()  # everything else
    needs_paid_success: bool = False  # only an accepted paid request closes it
    answered: bool = False  # a free request has been answered since the last failure
    pauses: int = 0
    paused_until: int = 0
    trial_until: int = 0  # when a trial counts as ended, whatever its outcome

    @classmethod
    def restored(cls, outage: str) -> Self:
        """The state after a restart: half-open, because the operator may have fixed *outage* before starting."""
        return cls(outage, needs_paid_success=outage == "balance", answered=True)

    def dump(self) -> dict[str, Any]:
        """What `load` takes, as JSON can have it."""
        return asdict(self)

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> Self:
        return cls(**{**dumped, "paid": Streak(**dumped["paid"]), "free": Streak(**dumped["free"])})

    def mode(self, now: int) -> Mode:
        if self.outage is None:
            return Mode.CLOSED
        return Mode.HALF_OPEN if self.answered and now >= self.paused_until else Mode.OPEN

    def accepts(self, now: int) -> bool:
        """Whether a paid request may be sent now."""
        mode = self.mode(now)
        return mode is Mode.CLOSED or (mode is Mode.HALF_OPEN and now >= self.trial_until)

    def accepts_at(self, now: int) -> int | None:
        """When a paid request may be sent, in UTC milliseconds; None where a free request must be answered first."""
        return max(now, self.paused_until, self.trial_until) if self.answered else None

    # --- transitions

    def on_submit(self, now: int) -> Self:
        """A paid request is about to be sent."""
        return self if self.outage is None else replace(self, trial_until=now + TRIAL_TIMEOUT)

    def on_failed(self, now: int, *, paid: bool, unsure: bool = False) -> Self:
        """A request failed; *unsure*: a paid request may have been accepted all the same, so the pause doubles."""
        if paid:
            failed = replace(self, paid=self.paid.extended(now), answered=False, trial_until=0)
        else:
            failed = replace(self, free=self.free.extended(now), answered=False)
        if self.outage is None and not (failed.paid.opens_breaker(now) or failed.free.opens_breaker(now)):
            return failed
        opened = replace(
            failed, outage=self.outage or "down", needs_paid_success=self.needs_paid_success or paid
        )  # fmt: skip
        if not unsure or (now < self.paused_until and not self.trial_until):  # concurrent failures are one outage
            return opened
        pause = min(MAX_PAUSE, FIRST_PAUSE << min(self.pauses, 10))
        return replace(opened, pauses=self.pauses + 1, paused_until=now + pause)

    def on_account_refused(self, kind: str, now: int, *, paid: bool) -> Self:
        """The provider refuses the account until the operator acts; *kind* is `credentials` or `balance`."""
        needs_paid_success = self.needs_paid_success or paid or kind == "balance"
        opened = replace(
            self, outage=kind, needs_paid_success=needs_paid_success, answered=False, trial_until=0
        )  # fmt: skip
        return replace(opened, paused_until=now + FIRST_PAUSE)  # not doubled: a request that is refused is not billed

    def on_answered(self) -> Self:
        """A free request was answered."""
        if self.outage is not None and not self.needs_paid_success:
            return type(self)()
        if self.answered and self.free == Streak():  # every poll asks
            return self
        return replace(self, free=Streak(), answered=True)

    def on_refused(self) -> Self:
        """The provider refused or rejected a paid request for its content: it is reachable, and billed nothing."""
        return type(self)() if self.outage in (None, "down") else replace(self, paid=Streak(), trial_until=0)

    def on_accepted(self) -> Self:
        """A paid request was accepted."""
        return type(self)()
