"""Finds the best host for a job that no host has taken yet.

A job may only move while it is provably nowhere: *accepted*, or just not taken. It moves to a host that makes all it
asks for, for no more than is reserved for it.
"""

from bot.core.jobs import Job
from bot.core.routes import Route
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.service import Service
from bot.store.store import Store


class Routing:
    def __init__(self, store: Store, service: Service, *, health: ProviderHealth) -> None:
        self._store = store
        self._service = service
        self._health = health
        self._refused: dict[str, set[str]] = {}  # job → the hosts that did not take it, this time round

    async def preferred(self, job: Job) -> Route | None:
        """The preferred route whose host is well, or where none is, the one the job has; None: no host makes it now."""
        found = await self._open(job)
        if found is None and job.id in self._refused and (job.due_at or 0) <= self._service.clock():
            self.forget(job.id)  # it has waited long enough for another round
            found = await self._open(job)
        if found is not None:
            return found
        routes = await self._possible(job)
        return next((each for each in routes if is_of(each, job)), next(iter(routes), None))

    async def fallback(self, job: Job) -> Route | None:
        """Where to go at once with *job*, which its host did not take; None: all have been tried, it has to wait."""
        self._refused.setdefault(job.id, set()).add(job.provider)
        return await self._open(job)

    async def eventual(self, job: Job) -> Route | None:
        """Where *job* may go in time, when its own host never will; None: no other host makes it."""
        refused = self._refused.get(job.id, set())
        return next((each for each in await self._possible(job) if each.provider not in refused), None)

    async def retry_at(self, job: Job) -> int | None:
        """When a host that makes *job* may take something again, where that is a question of time."""
        times = [self._health.accepts_at(each.provider) for each in await self._possible(job)]
        return min((each for each in times if each is not None), default=None)

    def forget(self, job_id: str) -> None:
        """A new round begins for a job, or none ever will."""
        self._refused.pop(job_id, None)

    async def _open(self, job: Job) -> Route | None:
        refused = self._refused.get(job.id, set())
        for each in self._service.offered.routes_for(job.request):
            well = each.provider not in refused and self._health.accepts(each.provider)
            if well and await self._may_cost(job, each):
                return each
        return None

    async def _possible(self, job: Job) -> list[Route]:
        return [each for each in self._service.offered.routes_for(job.request) if await self._may_cost(job, each)]

    async def _may_cost(self, job: Job, route: Route) -> bool:
        """Whether a host asks no more than is reserved; the books are read only for one that *job* is not at."""
        if is_of(route, job) or (record := await self._store.job_record(job.id)) is None:
            return True
        return self._service.offered.quote(job.request, route).micro_usd <= record.charge.price


def is_of(route: Route, job: Job) -> bool:
    """Whether *job* stands at *route* already."""
    return (route.provider, route.id) == (job.provider, job.route)
