"""Composition root: builds all parts of the bot once, runs them, and stops them in order.

Longer than other files: what is built, and in which order it starts and stops, is read in one place.
"""

import asyncio
import logging
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bot import __version__
from bot.core.catalog import Catalog
from bot.core.clock import Clock, SteadyClock
from bot.core.jobs import Job
from bot.core.processes import Process, Role
from bot.core.shards import Shards
from bot.files.folder import FolderStorage
from bot.files.modes import make_folder, tighten
from bot.files.storage import PictureStorage
from bot.jobs import converted_references
from bot.jobs.build import JobSettings, JobsRoom, Outside, Services
from bot.jobs.build import build as build_jobs
from bot.jobs.converted_references import ConvertedReferences
from bot.jobs.reference_check import ReferenceChecker
from bot.maintenance.build import MaintenanceRoom
from bot.maintenance.build import build as build_maintenance
from bot.maintenance.retention import PICTURE_FILE, REFERENCE_FILE
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
from bot.store.budgets import Budgets
from bot.store.connect import database_files, open_database
from bot.store.database import DATABASE_ERRORS
from bot.store.notes import Notes
from bot.store.store import Store
from bot.ui.build import InterfaceSettings
from bot.ui.build import build as build_ui
from bot.ui.cards.texts import Texts
from bot.ui.cards.texts import load as load_texts
from bot.ui.client import DarkroomClient, connect_to
from bot.ui.interactions.access import Access
from bot.ui.transport import gateway
from bot.ui.transport.http_interactions import HttpInteractions, OwnClaims
from bot.ui.transport.messenger import DiscordMessenger
from bot.ui.transport.operator_channel import OperatorChannel
from bot.web.build import Probes, WebRoom
from bot.web.build import build as build_web
from bot.web.callbacks import CallbackLinks, Callbacks
from bot.web.interactions import Interactions
from bot.web.listener import Listener
from bot.web.server import PictureLinks

if TYPE_CHECKING:
    from bot.files.object_storage import ObjectStorage

log = logging.getLogger(__name__)

DRAIN = 8.0  # seconds for sending due replies at shutdown
PAID_DRAIN = 45.0  # seconds more for the answers to paid requests, whose runs would have to be searched for
HOST_NAMES = {"runcomfy": "RunComfy", "runflow": "Runflow"}


