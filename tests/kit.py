"""The bot without Discord and providers: real store, services, worker and delivery, stepped by the test.

Longer than other files: the fakes belong to the bot that they stand around.
"""

import asyncio
import functools
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from bot.core.cards import Card, Reply, ReplyPath
from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import NotSearchable
from bot.core.jobs import SECOND, Job, Observation, Place, Reference, State, Verb
from bot.core.preferences import Notify
from bot.core.processes import EVERY_ROLE, Process, Role
from bot.core.quota import Limits
from bot.core.references import ReferenceLimits
from bot.core.request_draft import InteractionContext, RequestDraft
from bot.files.folder import FolderStorage
from bot.files.storage import PictureStorage
from bot.jobs.build import JobSettings, Outside, Services, build
from bot.jobs.delivery import Delivery, Messenger, Upload
from bot.jobs.provider_health import ProviderHealth
from bot.jobs.results import Fetcher
from bot.jobs.worker import Worker
from bot.observability.metrics import Metrics
from bot.pictures import guard
from bot.pictures.fit import Fitted
from bot.pictures.guard import Checked
from bot.providers.base import CancelOutcome, ModelInfo, Provider
from bot.providers.measured import Measured
from bot.settings.settings import SHIPPED, Settings
from bot.store.connect import open_database
from bot.store.notes import Notes
from bot.store.processes import Processes
from bot.store.store import Store
from tests import databases

NOON = 1_795_176_000_000  # 2026-11-20 12:00 UTC
ALICE, BOB = 1001, 1002
GUILD, CHANNEL = 5001, 6001


NAMES = {"runcomfy": "RunComfy", "runflow": "Runflow"}


@functools.cache
def catalog(*hosts: str) -> Catalog:
    """The catalogue for the providers *hosts*, preferred first; by default RunComfy."""
    return Settings.load({"DARKROOM_ROUTING__PREFER": json.dumps(hosts or ["runcomfy"])}).catalog()


def picture(colour: str = "teal", size: tuple[int, int] = (64, 48)) -> bytes:
    """A small PNG."""
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


@dataclass
class Time:
    now: int = NOON

    def __call__(self) -> int:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class FakeProvider:
    """A provider with scripted answers: a list for each call, whose last item is repeated."""

    name: str = "runcomfy"
    searchable: bool = False
    cancels: bool = True
    page_size: int = 0
    lists: list[Any] = field(default_factory=lambda: [{}])  # run → observation, or exceptions
    listed: int = 0  # how often all runs were looked at
    submits: list[Any] = field(default_factory=list)  # run ids or exceptions, then made-up ids
    sees: list[Any] = field(default_factory=lambda: [Observation(State.QUEUED, position=1)])
    cancellings: list[Any] = field(default_factory=lambda: [CancelOutcome.TOO_LATE])
    finds: list[Any] = field(default_factory=lambda: [NotSearchable("no search")])  # run ids, None or exceptions
    submitted: list[str] = field(default_factory=list)  # job ids, accepted or not
    asked: int = 0
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    callback_urls: list[str | None] = field(default_factory=list)
    absent: dict[str, Exception] = field(default_factory=dict)  # route → the error of describing it
    away: Exception | None = None  # the error of describing any route
    described: list[str] = field(default_factory=list)
    balances: list[Any] = field(default_factory=lambda: [None])  # micro-dollars, None or exceptions
    seen_by: Callable[[str], None] = lambda _: None  # called with each run that is polled
    waits_for: asyncio.Event | None = None  # before polls are answered
    while_submitting: Callable[[str], Awaitable[None]] | None = None  # awaited before a submit is answered
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        self.submitted.append(job_id)
        self.bodies.append({"route": route, **inputs})
        self.callback_urls.append(callback_url)
        if self.while_submitting is not None:
            await self.while_submitting(job_id)
        answer = self.submits.pop(0) if self.submits else f"run-{next(self._ids)}"
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def observe(self, run_id: str) -> Observation:
        self.asked += 1
        self.seen_by(run_id)
        if self.waits_for is not None:
            await self.waits_for.wait()
        seen: Observation = _next(self.sees)
        return seen

    async def observe_many(self, run_ids: Collection[str], *, pages: int) -> Mapping[str, Observation]:
        self.listed += 1
        found: Mapping[str, Observation] = _next(self.lists)
        return {run_id: found[run_id] for run_id in run_ids if run_id in found}

    async def cancel(self, run_id: str) -> CancelOutcome:
        outcome: CancelOutcome = _next(self.cancellings)
        return outcome

    async def find(self, job_id: str) -> str | None:
        found: str | None = _next(self.finds)
        return found

    async def describe(self, route: str) -> ModelInfo:
        self.described.append(route)
        if self.away is not None:
            raise self.away
        if route in self.absent:
            raise self.absent[route]
        return ModelInfo(route)

    async def balance(self) -> int | None:
        left: int | None = _next(self.balances)
        return left

    async def aclose(self) -> None:
        pass


