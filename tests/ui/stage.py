"""The bot's client on a simulated Discord, with real services and a real database; no worker runs."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import discord
import simcord
import simcord.backend.cdn
from simcord.results import ResponseMessage

from bot.core.cards import Picture
from bot.core.catalog import Catalog, RequestedOptions
from bot.core.jobs import Job, Place, Reference, State, Verb
from bot.core.quota import Limits
from bot.core.references import ReferenceLimits
from bot.core.request_draft import RequestDraft
from bot.pictures.chart import Chart
from bot.store.queries import JobRecord
from bot.ui.build import InterfaceSettings, build
from bot.ui.cards.texts import Texts
from bot.ui.client import DarkroomClient
from bot.ui.interactions.access import Access
from bot.ui.transport.messenger import DiscordMessenger
from tests.kit import Rig, Time, picture, rig
from tests.ui.cards.drawing import LOCALES

PNG = ("in.png", picture())


@dataclass
class Stage:
    rig: Rig
    client: DarkroomClient
    messenger: DiscordMessenger
    env: Any
    guild: Any
    channel: Any
    alice: Any
    bob: Any
    checked_references: list[Sequence[Reference]]
    reference_errors: list[Exception]  # raised by the next checks of reference pictures
    removed: list[str]
    charts: list[Chart]
    balances: dict[str, int]
    chart_results: list[Any]  # results of the next charts: bytes, or an exception to raise
    seen: set[str] = field(default_factory=set)

    async def imagine(self, prompt: str = "a lighthouse", *, by: Any = None, **options: Any) -> tuple[Any, Job]:
        """Request pictures; returns Discord's response and the job."""
        shown = await (by or self.alice).slash(self.channel, "imagine", prompt=prompt, **options)
        return shown, await self.newest()

    async def newest(self) -> Job:
        """The job made since the last call, and only one."""
        new = [each for each in await self.rig.store.due_jobs() if each not in self.seen]
        assert len(new) == 1, new
        self.seen.update(new)
        return await self.rig.job(new[0])

    async def jobs(self) -> int:
        return len(await self.rig.store.due_jobs())

    async def record(self, job_id: str) -> JobRecord:
        found = await self.rig.store.job_record(job_id)
        assert found is not None
        return found

    async def finish(self, job: Job, *, pictures: int = 1, show: bool = True) -> JobRecord:
        """Complete a job successfully without a provider, and update its reply if it can be reached."""
        store, now = self.rig.store, self.rig.time.now
        current: Job | None = job
        states = (State.SUBMITTING, State.QUEUED, State.RUNNING, State.COLLECTING)
        for state in states[states.index(job.state) + 1 if job.state in states else 0 :]:
            assert current is not None
            current = await store.move(current, state, now=now)
        assert current is not None
        for n in range(1, pictures + 1):
            name = f"{job.id}-{n}.png"
            (self.rig.folder / name).write_bytes(PNG[1])
            await store.add_picture(current, Picture(n, name, "png", 64, 48, len(PNG[1])), now=now)
        assert await store.move(current, State.SUCCEEDED, now=now, images=pictures) is not None
        if show:
            await self.rig.delivery.run_due()
        return await self.record(job.id)

    async def delete(self, who: Any, message: Any) -> Any:
        """Delete a finished job from its message, as a member does: *More…*, *Delete*, and *Delete* once more."""
        menu = await who.click(message, label="More…")
        asked = await who.click(menu.response.message, label="Delete")
        yes = next(each for each in buttons(menu) if each.endswith(":erase"))
        deleted = await who.click(menu.response.message, custom_id=yes)
        assert asked.modal is None
        await self.rig.delivery.run_due()
        return deleted

    async def in_menu(self, who: Any, message: Any, label: str) -> Any:
        """Press a button behind *More…*."""
        menu = await who.click(message, label="More…")
        return await who.click(menu.response.message, label=label)

    async def fail(self, job: Job) -> None:
        assert await self.rig.store.move(job, State.FAILED, now=self.rig.time.now, reason="host_failed") is not None
        await self.rig.delivery.run_due()

    async def go(self, seconds: float) -> None:
        self.rig.time.go(seconds)
        await self.env.advance_time(seconds)

    async def card(self, job: Job) -> Any:
        """The job's reply as its owner sees it."""
        reply = (await self.record(job.id)).reply
        return ResponseMessage(self.env, self.env.backend.get_message(reply.channel_id, reply.message_id))


