"""Builds everything once, hands it what it needs, runs it, and stops it in order."""

import asyncio
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bot.core.clock import Clock
from bot.core.jobs import Job
from bot.files.modes import make_folder, tighten
from bot.jobs.availability import Availability
from bot.jobs.delivery import Delivery
from bot.jobs.outages import Outages
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.reference_check import ReferenceChecker
from bot.jobs.results import ResultDownloader
from bot.jobs.routing import Routing
from bot.jobs.service import Service
from bot.jobs.steps.poll import Steps
from bot.jobs.wakeups import Wakeups
from bot.jobs.worker import Worker
from bot.maintenance.audit import LedgerAudit
from bot.maintenance.provider_checks import ProviderChecks
from bot.maintenance.retention import OURS, Retention, remove_files
from bot.observability.metrics import Metrics
from bot.pictures import guard
from bot.pictures.pool import PicturePool
from bot.providers import http
from bot.providers.base import Provider
from bot.providers.download import Downloader
from bot.providers.measured import Measured
from bot.providers.runcomfy.client import RunComfy
from bot.providers.runflow.client import Runflow
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings
from bot.store.connect import database_files, open_database
from bot.store.database import DATABASE_ERRORS
from bot.store.notes import Notes
from bot.store.store import Store
from bot.ui.cards.texts import Texts
from bot.ui.cards.texts import load as load_texts
from bot.ui.client import DarkroomClient, connect_to
from bot.ui.interactions.access import Access
from bot.ui.transport import gateway
from bot.ui.transport.messenger import DiscordMessenger
from bot.ui.transport.operator_channel import OperatorChannel
from bot.web import server
from bot.web.callbacks import CallbackLinks, Callbacks
from bot.web.health import Health, Pulse
from bot.web.listener import Listener
from bot.web.metrics import Page

log = logging.getLogger(__name__)

DRAIN = 8.0  # seconds that replies get to go out when the program is told to stop
HOST_NAMES = {"runcomfy": "RunComfy", "runflow": "Runflow"}


def steady_clock() -> Clock:
    """UTC milliseconds that never jump: the wall clock of this moment, carried on by the monotonic one."""
    offset = time.time() - time.monotonic()
    return lambda: int((offset + time.monotonic()) * 1000)