def _next(answers: list[Any]) -> Any:
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


@dataclass
class FakeFiles:
    """The file server of finished pictures."""

    files: dict[str, Any] = field(default_factory=dict)  # url → bytes or exception
    fetched: list[str] = field(default_factory=list)

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes:
        self.fetched.append(url)
        found = self.files[url]
        if isinstance(found, Exception):
            raise found
        return bytes(found)

    async def check(self, data: bytes) -> Checked:
        return guard.check(data)

    async def fit(self, data: bytes, *, max_bytes: int, xmp: bytes) -> Fitted | None:
        return Fitted(data[:max_bytes], "webp", 8, 8, "reencoded")


@dataclass
class FakeMessenger:
    """Records the cards that are sent to Discord."""

    shown: list[tuple[ReplyPath, Card, Sequence[Upload]]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)  # raised one by one before anything is shown
    deleted: list[str] = field(default_factory=list)  # jobs whose messages were deleted
    notified: list[Card] = field(default_factory=list)  # cards of direct messages
    announced: list[tuple[Card, Notify]] = field(default_factory=list)  # ends that a member was told of
    threads: list[int] = field(default_factory=list)  # messages on which a thread was opened
    waits: float = 0.0  # seconds that Discord's limits make cards of unfinished jobs wait

    async def send(self, card: Card, reply: Reply, *, path: ReplyPath, uploads: Sequence[Upload]) -> int:
        if self.errors:
            raise self.errors.pop(0)
        self.shown.append((path, card, uploads))
        return reply.message_id or 9_999

    async def delete(self, reply: Reply, *, path: ReplyPath) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.deleted.append(reply.job_id)

    async def delete_copy(self, *, channel_id: int, message_id: int) -> None:
        self.deleted.append(f"copy {message_id}")

    def delay(self, reply: Reply, *, path: ReplyPath, final: bool) -> float:
        return 0.0 if final else self.waits

    async def open_thread(self, card: Card, reply: Reply, *, message_id: int) -> None:
        self.threads.append(message_id)

    async def notify(self, card: Card, reply: Reply) -> bool:
        self.notified.append(card)
        return True

    async def announce(self, card: Card, reply: Reply, *, by: Notify) -> None:
        self.announced.append((card, by))

    @property
    def last(self) -> Card:
        return self.shown[-1][1]

    def states(self) -> list[State]:
        return [card.job.state for _, card, _ in self.shown]


