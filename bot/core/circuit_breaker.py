"""Whether a host gets paid requests: all of them (closed), none (open), or one to see how it fares (half-open).

It opens when requests fail in a row, and at once when the host refuses us for our account's sake. Then something
free must be answered first, and after a while one paid request is let through: taken, it closes. What a member's
content is refused for says nothing about the host.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from bot.core.jobs import MINUTE, SECOND

OPENS_AFTER = 3  # failures in a row
LASTING = 1 * SECOND  # and not all of them in the same instant
FIRST_PAUSE = 1 * MINUTE  # before a paid request is tried again where that may cost something, doubled each time
LONGEST_PAUSE = 15 * MINUTE
LONGEST_TRIAL = 5 * MINUTE  # a paid request takes no longer


class Mode(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Streak:
    """Failures in a row, and when the first of them was."""

    count: int = 0
    since: int = 0

    def longer(self, now: int) -> "Streak":
        return Streak(self.count + 1, self.since if self.count else now)

    def lasts(self, now: int) -> bool:
        return self.count >= OPENS_AFTER and now - self.since >= LASTING


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """One host's. *outage* is why it is not closed: credentials, balance or down."""

    outage: str | None = None
    paid: Streak = Streak()  # submits
    free: Streak = Streak()  # everything else
    proof: bool = False  # only a paid request that is taken shows that all is well
    answered: bool = False  # something free, since the last failure
    pauses: int = 0
    paused_until: int = 0
    trial_until: int = 0  # by then a paid request that was let through has come to something

    @classmethod
    def remembered(cls, outage: str) -> Self:
        """As it is after a restart: whoever starts us may have put it right, so it is tried at once."""
        return cls(outage, proof=outage == "balance", answered=True)

    def mode(self, now: int) -> Mode:
        if self.outage is None:
            return Mode.CLOSED
        return Mode.HALF_OPEN if self.answered and now >= self.paused_until else Mode.OPEN

    def accepts(self, now: int) -> bool:
        """Whether a paid request may be sent now."""
        mode = self.mode(now)
        return mode is Mode.CLOSED or (mode is Mode.HALF_OPEN and now >= self.trial_until)

    def accepts_at(self, now: int) -> int | None:
        """When to look whether it admits one again, where only time stands between; None: it takes an answer."""
        return max(now, self.paused_until, self.trial_until) if self.answered else None

    # --- what happens

    def begin(self, now: int) -> Self:
        """A paid request is about to be sent."""
        return self if self.outage is None else replace(self, trial_until=now + LONGEST_TRIAL)

    def fail(self, now: int, *, paid: bool, unsure: bool = False) -> Self:
        """A request failed; *unsure*: a paid one may have been taken all the same, so the next one waits longer."""
        if paid:
            seen = replace(self, paid=self.paid.longer(now), answered=False, trial_until=0)
        else:
            seen = replace(self, free=self.free.longer(now), answered=False)
        if self.outage is None and not (seen.paid.lasts(now) or seen.free.lasts(now)):
            return seen
        seen = replace(seen, outage=self.outage or "down", proof=self.proof or paid)
        if not unsure or (now < self.paused_until and not self.trial_until):  # one outage, however many it hit
            return seen
        pause = min(LONGEST_PAUSE, FIRST_PAUSE << min(self.pauses, 10))
        return replace(seen, pauses=self.pauses + 1, paused_until=now + pause)

    def refuse_us(self, kind: str, now: int, *, paid: bool) -> Self:
        """The host takes nothing from us until the operator acts."""
        seen = replace(self, outage=kind, proof=self.proof or paid or kind == "balance", answered=False, trial_until=0)
        return replace(seen, paused_until=now + FIRST_PAUSE)  # it takes nothing, so asking again is free

    def answer(self) -> Self:
        """Something free was answered well."""
        if self.outage is not None and not self.proof:
            return type(self)()
        return replace(self, free=Streak(), answered=True)

    def judge(self) -> Self:
        """A paid request was refused or rejected for what it asked: the host is there, and took nothing."""
        return type(self)() if self.outage in (None, "down") else replace(self, paid=Streak(), trial_until=0)

    def take(self) -> Self:
        """A paid request was taken."""
        return type(self)()
