"""A database whose COMMIT takes three seconds: every interaction is answered in time, and truthfully."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bot.core.cards import Picture
from bot.core.jobs import Job, Place, State, Verb
from bot.core.request_draft import RequestDraft
from bot.jobs import requests
from bot.store.secure_deletion import SecureDeletion
from bot.store.sqlite import SqliteDatabase, _Connection, _Reader, _start_worker
from bot.ui.interactions import responder
from tests.discord.cdn import Upload
from tests.discord.interactions import Ack, Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.world import MANAGE_GUILD, MANAGE_MESSAGES
from tests.jobs.commit_proxy import line_to
from tests.kit import picture
from tests.store.ledger_model import FREE, faults, rows
from tests.ui.admin.test_matrix import (
    FORMS,
    HERE,
    MENUS_OF_MODERATORS,
    MIXED,
    OF_MEMBERS,
    PRESSED,
    Case,
    _text,
    furnish,
    given,
    leaves,
)
from tests.ui.transport.test_sockets import Scene, connected

T = TypeVar("T")
SECONDS = 3.0
# Buttons of finished jobs.
ENDED = frozenset(
    {
        "delete",
        "erase",
        "again",
        "change",
        "edit",
        "more",
        "vary",
        "upscale",
        "files",
        "favorite",
        "spoiler",
        "report",
        "thread",
        "back",
    }
)
FILE = Upload("a.png", picture())


class Slow(_Connection):
    delay = 0.0

    def execute(self, sql: str, *args: Any) -> Any:
        if sql == "COMMIT":
            time.sleep(self.delay)
        return super().execute(sql, *args)


class SlowReader(Slow, _Reader):
    pass


@dataclass
class Trial:
    """A member of a server, with jobs of every kind; *slow* makes the next COMMITs take so many seconds."""

    on: Scene
    who: Member
    case: Case
    message: Message
    slow: Callable[..., None]
    removed: list[Picture]

    async def job(self, *, ended: bool = False) -> Job:
        place = Place(self.who.id, self.case.channel.id, self.case.channel.guild.id)  # type: ignore[union-attr]
        draft = RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse")
        job = (await self.on.rig.services.requests.accept(self.on.rig.context(place=place), draft)).job
        await self.on.rig.services.requests.acknowledged(job.id, message_id=5, ephemeral=False)
        for state in (State.SUBMITTING, State.QUEUED, State.COLLECTING, State.SUCCEEDED) if ended else ():
            if state is State.SUCCEEDED:
                kept = Picture(1, f"{job.id}-1.png", "png", 8, 8, 9)
                assert await self.on.rig.store.add_picture(job, kept, now=job.created_at)
            moved = await self.on.rig.store.move(job, state, now=job.created_at, images=int(ended))
            assert moved is not None
            job = moved
        return job

    async def press(self, custom_id: str) -> Interaction:
        return await self.who.click(self.message, custom_id, force=True)

    async def settled(self) -> None:
        """Wait until the tasks of timed-out handlers have ended."""
        self.slow(0)
        services = self.on.rig.services
        started = [
            *services.requests._background,
            *services.jobs._background,
            *self.on.client.interface.router.background.tasks,
        ]
        await asyncio.gather(*started, return_exceptions=True)
        await self.on.rig.store.database.wait_for_abandoned()


@asynccontextmanager
async def trial(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trial]:
    removed: list[Picture] = []

    async def remove_files(pictures: Sequence[Picture]) -> None:
        removed.extend(pictures)

    if url.startswith("sqlite"):
        async with connected(
            folder, monkeypatch, guilds=("*",), url=url, limits=FREE, remove_files=remove_files, mentions=True
        ) as on:
            database = on.rig.store.database
            assert isinstance(database, SqliteDatabase)
            for each in (database._writer, database._reader):
                await each.aclose()
            database._writer = await _start_worker(folder / "darkroom.db", Slow)
            database._reader = await _start_worker(folder / "darkroom.db", SlowReader)
            database._secure_deletion = SecureDeletion(folder / "darkroom.db", run=database._writer.run_statements)

            def slow(seconds: float, *, reads: bool = False) -> None:
                Slow.delay, SlowReader.delay = seconds, seconds if reads else 0

            yield await _trial(on, slow, removed)
    else:
        async with (
            line_to(url) as line,
            connected(
                folder,
                monkeypatch,
                guilds=("*",),
                url=line.url,
                limits=FREE,
                remove_files=remove_files,
                mentions=True,
            ) as on,
        ):

            def slow(seconds: float, *, reads: bool = False) -> None:
                line.delay, line.read_delay = seconds, seconds if reads else 0

            yield await _trial(on, slow, removed)


async def _trial(on: Scene, slow: Callable[..., None], removed: list[Picture]) -> Trial:
    await on.discord.ready("quota", "settings", "style")
    channel = on.discord.add_guild("Studio").add_channel("pictures")
    who = on.discord.add_member("alice", channel.guild, permissions=MANAGE_GUILD | MANAGE_MESSAGES)
    case = Case(on, who, channel, "manager", HERE)
    await furnish(case)
    return Trial(on, who, case, channel.post(on.discord.bot), slow, removed)


async def everything(at: Trial) -> Mapping[str, Callable[[], Awaitable[Interaction]]]:
    """Every command, button and form; a new one has to be added here."""
    tree, router, who, channel = at.on.client.tree, at.on.client.interface.router, at.who, at.case.channel
    # What a member can ask for.
    shown = channel.post(who.user, attachments=[FILE])
    made: dict[str, Callable[[], Awaitable[Interaction]]] = {
        "edit": lambda: who.slash(channel, "edit", prompt="at night", image=FILE),
        "Edit this": lambda: who.menu(channel, "Edit this", shown),
        "Add to tray": lambda: who.menu(channel, "Add to tray", shown),
        "Edit avatar": lambda: who.user_menu(channel, "Edit avatar", who.user),
        "imagine": lambda: who.slash(channel, "imagine", prompt="a lighthouse"),
        "tray": lambda: who.slash(channel, "tray"),
        "preferences": lambda: who.slash(channel, "preferences"),
        "privacy": lambda: who.slash(channel, "privacy"),
        "history": lambda: who.slash(channel, "history"),
        "favorites": lambda: who.slash(channel, "favorites"),
        "show": lambda: who.slash(channel, "show", result="01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "jobs": lambda: who.slash(channel, "jobs"),
        "usage": lambda: who.slash(channel, "usage"),
        "help": lambda: who.slash(channel, "help"),
        "style list": lambda: who.slash(channel, "style list"),
    }
    assert made.keys() == OF_MEMBERS.union(*MIXED.values())
    made["imagine style"] = lambda: who.slash(channel, "imagine", prompt="a lighthouse", style="House")
    made["unknown style"] = lambda: who.slash(channel, "imagine", prompt="a lighthouse", style="Oil")
    # What an admin can.
    commands = {command.qualified_name: _slash(at, command, given(at.case, command)) for command in leaves(tree)}
    moderating = {name: start for name, start in commands.items() if name.startswith("moderate")}
    made |= {name: start for name, start in commands.items() if name not in moderating}
    # Buttons and forms.
    for action in router._actions:
        job = await at.job(ended=action in ENDED)
        made[f"press {action}"] = _press(at, f"j1:{job.id}:{action}")
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="a boat")
    draft_id = await at.on.rig.services.drafts.keep(draft, user_id=who.id)
    opened = await at.press(f"d1:{draft_id}:change")
    await opened.acked()
    made["draft"] = _press(at, f"d1:{draft_id}:change")
    made["form"] = lambda: who.submit(opened)
    for name, custom_id in PRESSED.items():
        made[f"press {name}"] = _press(at, custom_id)
    changing = await who.slash(channel, "style edit", style="House")
    await changing.acked()
    for name in FORMS:
        made[f"form {name}"] = lambda: who.submit(changing, {"after": "in stone"})
    for action in ("edit", "first", "remove", "clear"):
        made[f"tray {action}"] = _press(at, f"t1:tray:{action}")
    for action in at.on.client.interface.router._reports._actions:
        job = await at.job(ended=True)
        made[f"press {action}"] = _press(at, f"m1:{job.id}:{action}")
    for name in MENUS_OF_MODERATORS:
        made[name] = _menu(at, name, at.message)
    made["page"] = _press(at, "h1:a:::")
    made["result"] = _press(at, "s1:01ARZ3NDEKTSV4RRFFQ69G5FAV:go")
    for control in ("preferences:model", "privacy:export", "privacy:erase", "privacy:erase_all"):
        made[control] = _press(at, f"p1:{control}")
    made["my jobs"] = _press(at, "l1:jobs")
    made |= moderating  # last, because the member is blocked then
    assert set(router._kinds) == {"l1", "p1", "j1", "d1", "f1", "q1", "a1", "t1", "h1", "s1", "m1"}
    return made


def batched(tries: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = list(tries)
    while rest:
        yield rest[:size]
        rest = rest[size:]


def _slash(at: Trial, command: Any, options: Mapping[str, Any]) -> Callable[[], Awaitable[Interaction]]:
    return lambda: at.who.slash(at.case.channel, command.qualified_name, force=True, **options)


def _menu(at: Trial, name: str, message: Message) -> Callable[[], Awaitable[Interaction]]:
    return lambda: at.who.menu(at.case.channel, name, message, force=True)


def _press(at: Trial, custom_id: str) -> Callable[[], Awaitable[Interaction]]:
    return lambda: at.press(custom_id)


@pytest.mark.prove
@pytest.mark.parametrize("reads", [False, True])
async def test_every_command_button_and_form_answers_in_time_and_what_was_refused_is_withdrawn(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reads: bool,  # noqa: FBT001
) -> None:
    async with trial(url, tmp_path, monkeypatch) as at:
        tries = await everything(at)
        before = {row["id"] for row in await rows(at.on.rig.store, "SELECT id FROM jobs")}
        at.slow(SECONDS, reads=reads)
        late = []
        for some in batched(tries.items(), 6):
            started = [(name, await start()) for name, start in some]
            answers = await asyncio.gather(*(each.acked(within=SECONDS) for _, each in started), return_exceptions=True)
            late += [name for (name, _), each in zip(started, answers, strict=True) if not isinstance(each, Ack)]
        assert late == []
        await at.settled()

        new = [row for row in await rows(at.on.rig.store, "SELECT id, state FROM jobs") if row["id"] not in before]
        assert {row["state"] for row in new} == (set() if reads else {"cancelled"})
        assert await faults(at.on.rig.store) == []
        assert reads or len(at.removed) == 2  # of the job that was deleted, and of the one that was taken down
        assert at.on.discord.violations == []
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_cancel_and_again_during_a_slow_commit_answer_truthfully(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "DECISION_TIMEOUT", 0.6)
    monkeypatch.setattr(requests, "DATABASE_TIMEOUT", 0.3)
    async with trial(url, tmp_path, monkeypatch) as at:
        job = await at.job()
        at.slow(1)
        ordered = await at.who.slash(at.case.channel, "imagine", prompt="a lighthouse")
        pressed = await at.press(f"j1:{job.id}:cancel")
        answers = [_text((await each.acked(within=SECONDS)).message) for each in (ordered, pressed)]
        await at.settled()

        assert "nothing was started" in answers[0]
        assert "may have been made anyway" in answers[1]
        states = [row["state"] for row in await rows(at.on.rig.store, "SELECT state FROM jobs")]
        assert set(states) == {"cancelled"}  # the command has a row only if its write had begun
