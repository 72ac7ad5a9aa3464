"""Which providers, models and prices are available right now, and who is notified when that changes."""

import asyncio
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.fair_queue import fair_order
from bot.core.jobs import Job
from bot.jobs.outages import Notify
from bot.jobs.wakeups import Wakeups
from bot.store.notes import Notes
from bot.store.provider_outages import ProviderOutages
from bot.store.store import Store

log = logging.getLogger(__name__)

GONE = "gone"  # a note: the routes that were not there when last looked at


class Availability:
    def __init__(
        self,
        store: Store,
        notes: Notes,
        *,
        catalog: Catalog,
        providers: Mapping[str, str],
        cancels: Collection[str],
        clock: Clock,
        wakeups: Wakeups,
        notify: Notify,
    ) -> None:
        """*providers*: the hosts we may use, preferred first, with names for people; *cancels*: who can stop a run."""
        self.catalog = catalog  # all that is configured: names, times and prices of old jobs
        self.gone: frozenset[tuple[str, str]] = frozenset()  # routes (provider and id) that their hosts do not have
        self.offered = catalog.at(tuple(providers))  # what may be asked for now
        self.outages: dict[str, str] = {}  # provider → credentials | balance | down
        self._blocked_hosts: dict[str, str] = {}  # job → internet host of its pictures that the settings do not allow
        self._store = store
        self._notes = notes
        self._provider_outages = ProviderOutages(store.database)
        self._providers = providers
        self._cancels = frozenset(cancels)
        self._clock = clock
        self._wakeups = wakeups
        self._notify = notify
        self._reported: set[tuple[str, str]] = set()  # providers, and what of theirs cannot be fetched or read
        self._changing = asyncio.Lock()  # of what is gone

    async def start(self) -> None:
        """Whoever starts us again may have put right what a host complained of: it is tried at once."""
        self.outages = await self._provider_outages.current()
        for provider in self.outages:
            await self._store.retry_waiting(provider, now=self._clock())
        known = {(provider, route) for provider in self._providers for route in self.catalog.routes_at(provider)}
        self._offer(known & {tuple(each) for each in json.loads(await self._notes.get(GONE) or "[]")})

    def name_of(self, provider: str) -> str:
        """A host's name for people."""
        return self._providers.get(provider, provider)

    def cancels(self, provider: str) -> bool:
        """Whether a host can ever stop a run."""
        return provider in self._cancels

    async def queue(self, provider: str) -> Sequence[str]:
        """Ids of the jobs that wait for a slot at *provider*, next first."""
        waiting, running = await self._store.queue(provider)
        return fair_order(waiting, running)

    async def wake_waiting(self) -> None:
        """Have every job that waits with us look which host is best for it now."""
        for provider in self._providers:
            for job_id in await self.queue(provider):
                self._wakeups.wake(job_id)

    # --- hosts

    async def report_outage(self, provider: str, outage: str) -> None:
        """A host takes nothing: cards say so and the operator is told once."""
        self.outages[provider] = outage
        if await self._provider_outages.begin(provider, outage, now=self._clock()):
            await self._notify(f"operator.{outage}", {"provider": self.name_of(provider)})
            await self._show_waiting(provider)
            await self.wake_waiting()  # another host may take what waits for this one

    async def report_recovery(self, provider: str) -> None:
        known = await self._provider_outages.end(provider)
        self.outages.pop(provider, None)
        if known:
            await self._notify("operator.recovered", {"provider": self.name_of(provider)})
            await self._show_waiting(provider)
            await self._store.retry_waiting(provider, now=self._clock())
            await self.wake_waiting()

    async def report_blocked_host(self, job: Job, host: str) -> None:
        """Finished pictures lie where the operator has not allowed us to fetch them."""
        if self._blocked_hosts.get(job.id) != host:
            self._blocked_hosts[job.id] = host
            await self._store.request_redraw([job.id], now=self._clock())
        if (job.provider, host) not in self._reported:
            self._reported.add((job.provider, host))
            told = {"host": host, "provider": self.name_of(job.provider), "setting": f"{job.provider}.result_hosts"}
            await self._notify("operator.result_host", told)

    def blocked_host_of(self, job_id: str) -> str | None:
        """The internet host that a finished job's pictures may not be downloaded from; None where there is none."""
        return self._blocked_hosts.get(job_id)

    def forget_blocked_host(self, job_id: str) -> None:
        self._blocked_hosts.pop(job_id, None)

    async def report_unreadable(self, provider: str, shape: str) -> None:
        """A job has ended because its host's answers are of a form that we do not know."""
        if (provider, shape) not in self._reported:
            self._reported.add((provider, shape))
            log.warning("Answers of %s cannot be read: %s", provider, shape, extra={"event": "answer_unreadable"})
            await self._notify("operator.unreadable", {"provider": self.name_of(provider)})

    async def _show_waiting(self, provider: str) -> None:
        await self._store.request_redraw(await self.queue(provider), now=self._clock())
        self._wakeups.replies.set()

    # --- models

    async def mark_route_gone(self, provider: str, route_id: str) -> None:
        """A host does not have a route any more: it is offered no longer, and the operator is told once."""
        await self._route_is(provider, route_id, gone=True)

    async def mark_route_back(self, provider: str, route_id: str) -> None:
        """A host has a route; the operator is told where it had not."""
        await self._route_is(provider, route_id, gone=False)

    async def _route_is(self, provider: str, route_id: str, *, gone: bool) -> None:
        async with self._changing:
            if ((provider, route_id) in self.gone) is gone:
                return
            now_gone = self.gone ^ {(provider, route_id)}
            await self._notes.set(GONE, json.dumps(sorted(now_gone)))
            self._offer(now_gone)
        models = ", ".join(self.catalog.routes_at(provider).get(route_id, ()))
        told = {"provider": self.name_of(provider), "model": models, "route": route_id}
        await self._notify("operator.model_gone" if gone else "operator.model_back", told)
        await self.wake_waiting()

    def _offer(self, gone: Iterable[tuple[str, str]]) -> None:
        self.gone = frozenset(gone)
        self.offered = self.catalog.at(tuple(self._providers), gone=self.gone)