@dataclass(frozen=True, slots=True)
class App:
    """Everything built and nothing running; `working` sets it going."""

    settings: Settings
    client: DarkroomClient
    service: Service
    worker: Worker
    delivery: Delivery
    janitor: Retention
    auditor: LedgerAudit
    inspector: ProviderChecks
    pulse: Pulse
    outages: Outages
    site: web.Application

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
        """Run the loops, which it yields, and the web server; on the way out, let replies go out first."""
        stop = asyncio.Event()
        listener = await self._serve()
        await self.service.availability.start()
        await self.worker.start()
        busy = (self.worker, self.delivery, self.janitor, self.auditor, self.inspector, self.pulse, self.outages)
        tasks = [asyncio.create_task(each.run(stop)) for each in busy]
        try:
            yield tasks
        finally:
            stop.set()
            self.service.wakeups.worker.set()
            self.service.wakeups.replies.set()
            self.outages.wake.set()
            await asyncio.wait(tasks, timeout=DRAIN)
            with suppress(*DATABASE_ERRORS):  # what is not sent now goes out at the next start
                await self.delivery.drain(seconds=DRAIN / 2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await listener.close()

    async def _serve(self) -> Listener:
        listener, section = Listener(self.site), self.settings.web
        try:
            address = await listener.start(section.host, section.port)
        except (OSError, ValueError) as exc:  # no name that could be looked up, for one
            number = exc.errno or 0 if isinstance(exc, OSError) else 0
            why = os.strerror(number) if number > 0 else "no such host"
            where = f"{section.host}, port {section.port}"
            change = "change DARKROOM_WEB__HOST or DARKROOM_WEB__PORT"
            raise BadSettings(f"the web server cannot listen on {where} ({why}): {change}") from exc
        log.info("Health is at http://%s:%s/healthz", *address, extra={"event": "web_up"})
        return listener


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """Everything, wired together; closed in reverse order."""
    async with AsyncExitStack() as stack:
        yield await _build(settings, clock or steady_clock(), stack=stack)


async def _build(settings: Settings, clock: Clock, *, stack: AsyncExitStack) -> App:
    catalog, words = settings.catalog(), texts(settings)
    data = settings.data.dir
    make_folder(data)
    database = await open_database(settings.database.url.get_secret_value(), running=True)
    stack.push_async_callback(database.aclose)
    await asyncio.to_thread(_close_to_others, settings)
    store, notes = Store(database), Notes(database)
    pool = PicturePool()
    stack.push_async_callback(pool.aclose)
    downloader = Downloader(proxy=settings.http.address)
    stack.push_async_callback(downloader.aclose)
    metrics = Metrics()
    hosts = {name: Measured(each, metrics.request) for name, each in providers(settings).items()}
    for each in hosts.values():
        stack.push_async_callback(each.aclose)

    async def tell(key: str, values: Mapping[str, object]) -> None:
        await operator.notify(key, values)

    wakeups = Wakeups()
    availability = Availability(
        store,
        notes,
        catalog=catalog,
        providers={name: HOST_NAMES[name] for name in hosts},
        cancels=[name for name, each in hosts.items() if each.cancels],
        clock=clock,
        wakeups=wakeups,
        notify=tell,
    )
    outages = Outages(database, data=data, clock=clock, notify=tell)
    service = Service(
        store,
        notes,
        availability=availability,
        outages=outages,
        limits=settings.quota.limits(),
        cdn_hosts=settings.discord.cdn_hosts,
        clock=clock,
        wakeups=wakeups,
        notify=tell,
        ai_label=settings.discord.ai_label,
    )
    looker = ReferenceChecker(downloader, judge=guard.check_head, checker=pool, hosts=settings.discord.cdn_hosts)
    secret = await _link_secret(notes)
    links = server.PictureLinks(settings.web.public_url, secret=secret)
    callbacks = _callbacks(settings, service, secret=secret, count=metrics.callback)
    connect_to(settings.discord.api_base, settings.discord.gateway_url)
    client = DarkroomClient(
        service,
        texts=words,
        access=Access(settings.discord.guilds, user_install=settings.discord.user_install),
        peek=looker.check_within_ack,
        uploads=lambda card, most: delivery.uploads(card, most=most),
        remove_files=lambda pictures: remove_files(data, [each.file for each in pictures]),
        user_install=settings.discord.user_install,
        chart=pool.draw,
        metrics=metrics,
        log_channel=settings.discord.log_channel,
        proxy=settings.http.proxy_to(settings.discord.api_base),
        hosts=[HOST_NAMES[name] for name in hosts],
        keep_hours=settings.data.keep_hours,
        keep_days=settings.data.keep_prompts_days,
    )
    operator = OperatorChannel(client, words, channel_id=settings.discord.log_channel)
    messenger = DiscordMessenger(client, words, clock=clock)
    delivery = Delivery(store, service, messenger, fitter=pool, data=data, link=links, random=random.random)
    collector = ResultDownloader(
        store,
        downloader,
        checker=pool,
        result_hosts={"runcomfy": settings.runcomfy.result_hosts, "runflow": settings.runflow.result_hosts},
        data=data,
        max_wait=lambda job: catalog.download_timeout(job.request),
        clock=clock,
    )
    eye = ProviderHealth(availability, hosts, clock=clock)
    steps = Steps(
        store,
        service,
        hosts=eye,
        routing=Routing(store, service, health=eye),
        providers=hosts,
        collector=collector,
        find=messenger.find,
        check_references=looker.check,
        callback_url=_callback_url(callbacks),
        draw=random.random,
    )
    slots = {"runcomfy": settings.runcomfy.max_in_flight, "runflow": settings.runflow.max_in_flight}
    worker = Worker(store, service, steps=steps, hosts=eye, max_in_flight=slots, metrics=metrics)
    pulse = Pulse(metrics.loop_lag)
    health = Health(
        pulse=pulse,
        heartbeat_age=client.heartbeat_age,
        overdue=worker.overdue,
        writable=database.writable,
        accepts_requests=lambda: client.accepts_requests,
        outages=lambda: outages.current,
        unsafe=lambda: outages.unsafe,
    )
    auditor = LedgerAudit(store, service, post=operator.alert)
    inspector = ProviderChecks(service, providers=hosts, low=settings.routing.low_balance, probe=eye.probe)
    page = Page(
        metrics,
        service,
        providers=tuple(hosts),
        audit=lambda: auditor.found,
        balances=inspector.balances,
        mode=eye.mode,
    )
    return App(
        settings=settings,
        client=client,
        service=service,
        worker=worker,
        delivery=delivery,
        janitor=Retention(
            store,
            service,
            data=data,
            keep_hours=settings.data.keep_hours,
            keep_prompts_days=settings.data.keep_prompts_days,
        ),
        auditor=auditor,
        inspector=inspector,
        pulse=pulse,
        outages=outages,
        site=server.build(
            service,
            health=health.report,
            unready=health.unready,
            metrics=page.text,
            links=links,
            data=data,
            callbacks=callbacks,
            metrics_token=settings.web.metrics_token.get_secret_value(),
        ),
    )


def files_of_ours(settings: Settings) -> Sequence[Path]:
    """Whatever of the database and the pictures is on disk, and nobody's but the bot's to read."""
    data = settings.data.dir
    pictures = [each for each in data.iterdir() if OURS.fullmatch(each.name)] if data.is_dir() else []
    return [*database_files(settings.database.url.get_secret_value()), data, *pictures]


def _close_to_others(settings: Settings) -> None:
    for each in tighten(files_of_ours(settings)):
        log.warning("Other users of this machine may open %s, and it is not ours to change", each,
                    extra={"event": "open_file"})  # fmt: skip


def providers(settings: Settings) -> dict[str, Provider]:
    """The hosts we have credentials for, preferred first."""
    section, flow, proxy = settings.runcomfy, settings.runflow, settings.http.address
    made: dict[str, Callable[[], Provider]] = {
        "runcomfy": lambda: RunComfy(
            http.client(section.api_base, section.api_token, proxy=proxy), balance_url=section.balance_url or None
        ),
        "runflow": lambda: Runflow(http.client(flow.api_base, flow.api_key, proxy=proxy)),
    }
    return {name: made[name]() for name in settings.routing.prefer}


def texts(settings: Settings) -> Texts:
    try:
        return load_texts(settings.files.locales)
    except ValueError as exc:
        raise BadSettings(str(exc)) from exc


def _callbacks(
    settings: Settings, service: Service, *, secret: bytes, count: Callable[[str], None]
) -> Callbacks | None:  # fmt: skip
    """Who answers Runflow when it calls; None unless it can reach us and we can tell its calls from others'."""
    secrets_ = [each.get_secret_value() for each in settings.runflow.webhook_secrets]
    if not settings.web.public_url or not secrets_:
        return None
    links = CallbackLinks(settings.web.public_url, secret=secret)
    return Callbacks(service, links=links, secrets=secrets_, count=count)


def _callback_url(callbacks: Callbacks | None) -> Callable[[Job], str | None]:
    return lambda job: callbacks.links(job.id) if callbacks and job.provider == callbacks.provider else None


async def _link_secret(notes: Notes) -> bytes:
    """This installation's own secret for addresses that nobody can guess, drawn at its first start."""
    kept = await notes.get("link_secret")
    if kept is None:
        kept = secrets.token_hex(32)
        await notes.set("link_secret", kept)
    return bytes.fromhex(kept)


async def run(settings: Settings) -> None:
    """Run the bot until it is told to stop (SIGTERM, SIGINT) or Discord will not have it."""
    async with build(settings) as app:
        told = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, told.set)
        closing = asyncio.Event()
        token = settings.discord.token.get_secret_value()
        async with app.working() as loops:
            life = asyncio.create_task(gateway.stay_connected(app.client, token, closing=closing))
            waiting = asyncio.create_task(told.wait())
            await asyncio.wait({life, waiting, *loops}, return_when=asyncio.FIRST_COMPLETED)
            app.client.accepts_requests = False  # no new jobs; what is under way goes on
            broken = [each for each in loops if each.done()]
        closing.set()
        waiting.cancel()
        await app.client.close()
        await asyncio.gather(life, *broken)  # whatever ended us by an error ends the process with it


async def sync_commands(settings: Settings) -> None:
    """Send the commands to Discord, whether they have changed or not."""
    async with build(settings) as app:
        token = settings.discord.token.get_secret_value()
        await gateway.sync_commands(app.client, token, sync=lambda: app.client.sync(force=True))