@dataclass
class Rig:
    folder: Path
    time: Time
    store: Store
    notes: Notes
    services: Services
    worker: Worker
    delivery: Delivery
    provider: FakeProvider
    files: FakeFiles
    messenger: FakeMessenger
    notifications: list[tuple[str, Mapping[str, object]]]
    found_replies: dict[str, tuple[int, bool] | None]  # job → message id and whether ephemeral; None: not shown
    reference_checks: list[Any]  # results of the next checks of reference pictures: references or an exception
    metrics: Metrics
    health: ProviderHealth
    storage: PictureStorage
    beside: FakeProvider  # the second provider, if there is one
    _probed_at: int = NOON
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(70_000))

    def context(self, user: int = ALICE, *, guild: int | None = GUILD, **changes: Any) -> InteractionContext:
        number = next(self._ids)
        fields: dict[str, Any] = {
            "interaction_id": number,
            "application_id": 42,
            "token": f"token-{number}",
            "received_at": self.time(),
            "place": Place(user, CHANNEL, guild),
            "locale": "en-US",
            "filesize_limit": 10 * 1024 * 1024,
            "bot_can_edit": True,
            "bot_can_post": True,
            "app_permissions": (1 << 53) - 1,  # all of them
        }
        return InteractionContext(**{**fields, **changes})

    def first_number(self, number: int) -> None:
        """Number interactions from here, so that after a restart they differ from those before."""
        self._ids = itertools.count(number)

    async def imagine(self, user: int = ALICE, *, count: int = 1, acked: bool = True, **changes: Any) -> str:
        """Accept a job and acknowledge it; returns its id."""
        model = changes.pop("model", None)
        asked = RequestedOptions(count=count) if count != 1 else RequestedOptions()
        draft = RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse", model=model, asked=asked)
        card = await self.services.requests.accept(self.context(user, **changes), draft)
        if acked:
            await self.services.requests.acknowledged(
                card.job.id, message_id=int(card.job.created_at % 10**9), ephemeral=False
            )
        return card.job.id

    async def edit(self, *, expires_at: int | None = None) -> str:
        reference = Reference("https://cdn.discordapp.com/a.png", "a.png", "image/png", 900, expires_at)
        draft = RequestDraft(verb=Verb.EDIT, prompt="at night", references=(reference,))
        card = await self.services.requests.accept(self.context(), draft)
        await self.services.requests.acknowledged(card.job.id, message_id=8, ephemeral=False)
        return card.job.id

    async def turn(self, seconds: float = 0, *, times: int = 1) -> None:
        """Let *seconds* pass, then do everything that is due; repeat that *times* times."""
        for _ in range(times):
            self.time.go(seconds)
            await self._probe()
            await self.exchange()
            while await self.worker.run_due():
                pass
            await self.delivery.run_due()

    async def exchange(self) -> None:
        """Send and take over changes, and see who is alive, as the loops of each process do."""
        with self.services.outages.outlasting("not now"):
            await self.services.leases.run_once()
            await self.services.changes.flush()
            self.services.changes.take_over()
            await self.services.changes.look()

    async def _probe(self) -> None:
        """Probe as `ProviderChecks` does, every twenty seconds."""
        if self.time.now - self._probed_at >= 20 * SECOND:
            self._probed_at = self.time.now
            await self.health.probe()

    async def until_final(self, job_id: str, *, step: float = 10, max_turns: int = 400) -> Job:
        for _ in range(max_turns):
            job = await self.job(job_id)
            if job.state.is_final:
                return job
            await self.turn(step)
        raise AssertionError(f"{job_id} never ended")

    async def job(self, job_id: str) -> Job:
        job = await self.store.job(job_id)
        assert job is not None
        return job

    def ready(self, *, n: int = 1, cost: int | None = None, flagged: bool | None = None) -> Observation:
        """An observation of a finished run whose *n* pictures can be downloaded."""
        urls = tuple(f"https://files.runcomfy.net/{k}.png" for k in range(n))
        self.files.files.update({url: picture() for url in urls})
        return Observation(State.COLLECTING, image_urls=urls, cost_micro_usd=cost, flagged=flagged)


