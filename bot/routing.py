"""Finds the best host for a job that no host has taken yet.

A job may only move while it is provably nowhere: *accepted*, or just not taken. It moves to a host that makes all it
asks for, for no more than is reserved for it.
"""

from bot.core.jobs import Job
from bot.core.routes import Route
from bot.hosts import Hosts
from bot.service import Service
from bot.store.store import Store


class Routing:
    def __init__(self, store: Store, service: Service, *, hosts: Hosts) -> None:
        self._store = store
        self._service = service
        self._hosts = hosts
        self._refused: dict[str, set[str]] = {}  # job → the hosts that did not take it, this time round

    async def best(self, job: Job) -> Route | None:
        """The preferred route whose host is well, or where none is, the one the job has; None: no host makes it now."""
        routes = await self._possible(job)
        found = self._open(job, routes)
        if found is None and job.id in self._refused and (job.due_at or 0) <= self._service.clock():
            self.forget(job.id)  # it has waited long enough for another round
            found = self._open(job, routes)
        return found or _own(job, routes) or next(iter(routes), None)

    async def next(self, job: Job) -> Route | None:
        """Where to go at once with *job*, which its host did not take; None: all have been tried, it has to wait."""
        self._refused.setdefault(job.id, set()).add(job.provider)
        return self._open(job, await self._possible(job))

    async def later(self, job: Job) -> Route | None:
        """Where *job* may go in time, when its own host never will; None: no other host makes it."""
        refused = self._refused.get(job.id, set())
        return next((each for each in await self._possible(job) if each.provider not in refused), None)

    async def look_at(self, job: Job) -> int | None:
        """When a host that makes *job* may take something again, where that is a question of time."""
        times = [self._hosts.admits_at(each.provider) for each in await self._possible(job)]
        return min((each for each in times if each is not None), default=None)

    def forget(self, job_id: str) -> None:
        """A new round begins for a job, or none ever will."""
        self._refused.pop(job_id, None)

    def _open(self, job: Job, routes: tuple[Route, ...]) -> Route | None:
        refused = self._refused.get(job.id, set())
        return next(
            (each for each in routes if each.provider not in refused and self._hosts.admits(each.provider)), None
        )

    async def _possible(self, job: Job) -> tuple[Route, ...]:
        offered = self._service.offered
        routes = offered.takers(job.request)
        if all(_is_of(each, job) for each in routes) or (dossier := await self._store.dossier(job.id)) is None:
            return routes
        most = dossier.charge.price
        return tuple(each for each in routes if _is_of(each, job) or offered.quote(job.request, each).micro_usd <= most)


def _own(job: Job, routes: tuple[Route, ...]) -> Route | None:
    return next((each for each in routes if _is_of(each, job)), None)


def _is_of(route: Route, job: Job) -> bool:
    return (route.provider, route.id) == (job.provider, job.route)
