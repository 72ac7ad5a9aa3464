"""Builds the services and loops that process jobs from acceptance to delivery."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bot.core.cards import Picture
from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.jobs import Job
from bot.core.processes import Process, Role
from bot.core.quota import Limits
from bot.files.storage import PictureStorage
from bot.jobs.availability import Availability
from bot.jobs.changes import Changes, Topic
from bot.jobs.delivery import Delivery, Fitter, Messenger
from bot.jobs.drafts import Drafts
from bot.jobs.fair_queues import FairQueues
from bot.jobs.leases import Leases
from bot.jobs.poll_timing import PollTiming
from bot.jobs.privacy import Privacy
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.queue import Queue
from bot.jobs.requests import Requests
from bot.jobs.results import Checker, Fetcher, ResultDownloader
from bot.jobs.routing import Routing
from bot.jobs.schedule import Schedule
from bot.jobs.service import Jobs
from bot.jobs.steps import table
from bot.jobs.steps.check import CheckReferences
from bot.jobs.steps.confirm import FindReply
from bot.jobs.steps.context import StepContext
from bot.jobs.system_outages import Notify, Outages
from bot.jobs.usage import Usage
from bot.jobs.wakeups import Wakeups
from bot.jobs.worker import Worker
from bot.observability.metrics import Metrics
from bot.providers.base import Provider
from bot.store import drafts
from bot.store.favorites import Favorites
from bot.store.gallery import GalleryCopies
from bot.store.moderation import Moderation
from bot.store.notes import Notes
from bot.store.preferences import MemberPreferences
from bot.store.processes import Processes
from bot.store.provider_health import ProviderHealthRows
from bot.store.quotas import Quotas
from bot.store.reports import Reports
from bot.store.results import Results
from bot.store.store import Store
from bot.store.threads import Threads
from bot.store.tray import Trays


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Settings of jobs."""

    catalog: Catalog
    limits: Limits
    provider_names: Mapping[str, str]  # provider → its name for people, preferred first
    slots: Mapping[str, int]  # provider → how many runs it may have from us at a time
    result_hosts: Mapping[str, Sequence[str]]  # provider → internet hosts that its pictures may come from
    cdn_hosts: Sequence[str]  # internet hosts that references may come from
    converts: bool = False  # whether references that providers do not accept are converted
    polls_per_second: Mapping[str, float] = field(default_factory=dict)  # provider → how often it is polled at most
    ai_label: bool = False  # whether cards with pictures say that they are AI-generated
    blocked_words: Sequence[str] = ()  # that no prompt may contain


@dataclass(frozen=True, slots=True)
class Services:
    """The services for commands, buttons, callbacks and background checks."""

    requests: Requests
    jobs: Jobs
    drafts: Drafts
    usage: Usage
    store: Store
    quotas: Quotas
    reports: Reports
    notes: Notes
    favorites: Favorites
    gallery: GalleryCopies
    trays: Trays
    preferences: MemberPreferences
    privacy: Privacy
    results: Results
    moderation: Moderation
    threads: Threads
    queues: FairQueues
    poll_timing: PollTiming
    availability: Availability
    routing: Routing
    outages: Outages
    wakeups: Wakeups
    leases: Leases
    changes: Changes
    limits: Limits
    clock: Clock
    notify: Notify  # the operator

    @property
    def catalog(self) -> Catalog:
        """All configured models, also for the names, times and prices of old jobs."""
        return self.availability.catalog

    @property
    def offered(self) -> Catalog:
        """The models that may be requested now."""
        return self.availability.offered


@dataclass(frozen=True, slots=True)
class Outside:
    """Dependencies from other packages."""

    providers: Mapping[str, Provider]
    messenger: Messenger
    find_reply: FindReply
    notify: Notify  # the operator
    fetcher: Fetcher
    checker: Checker
    fitter: Fitter
    check_references: CheckReferences
    storage: PictureStorage  # of results and converted references
    callback_url: Callable[[Job], str | None]  # where a job's provider calls when its run has ended
    picture_link: Callable[[str, Picture], str | None]  # a picture's public address, None where there is none
    metrics: Metrics
    clock: Clock
    correct_clock: Callable[[int], None]  # towards the database's, UTC milliseconds
    random: Callable[[], float]  # jitter, from 0 to 1


@dataclass(frozen=True, slots=True)
class JobsRoom:
    services: Services
    health: ProviderHealth
    worker: Worker
    delivery: Delivery
    paying: AbstractSet[str]  # jobs whose paid request is in progress

    async def start(self, process: Process) -> None:
        """Enter *process* among those that run, and read what it keeps in memory."""
        await self.services.leases.start(process)
        await self.services.availability.start()
        await self.health.start()
        await self.services.preferences.load()
        await self.services.poll_timing.load()
        if Role.WORKER in process.roles:
            await self.worker.start()
        else:
            await self.services.queues.load()
            self.services.changes.on_reread(self.services.queues.load)