@asynccontextmanager
async def rig(
    folder: Path,
    *,
    url: str = "",
    limits: Limits | None = None,
    slots: int = 4,
    polls_per_second: float = 1_000,
    page_size: int = 0,
    time: Time | None = None,
    host: str = "runcomfy",
    beside: str | None = None,
    models: Catalog | None = None,
    real: Mapping[str, Provider] | None = None,
    fetcher: Fetcher | None = None,
    result_hosts: Sequence[str] = ("*",),
    callback_url: Callable[[Job], str | None] = lambda _: None,
    messenger: Messenger | None = None,
    blocked_words: Sequence[str] = (),
    roles: Sequence[Role] = EVERY_ROLE,
    alone: bool = True,
    sharing: "Rig | None" = None,
    storage: PictureStorage | None = None,
) -> AsyncIterator[Rig]:
    """The bot's parts on *folder*; opened again on the same folder and *url*, they are as after a restart.

    *alone*: whatever ran on the database before has died. *sharing*: another process, whose provider, files and
    Discord this one has, too.

    Jobs go to the provider *host*, and if it does not accept one, to *beside*; or to *real* providers, preferred
    first, whose pictures *fetcher* downloads. Pictures are in *storage*, or in *folder*.
    """
    clock = time or Time()
    if not url:
        await databases.make_file(folder / "darkroom.db")
    database = await open_database(url or f"sqlite:///{folder}/darkroom.db", running=url.startswith("postgresql"))
    store = Store(database)
    provider, other = (
        FakeProvider(each, searchable=each == "runflow", cancels=each != "runflow", page_size=page_size)
        for each in (host, beside or "")
    )
    files, fake = FakeFiles(), FakeMessenger()
    if sharing is not None:
        provider, files, fake = sharing.provider, sharing.files, sharing.messenger
    providers: Mapping[str, Provider] = real or {host: provider} | ({beside: other} if beside else {})
    notifications: list[tuple[str, Mapping[str, object]]] = []
    found_replies: dict[str, tuple[int, bool] | None] = {}
    reference_checks: list[Any] = []
    metrics, pictures = Metrics(), storage or FolderStorage(folder)

    async def notify(key: str, values: Mapping[str, object]) -> None:
        notifications.append((key, values))

    async def find(reply: Reply) -> tuple[int, bool] | None:
        return found_replies.get(reply.job_id)

    async def check_references(
        references: Sequence[Reference], *, limits: ReferenceLimits, job_id: str
    ) -> tuple[Reference, ...]:
        outcome = reference_checks.pop(0) if reference_checks else tuple(references)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    jobs = build(
        store,
        JobSettings(
            catalog=models or catalog(*providers),
            limits=limits or Limits(),
            provider_names={name: NAMES[name] for name in providers},
            slots=dict.fromkeys(providers, slots),
            result_hosts=dict.fromkeys(providers, result_hosts),
            cdn_hosts=("cdn.discordapp.com",),
            polls_per_second=dict.fromkeys(providers, polls_per_second),
            blocked_words=blocked_words,
        ),
        Outside(
            providers={name: Measured(each, metrics.request) for name, each in providers.items()},
            messenger=messenger or fake,
            find_reply=find,
            notify=notify,
            fetcher=fetcher or files,
            checker=files,
            fitter=files,
            check_references=check_references,
            storage=pictures,
            callback_url=callback_url,
            picture_link=lambda _job, _picture: None,
            metrics=metrics,
            clock=clock,
            correct_clock=lambda _: None,
            random=lambda: 0.5,
        ),
    )
    if database.shared and alone:
        await Processes(database).forget(before=clock())
    await jobs.start(Process(0, tuple(roles), "here", "", 1, "0", clock()))
    try:
        yield Rig(
            folder=folder,
            time=clock,
            store=store,
            notes=jobs.services.notes,
            services=jobs.services,
            worker=jobs.worker,
            delivery=jobs.delivery,
            provider=provider,
            files=files,
            messenger=fake,
            notifications=notifications,
            found_replies=found_replies,
            reference_checks=reference_checks,
            metrics=metrics,
            health=jobs.health,
            storage=pictures,
            beside=other,
        )
    finally:
        await database.aclose()


__all__ = ["ALICE", "BOB", "CHANNEL", "GUILD", "NOON", "SHIPPED", "FakeMessenger", "FakeProvider", "Rig", "Time", "rig"]
