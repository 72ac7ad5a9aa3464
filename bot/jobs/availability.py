"""Which providers, models and prices are available right now, and who is notified when that changes."""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.jobs import Job
from bot.jobs.changes import Changes, Topic
from bot.jobs.fair_queues import FairQueues
from bot.jobs.system_outages import Notify
from bot.jobs.wakeups import Wakeups
from bot.store.notes import Notes
from bot.store.provider_outages import ProviderOutage, ProviderOutages
from bot.store.store import Store

log = logging.getLogger(__name__)

GONE = "gone"  # the note that lists routes that were missing at the last check


class Availability:
    def __init__(
        self,
        store: Store,
        notes: Notes,
        queues: FairQueues,
        changes: Changes,
        *,
        catalog: Catalog,
        providers: Mapping[str, str],
        cancels: Collection[str],
        clock: Clock,
        wakeups: Wakeups,
        notify: Notify,
    ) -> None:
        """*providers*: those in use, preferred first, with names for people; *cancels*: those that can stop a run."""
        self.catalog = catalog  # all configured models, also for the names, times and prices of old jobs
        self.gone: frozenset[tuple[str, str]] = (
            frozenset()
        )  # routes (provider and id) that their provider no longer has
        self.offered = catalog.for_providers(tuple(providers))  # what may be requested now
        self.outages: dict[str, str] = {}  # provider → credentials | balance | down
        self._blocked_hosts: dict[str, str] = {}  # job → internet host of its pictures that the settings do not allow
        self._store = store
        self._notes = notes
        self._queues = queues
        self._changes = changes
        self._provider_outages = ProviderOutages(store.database)
        self._providers = providers
        self._cancels = frozenset(cancels)
        self._clock = clock
        self._wakeups = wakeups
        self._notify = notify
        self._reported: set[tuple[str, str]] = (
            set()
        )  # providers with the internet host or answer that the operator was notified of
        self._begun_at = clock()
        changes.on_reread(self.load)

    async def start(self) -> None:
        """Load outages and missing routes. Waiting jobs retry at once: the operator may have solved the problem."""
        await self.load()
        for provider in self.outages:
            await self._store.retry_waiting(provider, now=self._clock())

    async def load(self) -> None:
        """Load outages and missing routes."""
        self.outages = {provider: each.kind for provider, each in (await self.recorded_outages()).items()}
        known = {(provider, route) for provider in self._providers for route in self.catalog.routes_at(provider)}
        self._offer(known & _routes(await self._notes.get(GONE)))

    @property
    def providers(self) -> Sequence[str]:
        """Those in use, preferred first."""
        return tuple(self._providers)

    async def recorded_outages(self) -> Mapping[str, ProviderOutage]:
        """The outage of every provider that has one, with its beginning."""
        return await self._provider_outages.current()

    def name_of(self, provider: str) -> str:
        """A provider's name for people."""
        return self._providers.get(provider, provider)

    def cancels(self, provider: str) -> bool:
        """Whether the provider can stop a run."""
        return provider in self._cancels

    def wake_waiting(self) -> None:
        """Have every waiting job choose its provider again."""
        for provider in self._queues.providers:
            for job_id in self._queues.of(provider).waiting:
                self._wakeups.wake(job_id)

    # --- providers

    async def report_outage(self, provider: str, outage: str) -> None:
        """A provider accepts nothing (credentials, balance, down): cards say so, the operator is notified once."""
        self.outages[provider] = outage
        if await self._provider_outages.begin(provider, outage, now=self._clock()):
            await self._notify(f"operator.{outage}", {"provider": self.name_of(provider)})
            await self._redraw_waiting(provider)
            self.wake_waiting()  # another provider may take what waits for this one

    async def report_recovery(self, provider: str) -> None:
        """A provider accepts requests again: waiting jobs retry now, and the operator is notified."""
        known = await self._provider_outages.end(provider)
        self.outages.pop(provider, None)
        if known:
            await self._notify("operator.recovered", {"provider": self.name_of(provider)})
            await self._redraw_waiting(provider)
            await self._store.retry_waiting(provider, now=self._clock())
        self.wake_waiting()

    def adopt_outage(self, provider: str, outage: str | None) -> None:
        """Another process has reported an outage of a provider, or for None its recovery."""
        if outage is None:
            self.outages.pop(provider, None)
        else:
            self.outages[provider] = outage

    async def report_blocked_host(self, job: Job, host: str) -> None:
        """Finished pictures are on an internet host that the settings do not allow; the operator is notified once."""
        if self._blocked_hosts.get(job.id) != host:
            self._blocked_hosts[job.id] = host
            await self._store.request_redraw([job.id], now=self._clock())
        if await self._is_news(job.provider, host):
            setting = f"{job.provider}.result_hosts"
            values = {"host": host, "provider": self.name_of(job.provider), "setting": setting}
            await self._notify("operator.result_host", values)

    def blocked_host_of(self, job_id: str) -> str | None:
        """The internet host that a finished job's pictures may not be downloaded from; None where there is none."""
        return self._blocked_hosts.get(job_id)

    def forget_blocked_host(self, job_id: str) -> None:
        self._blocked_hosts.pop(job_id, None)

    async def report_unreadable(self, provider: str, shape: str) -> None:
        """A job has ended because its provider's answers have an unknown form; the operator is notified once."""
        if await self._is_news(provider, shape):
            log.warning("Answers of %s cannot be read: %s", provider, shape, extra={"event": "answer_unreadable"})
            await self._notify("operator.unreadable", {"provider": self.name_of(provider)})

    async def _is_news(self, provider: str, what: str) -> bool:
        """Whether no process has notified the operator of it since this one began."""
        if (provider, what) in self._reported:
            return False
        self._reported.add((provider, what))
        return await self._notes.set_if_older(f"reported:{provider}:{what}", now=self._clock(), before=self._begun_at)

    async def _redraw_waiting(self, provider: str) -> None:
        await self._store.request_redraw(self._queues.of(provider).waiting, now=self._clock())
        self._wakeups.replies.set()

    # --- models

    async def mark_route_gone(self, provider: str, route_id: str) -> None:
        """A provider no longer has a route: it is not offered any more, and the operator is notified once."""
        await self._set_route(provider, route_id, gone=True)

    async def mark_route_back(self, provider: str, route_id: str) -> None:
        """A provider has a route; the operator is notified if it was missing."""
        await self._set_route(provider, route_id, gone=False)

    async def _set_route(self, provider: str, route_id: str, *, gone: bool) -> None:
        if ((provider, route_id) in self.gone) is gone:
            return
        changed = False

        def change(value: str | None) -> str:
            nonlocal changed
            known = _routes(value)
            changed = ((provider, route_id) in known) is not gone
            return json.dumps(sorted(known ^ {(provider, route_id)} if changed else known))

        self._offer(_routes(await self._notes.change(GONE, change)))
        if not changed:  # another process was first
            return
        self._changes.send(Topic.EVERYTHING, None)
        models = ", ".join(self.catalog.routes_at(provider).get(route_id, ()))
        values = {"provider": self.name_of(provider), "model": models, "route": route_id}
        await self._notify("operator.model_gone" if gone else "operator.model_back", values)
        self.wake_waiting()

    def _offer(self, gone: Iterable[tuple[str, str]]) -> None:
        self.gone = frozenset(gone)
        self.offered = self.catalog.for_providers(tuple(self._providers), gone=self.gone)


def _routes(note: str | None) -> set[tuple[str, str]]:
    """The routes (provider and id) that the note lists."""
    return {(provider, route_id) for provider, route_id in json.loads(note or "[]")}
