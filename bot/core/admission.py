"""Decides whether a request for pictures is worked on now, waits, or is refused because its answer would come too late.

Requests are worked on in order of arrival, a few at a time, so that those ahead are finished before later ones begin.
Who would be answered too late by the rate of the last half second is refused at once; if the rate falls, those who came
last are refused first, so that the others are still answered in time.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bot.core.clock import Clock
from bot.core.jobs import SECOND

MIN_ACTIVE = 8  # requests that are worked on at the same time
ACTIVE_PERIOD = SECOND / 4  # in which those that are worked on would be finished: more would only delay the first ones
MAX_AGE = 2 * SECOND  # of a request whose card is ready to be sent: Discord waits three seconds
DEFAULT_RATE = 300.0  # requests a second, assumed while none waits: fewer than in bench/flight.py
RATE_PERIOD = SECOND / 2  # milliseconds; the weight of what was seen before falls to 1/e in it


@dataclass(eq=False, frozen=True, slots=True)
class Ticket:
    """A request that has entered; *decide* is called once: True to begin, False for a refusal."""

    received_at: int  # UTC milliseconds
    decide: Callable[[bool], None]


class Admission:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: set[Ticket] = set()
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()
        self._rate = DEFAULT_RATE  # finished requests a second while others wait
        self._rate_at = clock()

    def enter(self, received_at: int, decide: Callable[[bool], None]) -> Ticket:
        """Add a request, received at *received_at* (UTC milliseconds); *decide* may be called at once."""
        self._update_rate()
        ticket = Ticket(received_at, decide)
        self._waiting[ticket] = None
        self._decide()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Remove a request whose card is ready, or whose caller has given up; a refused one is ignored."""
        self._update_rate()
        if ticket in self._active:
            self._active.remove(ticket)
            self._rate += SECOND / RATE_PERIOD if self._waiting else 0
        else:
            self._waiting.pop(ticket, None)
        self._decide()

    def _decide(self) -> None:
        """Refuse the last ones that would be late, and begin with the first ones if there is room."""
        while self._waiting and self._would_be_late(
            last := next(reversed(self._waiting)), ahead=len(self._waiting) - 1
        ):
            del self._waiting[last]
            last.decide(False)
        while self._waiting and len(self._active) < max(MIN_ACTIVE, self._rate * ACTIVE_PERIOD / SECOND):
            first, _ = self._waiting.popitem(last=False)
            if admitted := not self._would_be_late(first, ahead=0):
                self._active.add(first)
            first.decide(admitted)

    def _would_be_late(self, ticket: Ticket, *, ahead: int) -> bool:
        """Whether *ticket* would be finished too late, with *ahead* of it waiting."""
        until_finished = (len(self._active) + ahead + 1) * SECOND / self._rate
        return self._clock() - ticket.received_at + until_finished > MAX_AGE

    def _update_rate(self) -> None:
        """Let the rate fall towards what finishes now; while none waits, let it return to the default."""
        now = self._clock()
        weight = math.exp(-max(0, now - self._rate_at) / RATE_PERIOD)
        at_rest = 0.0 if self._waiting else DEFAULT_RATE
        self._rate = max(1.0, at_rest + (self._rate - at_rest) * weight)
        self._rate_at = now
