"""A member's remaining quota and past usage."""

from collections.abc import Sequence
from datetime import date

from bot.core import quota
from bot.core.cards import granted, tightest
from bot.core.clock import Clock
from bot.core.jobs import Place
from bot.core.server_settings import ServerSettings
from bot.core.zones import calendar_of
from bot.store.history import History
from bot.store.queries import CardRecord, QuotaStatus
from bot.store.store import Store


class Usage:
    def __init__(self, store: Store, *, limits: quota.Limits, clock: Clock) -> None:
        self._store = store
        self._history = History(store.database)
        self._limits = limits
        self._clock = clock

    async def quota_status(self, place: Place) -> QuotaStatus:
        """Every limit that applies at *place*, how much of it is used, and the bonuses that are left."""
        return await self._store.quota_status(place, limits=self._limits, now=self._clock())

    async def card_record(self, job_id: str) -> CardRecord | None:
        """What the card of a job is drawn from; None if there is no such job."""
        return await self._store.card_record(job_id, limits=self._limits, now=self._clock())

    async def last_days(
        self, place: Place, server_settings: ServerSettings, *, days: int
    ) -> Sequence[tuple[date, quota.Amount]]:
        """What a member has used on each of the last *days* days of their server's calendar; the last is today."""
        today = calendar_of(server_settings).day(self._clock())
        return await self._history.last_days(place.server, place.user_id, today=today, days=days)


def left_of(status: QuotaStatus, *, price: int) -> tuple[quota.Allowance | None, quota.Amount]:
    """The member's tightest allowance for pictures at *price* (micro-dollars), and their bonus."""
    own = [each for each in status.limits if each.scope is quota.Scope.USER]
    return tightest(quota.allowances(own, status.used), price=price), granted(status.grants)