def build(store: Store, settings: JobSettings, outside: Outside) -> JobsRoom:
    clock, wakeups, notes = outside.clock, Wakeups(), Notes(store.database)
    outages = Outages(store.database, storage=outside.storage, clock=clock, notify=outside.notify)
    leases = Leases(store, Processes(store.database), outages=outages, clock=clock, correct_clock=outside.correct_clock)
    changes = Changes(store, leases, wakeups=wakeups, outages=outages)
    queues = FairQueues(store, outside.metrics, clock=clock)
    availability = Availability(
        store,
        notes,
        queues,
        changes,
        catalog=settings.catalog,
        providers=settings.provider_names,
        cancels=[name for name, each in outside.providers.items() if each.cancels],
        clock=clock,
        wakeups=wakeups,
        notify=outside.notify,
    )
    health = ProviderHealth(
        availability,
        outside.providers,
        rows=ProviderHealthRows(store.database),
        leases=leases,
        changes=changes,
        clock=clock,
    )
    routing = Routing(store, availability=availability, health=health, clock=clock)
    poll_timing = PollTiming(
        notes,
        catalog=settings.catalog,
        polls_per_second=settings.polls_per_second,
        workers=lambda: leases.workers,
        clock=clock,
    )
    poll_timing.on_learnt(lambda seen: changes.send(Topic.DURATION, seen))
    changes.on(Topic.DURATION, poll_timing.learn)
    context = StepContext(
        store=store,
        availability=availability,
        health=health,
        routing=routing,
        outages=outages,
        poll_timing=poll_timing,
        wakeups=wakeups,
        leases=leases,
        changes=changes,
        providers=outside.providers,
        results=_results(store, settings, outside),
        clock=clock,
        callback_url=outside.callback_url,
        random=outside.random,
    )
    services = _services(context, queues, settings, outside, notes=notes)
    delivery = Delivery(
        store,
        services.jobs,
        outside.messenger,
        fitter=outside.fitter,
        storage=outside.storage,
        link=outside.picture_link,
        preferences=services.preferences,
        gallery=services.gallery,
        outages=outages,
        wakeups=wakeups,
        leases=leases,
        changes=changes,
        clock=clock,
        random=outside.random,
    )
    worker = _worker(context, queues, settings, outside)
    return JobsRoom(services, health, worker, delivery, paying=context.memory.paying)


def _results(store: Store, settings: JobSettings, outside: Outside) -> ResultDownloader:
    return ResultDownloader(
        store,
        outside.fetcher,
        checker=outside.checker,
        result_hosts=settings.result_hosts,
        catalog=settings.catalog,
        storage=outside.storage,
        clock=outside.clock,
    )


def _services(
    at: StepContext, queues: FairQueues, settings: JobSettings, outside: Outside, *, notes: Notes
) -> Services:  # fmt: skip
    database = at.store.database
    preferences = MemberPreferences(database)
    preferences.on_language(lambda user_id, language: at.changes.send(Topic.LANGUAGE, [user_id, language]))
    at.changes.on(Topic.LANGUAGE, lambda value: preferences.set_language(*value))
    at.changes.on_reread(preferences.load)
    usage = Usage(at.store, limits=settings.limits, clock=at.clock)
    jobs = Jobs(
        at.store,
        availability=at.availability,
        queues=queues,
        poll_timing=at.poll_timing,
        usage=usage,
        wakeups=at.wakeups,
        clock=at.clock,
        ai_label=settings.ai_label,
    )
    requests = Requests(
        at.store,
        jobs,
        availability=at.availability,
        routing=at.routing,
        outages=at.outages,
        wakeups=at.wakeups,
        leases=at.leases,
        changes=at.changes,
        preferences=preferences,
        limits=settings.limits,
        cdn_hosts=settings.cdn_hosts,
        converts=settings.converts,
        blocked_words=settings.blocked_words,
        clock=at.clock,
    )
    return Services(
        requests=requests,
        jobs=jobs,
        drafts=Drafts(drafts.Drafts(database), availability=at.availability, clock=at.clock),
        usage=usage,
        store=at.store,
        quotas=Quotas(database),
        reports=Reports(database),
        notes=notes,
        favorites=Favorites(database),
        gallery=GalleryCopies(database),
        trays=Trays(database),
        preferences=preferences,
        privacy=Privacy(at.store, jobs, storage=outside.storage, wakeups=at.wakeups, clock=at.clock),
        results=Results(database),
        moderation=Moderation(database),
        threads=Threads(database),
        queues=queues,
        poll_timing=at.poll_timing,
        availability=at.availability,
        routing=at.routing,
        outages=at.outages,
        wakeups=at.wakeups,
        leases=at.leases,
        changes=at.changes,
        limits=settings.limits,
        clock=at.clock,
        notify=outside.notify,
    )


def _worker(at: StepContext, queues: FairQueues, settings: JobSettings, outside: Outside) -> Worker:
    schedule = Schedule(at.clock)
    queue = Queue(
        at.store,
        queues,
        schedule,
        availability=at.availability,
        health=at.health,
        routing=at.routing,
        outages=at.outages,
        leases=at.leases,
        changes=at.changes,
        clock=at.clock,
        slots=settings.slots,
    )
    steps = table.build(at, queue=queue, find_reply=outside.find_reply, check_references=outside.check_references)
    return Worker(
        at.store,
        schedule,
        steps=steps,
        queue=queue,
        wakeups=at.wakeups,
        leases=at.leases,
        changes=at.changes,
        outages=at.outages,
        metrics=outside.metrics,
        clock=at.clock,
        poll_timing=at.poll_timing,
        providers=at.providers,
    )