async def spend(on: Rig, place: Place, *, pictures: int = 1) -> None:
    """Record a completed job in the ledger."""
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse", asked=RequestedOptions(count=pictures))
    job: Job | None = (await on.services.requests.accept(on.context(place=place), draft)).job
    for state in (State.SUBMITTING, State.QUEUED, State.COLLECTING, State.SUCCEEDED):
        assert job is not None
        job = await on.store.move(job, state, now=on.time.now, images=pictures)


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    guilds: Sequence[str] = ("*",),
    user_install: bool = False,
    limits: Limits | None = None,
    host: str = "runcomfy",
    beside: str | None = None,
    models: Catalog | None = None,
    blocked_words: Sequence[str] = (),
    mentions: bool = False,
    message_content: bool = False,
) -> AsyncIterator[Stage]:
    checked_references: list[Sequence[Reference]] = []
    reference_errors: list[Exception] = []
    removed: list[str] = []
    charts: list[Chart] = []
    balances: dict[str, int] = {}
    chart_results: list[Any] = []

    async def chart(wanted: Chart) -> bytes:
        charts.append(wanted)
        answer = chart_results.pop(0) if chart_results else PNG[1]
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)

    async def check_first_bytes(references: Sequence[Reference], *, limits: ReferenceLimits) -> None:
        checked_references.append(references)
        if reference_errors:
            raise reference_errors.pop(0)

    simcord.backend.cdn.CDN_BASE = "https://cdn.discordapp.com"
    time = Time()
    access = Access(guilds, user_install=user_install)
    texts = Texts(LOCALES, strict=True)
    client = DarkroomClient(
        texts,
        access=access,
        mentions=mentions,
        message_content=message_content,
        rest_proxy=True,  # no limits: the emulator's clock does not move while requests wait for them
    )
    intents = discord.Intents(guilds=True, guild_messages=mentions or message_content, message_content=message_content)
    messenger = DiscordMessenger(client, texts, limits=client.rate_limits, clock=time)

    async def remove_files(pictures: Sequence[Picture]) -> None:
        removed.extend(each.file for each in pictures)

    async with rig(
        folder,
        limits=limits,
        host=host,
        beside=beside,
        models=models,
        blocked_words=blocked_words,
        time=time,
        messenger=messenger,
    ) as base:
        build(
            client,
            base.services,
            InterfaceSettings(("RunComfy",), keep_hours=72, keep_days=30, user_install=user_install),
            check_first_bytes=check_first_bytes,
            uploads=base.delivery.uploads,
            originals=base.delivery.originals,
            remove_files=remove_files,
            chart=chart,
            balances=lambda: balances,
            answer_message=messenger.answer_message,
            metrics=base.metrics,
        )
        async with simcord.run(client, approved_intents=intents) as env:
            time.now = int(env.now().timestamp() * 1000)
            guild = env.create_guild("Studio")
            channel = guild.create_text_channel("pictures")
            yield Stage(
                rig=base,
                client=client,
                messenger=messenger,
                env=env,
                guild=guild,
                channel=channel,
                alice=guild.add_member(env.create_user("alice")),
                bob=guild.add_member(env.create_user("bob")),
                checked_references=checked_references,
                reference_errors=reference_errors,
                removed=removed,
                charts=charts,
                balances=balances,
                chart_results=chart_results,
            )


def on_stage(**options: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Runs a test with its own stage as `on`. SimCord wants to end in the context that it began in: no fixture."""

    def wrap(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def run(tmp_path: Path, **given: Any) -> None:
            async with stage(tmp_path, **options) as on:
                await test(on=on, **given)

        others = [each for each in inspect.signature(test).parameters.values() if each.name != "on"]
        folder = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([folder, *others])  # type: ignore[attr-defined]
        run.__name__, run.__qualname__, run.__module__ = test.__name__, test.__qualname__, test.__module__
        return run

    return wrap


# --- reading answers


def walk(components: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in components:
        yield each
        yield from walk(each.get("components") or [])
        for key in ("accessory", "component"):
            if each.get(key):
                yield from walk([each[key]])


def text(shown: Any) -> str:
    """Everything a message says, with mentions of commands as their names."""
    message = getattr(shown, "response", shown)
    said = "\n".join(each["content"] for each in walk(message.components) if each.get("type") == 10)
    return re.sub(r"</([a-z_ ]+):\d+>", r"`/\1`", said)


def buttons(shown: Any) -> dict[str, str]:
    """The labels of a message's buttons by their custom ids."""
    message = getattr(shown, "response", shown)
    return {each["custom_id"]: each["label"] for each in walk(message.components) if each.get("custom_id")}


def gallery(shown: Any) -> list[str]:
    message = getattr(shown, "response", shown)
    return [item["media"]["url"] for each in walk(message.components) for item in each.get("items") or []]


def field_value(shown: Any, name: str) -> str | None:
    """What a field of a form holds when it opens."""
    found = next(each for each in walk(shown.modal["components"]) if each.get("custom_id") == name)
    chosen = [each["value"] for each in found.get("options") or [] if each.get("default")]
    return found.get("value") or (chosen[0] if chosen else None)
