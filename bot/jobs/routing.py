"""Finds the best provider for a request, at acceptance and for a job that no provider has accepted yet.

A job may only move while it is provably nowhere: *accepted*, or just not accepted by a provider. It moves to a provider
that supports all its options, for no more than is reserved for it.
"""

from bot.core.catalog import Catalog, Quote
from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Job
from bot.core.routes import Route
from bot.jobs.availability import Availability
from bot.jobs.provider_health import ProviderHealth
from bot.store.store import Store


class Routing:
    def __init__(self, store: Store, *, availability: Availability, health: ProviderHealth, clock: Clock) -> None:
        self._store = store
        self._availability = availability
        self._health = health
        self._clock = clock
        self._refused_by: dict[str, set[str]] = {}  # job → the providers that did not accept it in this round

    # --- a request that is no job yet

    def quote(self, request: ImageRequest) -> Quote:
        """What a picture of *request* would cost if it were accepted now."""
        return self._offered.quote(request, self.route(request))

    def route(self, request: ImageRequest) -> Route:
        """The preferred route whose provider is healthy; if none is, the most preferred, where the job waits.

        `UserError` where no provider has the model.
        """
        routes = self._offered.routes_for(request)
        if not routes:
            raise UserError("option.no_host")
        return next((each for each in routes if self._health.accepts(each.provider)), routes[0])

    # --- a waiting job

    async def preferred(self, job: Job) -> Route | None:
        """The preferred route whose provider is healthy, else the job's own; None: no provider has the model."""
        found = await self._open(job)
        if found is None and job.id in self._refused_by and (job.due_at or 0) <= self._clock():
            self.forget(job.id)  # it has waited long enough for another round
            found = await self._open(job)
        if found is not None:
            return found
        routes = await self._affordable(job)
        return next((each for each in routes if is_at(each, job)), next(iter(routes), None))

    async def fallback(self, job: Job) -> Route | None:
        """The route to try at once for *job*, which its provider did not accept; None: all were tried."""
        self._refused_by.setdefault(job.id, set()).add(job.provider)
        return await self._open(job)

    async def eventual(self, job: Job) -> Route | None:
        """The route for *job* later, if its own provider will never accept it; None if there is no other."""
        refused = self._refused_by.get(job.id, set())
        return next((each for each in await self._affordable(job) if each.provider not in refused), None)

    async def retry_at(self, job: Job) -> int | None:
        """When a provider may accept *job* again (UTC milliseconds); None if that time is unknown."""
        times = [self._health.accepts_at(each.provider) for each in await self._affordable(job)]
        return min((each for each in times if each is not None), default=None)

    def forget(self, job_id: str) -> None:
        """Forget which providers have not accepted a job: a new round starts, or the job has ended."""
        self._refused_by.pop(job_id, None)

    @property
    def _offered(self) -> Catalog:
        return self._availability.offered

    async def _open(self, job: Job) -> Route | None:
        refused = self._refused_by.get(job.id, set())
        for each in self._offered.routes_for(job.request):
            healthy = each.provider not in refused and self._health.accepts(each.provider)
            if healthy and await self._is_affordable(job, each):
                return each
        return None

    async def _affordable(self, job: Job) -> list[Route]:
        return [each for each in self._offered.routes_for(job.request) if await self._is_affordable(job, each)]

    async def _is_affordable(self, job: Job, route: Route) -> bool:
        """Whether a provider asks no more than is reserved. The ledger is read only for one that *job* is not at."""
        if is_at(route, job) or (record := await self._store.job_record(job.id)) is None:
            return True
        return self._offered.quote(job.request, route).micro_usd <= record.charge.price


def is_at(route: Route, job: Job) -> bool:
    """Whether *job* is queued at *route* already."""
    return (route.provider, route.id) == (job.provider, job.route)