def elapsed() -> float:
    """Seconds since some moment; they go on while the machine is suspended, where the system can tell."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class Runner(Protocol):
    """A loop that runs as long as the bot does."""

    async def run(self, stop: asyncio.Event) -> None: ...


@dataclass(frozen=True, slots=True)
class App:
    """All parts of the bot, built but not running; `working` starts them."""

    settings: Settings
    process: Process
    client: DarkroomClient
    jobs: JobsRoom
    maintenance: MaintenanceRoom
    web: WebRoom
    http_interactions: HttpInteractions | None

    @property
    def services(self) -> Services:
        return self.jobs.services

    @property
    def runners(self) -> Sequence[Runner]:
        """The loops of this process's roles, and those of every process."""
        services, roles, jobs = self.services, self.process.roles, self.jobs
        runners: list[Runner] = [services.outages, self.maintenance.queue_audit, self.web.pulse]
        if Role.WORKER in roles:
            runners += [jobs.worker, jobs.delivery]
        if Role.KEEPER in roles:
            runners.append(self.maintenance.keeper)
        return runners

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
        """Run the web server and the loops, whose tasks it yields.

        On exit, jobs are handed over to other processes, and due replies are sent first.
        """
        stop, ended = asyncio.Event(), asyncio.Event()
        async with self._served():
            await self.jobs.start(self.process)
            tasks = [asyncio.create_task(each.run(stop)) for each in self.runners]
            # Until the end: other processes go on with what is accepted while this one stops.
            ties = [asyncio.create_task(each.run(ended)) for each in (self.services.leases, self.services.changes)]
            try:
                yield [*tasks, *ties]
            finally:
                stop.set()
                await self._finish(tasks)
                ended.set()
                for each in (self.services.leases, self.services.changes):
                    each.wake.set()
                await asyncio.gather(*ties, return_exceptions=True)
                with suppress(*DATABASE_ERRORS):  # otherwise the leases end by themselves
                    await self.services.leases.end()
                    await self.services.changes.flush()

    async def stay_connected(self, closing: asyncio.Event) -> None:
        """Stay connected to Discord until *closing* is set; without the gateway, logged in.

        Raises `FatalGatewayError` for what another attempt cannot fix.
        """
        token = self.settings.discord.token.get_secret_value()
        if self.http_interactions is not None:
            check = self.http_interactions.check_until
            await gateway.stay_logged_in(self.client, token, closing=closing, stay=check)
        elif Role.GATEWAY in self.process.roles:
            await gateway.stay_connected(self.client, token, closing=closing)
        else:
            await gateway.stay_logged_in(self.client, token, closing=closing)

    async def _finish(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        services = self.services
        if services.leases.others_work:
            with suppress(*DATABASE_ERRORS):
                await services.leases.leave()
                await services.changes.flush()
        services.wakeups.wake_all()
        services.outages.wake.set()
        await asyncio.wait(tasks, timeout=DRAIN)
        if self.jobs.paying:
            await asyncio.wait(tasks, timeout=PAID_DRAIN)
        with suppress(*DATABASE_ERRORS):  # replies that are not sent now are sent after the next start
            await self.jobs.delivery.drain(seconds=DRAIN / 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[None]:
        """Run the web server, if that is a role of this process."""
        listener = await self._serve() if Role.WEB in self.process.roles else None
        try:
            yield
        finally:
            if listener is not None:
                await listener.close()

    async def _serve(self) -> Listener:
        listener, section = Listener(self.web.site), self.settings.web
        try:
            address = await listener.start(section.host, section.port)
        except (OSError, ValueError) as exc:  # an unresolvable host name, for example
            number = exc.errno or 0 if isinstance(exc, OSError) else 0
            why = os.strerror(number) if number > 0 else "no such host"
            where = f"{section.host}, port {section.port}"
            change = "change DARKROOM_WEB__HOST or DARKROOM_WEB__PORT"
            raise BadSettings(f"the web server cannot listen on {where} ({why}): {change}") from exc
        log.info("Health is at http://%s:%s/healthz", *address, extra={"event": "web_up"})
        return listener


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[App]:
    """Build all parts; they are closed in reverse order."""
    async with AsyncExitStack() as stack:
        yield await _build(settings, clock, stack=stack)


async def _build(settings: Settings, given_clock: Clock | None, *, stack: AsyncExitStack) -> App:
    # A wrong file touches no database.
    catalog, words, pictures = settings.catalog(), texts(settings), storage(settings)
    if not settings.data.url:
        make_folder(settings.data.dir)
    database = await open_database(
        settings.database.url.get_secret_value(),
        direct_url=settings.database.direct_url.get_secret_value(),
        running=True,
    )
    stack.push_async_callback(database.aclose)
    steady_clock = SteadyClock(await database.now(), elapsed=elapsed)
    clock = given_clock or steady_clock
    await asyncio.to_thread(_close_to_others, settings)
    store, metrics, pool = Store(database), Metrics(), PicturePool()
    stack.push_async_callback(pool.aclose)
    downloader = Downloader(proxy=settings.http.address)
    stack.push_async_callback(downloader.aclose)
    hosts = {name: Measured(each, metrics.request) for name, each in providers(settings).items()}
    for each in hosts.values():
        stack.push_async_callback(each.aclose)
    secret = await _link_secret(Notes(database))
    picture_links = PictureLinks(settings.web.public_url, secret=secret)
    callback_links = _callback_links(settings, secret=secret)
    converted = ConvertedReferences(pool, link=picture_links.of_reference, storage=pictures, clock=clock)
    references = ReferenceChecker(
        downloader,
        judge=guard.check_head,
        checker=pool,
        hosts=settings.discord.cdn_hosts,
        convert=converted.convert if settings.web.public_url else None,
    )
    client = _client(settings, words, budgets=Budgets(database))
    limits = client.rate_limits
    operator = OperatorChannel(client, client.texts, limits=limits, channel_id=settings.discord.log_channel)
    messenger = DiscordMessenger(client, client.texts, limits=limits, clock=clock)
    outside = Outside(
        providers=hosts,
        messenger=messenger,
        find_reply=messenger.find,
        notify=operator.notify,
        fetcher=downloader,
        checker=pool,
        fitter=pool,
        check_references=references.check,
        storage=pictures,
        callback_url=_callback_url(callback_links),
        picture_link=picture_links,
        metrics=metrics,
        clock=clock,
        correct_clock=steady_clock.correct,
        random=random.random,
    )
    jobs = build_jobs(store, _job_settings(settings, catalog, used=hosts), outside)
    maintenance = build_maintenance(
        jobs.services,
        providers=hosts,
        low_balance=settings.routing.low_balance,
        probe=jobs.health.probe,
        post_alert=operator.alert,
        storage=pictures,
        keep_hours=settings.data.keep_hours,
        keep_prompts_days=settings.data.keep_prompts_days,
    )
    build_ui(
        client,
        jobs.services,
        InterfaceSettings(
            provider_names=[HOST_NAMES[name] for name in hosts],
            keep_hours=settings.data.keep_hours,
            keep_days=settings.data.keep_prompts_days,
            user_install=settings.discord.user_install,
            has_gateway=settings.discord.transport == "gateway",
        ),
        check_first_bytes=references.check_within_ack,
        uploads=jobs.delivery.uploads,
        originals=jobs.delivery.originals,
        remove_files=lambda deleted: pictures.delete([each.file for each in deleted]),
        chart=pool.draw,
        balances=maintenance.provider_checks.balances,
        answer_message=messenger.answer_message,
        metrics=metrics,
    )
    http = _http_interactions(settings, client, store, clock=clock)
    web = build_web(
        jobs.services,
        Probes(
            heartbeat_age=(http or client).heartbeat_age,
            accepts_requests=lambda: client.accepts_requests,
            overdue=jobs.worker.overdue,
            audit=lambda: maintenance.audit.found,
            balances=maintenance.provider_checks.balances,
            mode=jobs.health.mode,
        ),
        providers=tuple(hosts),
        picture_links=picture_links,
        callback_links=callback_links,
        webhook_secrets=[each.get_secret_value() for each in settings.runflow.webhook_secrets],
        interactions=Interactions(http.receive, public_key=http.public_key, clock=clock) if http else None,
        metrics=metrics,
        metrics_token=settings.web.metrics_token.get_secret_value(),
        storage=pictures,
    )
    process = Process(
        id=0,
        roles=settings.process.roles,
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        version=__version__,
        started_at=jobs.services.clock(),
    )
    return App(settings, process, client, jobs, maintenance, web, http)


def _machine() -> str:
    """What is the same for all processes that see each other's pid: this boot of Linux, and the container; else ""."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _http_interactions(
    settings: Settings, client: DarkroomClient, store: Store, *, clock: Clock
) -> HttpInteractions | None:
    if settings.discord.transport != "http":
        return None
    claim = store.claim_delivery if store.database.shared else OwnClaims().claim
    return HttpInteractions(client, claim, clock=clock)


def _client(settings: Settings, words: Texts, *, budgets: Budgets) -> DarkroomClient:
    discord = settings.discord
    connect_to(discord.api_base, discord.gateway_url, rest_proxy=discord.proxied)
    return DarkroomClient(
        words,
        access=Access(discord.guilds, user_install=discord.user_install, age_restricted=discord.age_restricted),
        log_channel=discord.log_channel,
        proxy=settings.http.proxy_to(discord.api_base),
        mentions=discord.mentions,
        message_content=discord.message_content,
        answers=settings.answers,
        shards=Shards.parse(discord.shards),
        budgets=budgets,
        rest_proxy=discord.proxied,
    )


def _job_settings(settings: Settings, catalog: Catalog, *, used: Collection[str]) -> JobSettings:
    return JobSettings(
        catalog=catalog,
        limits=settings.quota.limits(),
        provider_names={name: HOST_NAMES[name] for name in used},
        slots={"runcomfy": settings.runcomfy.max_in_flight, "runflow": settings.runflow.max_in_flight},
        polls_per_second={
            "runcomfy": settings.runcomfy.polls_per_second,
            "runflow": settings.runflow.polls_per_second,
        },
        result_hosts={"runcomfy": settings.runcomfy.result_hosts, "runflow": settings.runflow.result_hosts},
        cdn_hosts=settings.discord.cdn_hosts,
        converts=bool(settings.web.public_url),
        ai_label=settings.discord.ai_label,
        blocked_words=settings.discord.blocked_words,
    )


def files_of_ours(settings: Settings) -> Sequence[Path]:
    """Files and folders of the database and the pictures, which only the bot's user may read."""
    data = settings.data.dir
    kept = ((data, PICTURE_FILE), (data / converted_references.FOLDER, REFERENCE_FILE))
    found = [(each, pattern) for folder, pattern in kept if folder.is_dir() for each in folder.iterdir()]
    pictures = [each for each, pattern in found if pattern.fullmatch(each.name)]
    return [*database_files(settings.database.url.get_secret_value()), *(folder for folder, _ in kept), *pictures]


def _close_to_others(settings: Settings) -> None:
    for each in tighten(files_of_ours(settings)):
        log.warning("Other users of this machine may open %s, and it is not ours to change", each,
                    extra={"event": "open_file"})  # fmt: skip


def storage(settings: Settings) -> PictureStorage:
    """Where the pictures are: the bucket of `data.url`, else the folder `data.dir`."""
    return bucket(settings) if settings.data.url else FolderStorage(settings.data.dir)


def bucket(settings: Settings) -> "ObjectStorage":
    """The bucket of `data.url`; connects when it is used. Raises `BadSettings` if it cannot be."""
    section = settings.data
    access_key, secret_key = section.s3_access_key.get_secret_value(), section.s3_secret_key.get_secret_value()
    if bool(access_key) is not bool(secret_key):
        missing = "SECRET" if access_key else "ACCESS"
        raise BadSettings(f"DARKROOM_DATA__S3_{missing}_KEY is not set: set both keys, or neither")
    try:
        from bot.files.object_storage import Access, ObjectStorage  # noqa: PLC0415 - obstore is an extra
    except ModuleNotFoundError as exc:
        raise BadSettings(f"data.url needs the package {exc.name}: install darkroom[s3]") from exc
    access = Access(
        endpoint=section.s3_endpoint,
        region=section.s3_region,
        access_key=access_key,
        secret_key=secret_key,
        proxy=settings.http.proxy_to(section.s3_endpoint),
    )
    return ObjectStorage(section.url, access)


def providers(settings: Settings) -> dict[str, Provider]:
    """The providers with credentials, preferred first."""
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


def _callback_links(settings: Settings, *, secret: bytes) -> CallbackLinks | None:
    """URLs for Runflow's callbacks; None without a public URL or without a secret that authenticates them."""
    if not settings.web.public_url or not settings.runflow.webhook_secrets:
        return None
    return CallbackLinks(settings.web.public_url, secret=secret)


def _callback_url(links: CallbackLinks | None) -> Callable[[Job], str | None]:
    return lambda job: links(job.id) if links is not None and job.provider == Callbacks.provider else None


async def _link_secret(notes: Notes) -> bytes:
    """The secret that signs this installation's URLs, generated at its first start."""
    return bytes.fromhex(await notes.set_if_absent("link_secret", secrets.token_hex(32)))


async def run(settings: Settings) -> None:
    """Run the bot until SIGTERM or SIGINT, or until Discord rejects it."""
    async with build(settings) as app:
        stop_signal = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stop_signal.set)
        closing = asyncio.Event()
        async with app.working() as loops:
            connection = asyncio.create_task(app.stay_connected(closing))
            waiting = asyncio.create_task(stop_signal.wait())
            await asyncio.wait({connection, waiting, *loops}, return_when=asyncio.FIRST_COMPLETED)
            if not app.services.leases.others_work:  # otherwise another process makes what is accepted until the end
                app.client.stop_accepting()  # active jobs continue
            ended = [each for each in loops if each.done()]
        closing.set()
        waiting.cancel()
        await app.client.close()
        await asyncio.gather(connection, *ended)  # re-raise the error that ended a loop or the connection


async def sync_commands(settings: Settings) -> None:
    """Send the commands to Discord, even if they have not changed."""
    async with build(settings) as app:
        token = settings.discord.token.get_secret_value()
        await gateway.sync_commands(app.client, token, sync=lambda: app.client.sync(force=True))
