"""The demo's server: its members, the rules of its channels, a bonus, and the pictures that exist at the start."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import discord
from PIL import Image, ImageDraw

from bot.app import App
from bot.core.jobs import HOUR, State
from bot.core.quota import Grant, Holder, Rule, Unit
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By

TIMEOUT = 60.0  # seconds a job of the history may take
PROMPT = "a lighthouse on a cliff at dusk, watercolour"
CHANGE = "make it a snowy winter night"
FOX = "a fox reading under a tree, paper cut"
SKETCH = "a paper boat, pencil sketch"
BONUS = 20  # pictures
BENS_PICTURES = 5  # a day


@dataclass(frozen=True, slots=True)
class Server:
    """Two members, a moderator and an admin, and three channels with different rules."""

    id: int
    pictures: Any  # everything is allowed here
    sketches: Any  # one picture of 1K at a time
    lounge: Any  # pictures are not enabled
    ada: Any
    ben: Any
    mia: Any  # moderator: Manage Messages
    noor: Any  # admin: Manage Server

    @classmethod
    def create(cls, env: Any) -> "Server":
        guild = env.create_guild("The Darkroom")
        moderator = guild.create_role("Moderator", permissions=discord.Permissions(manage_messages=True))
        admin = guild.create_role("Admin", permissions=discord.Permissions(manage_guild=True, manage_messages=True))

        def member(name: str, *roles: Any) -> Any:
            return guild.add_member(env.create_user(name.lower(), global_name=name), roles=roles)

        return cls(
            guild.id,
            guild.create_text_channel("pictures", topic="Everything is allowed"),
            guild.create_text_channel("sketches", topic="One picture at a time, up to 1K"),
            guild.create_text_channel("lounge", topic="Pictures are not enabled"),
            member("Ada"),
            member("Ben"),
            member("Mia", moderator),
            member("Noor", admin),
        )

    @property
    def channels(self) -> Sequence[Any]:
        return self.pictures, self.sketches, self.lounge

    @property
    def members(self) -> Sequence[Any]:
        return self.ada, self.ben, self.mia, self.noor

    async def set_rules(self, app: App) -> None:
        """Set the rules of the channels, a limit for Ben and a bonus for Ada, as Noor would with the admin commands."""
        quotas, now = app.services.quotas, app.services.clock()
        cap = ChannelCeiling(resolution="1K", count=1)

        def by(change: str) -> By:
            return By(change, self.id, self.noor.id, now)

        def limited(settings: ServerSettings) -> ServerSettings:
            return settings.model_copy(update={"caps": {self.sketches.id: cap}})

        def denied(settings: ServerSettings) -> ServerSettings:
            return settings.model_copy(update={"denied": (self.lounge.id,)})

        entry = {"setting": "channels.limit", "channel": self.sketches.id, "resolution": "1K", "count": 1}
        await quotas.change_server_settings(by("demo-limit"), limited, body=entry)
        entry = {"setting": "channels.deny", "channel": self.lounge.id}
        await quotas.change_server_settings(by("demo-deny"), denied, body=entry)
        await quotas.set_rule(by("demo-rule"), Rule(Holder.USER, self.ben.id, Unit.IMAGES, Window.DAY, BENS_PICTURES))
        bonus = Grant(0, Unit.IMAGES, BONUS, expires_at=now + 30 * 24 * HOUR)
        await quotas.grant(by("demo-grant"), self.ada.id, bonus, reason="Won the autumn contest")


class Past:
    """Makes what the server has at the start: messages, finished pictures, and an edit of one of them."""

    def __init__(self, app: App, server: Server) -> None:
        self._app = app
        self._server = server

    async def make(self) -> bool:
        """Let the members act, and print each state of each job. Returns whether all pictures were delivered."""
        at = self._server
        await at.mia.send(at.pictures, "Welcome! Type `/imagine` and say what you would like to see.")
        await at.mia.send(at.sketches, "Quick ideas only: one picture at a time, up to 1K.")
        await at.mia.send(at.lounge, "This channel is for talking. Pictures are made in the other two.")
        first = await self._start(at.ada, at.pictures, "imagine", prompt=PROMPT, count=2)
        if not await self._follow(first):
            return False
        record = await self._app.services.store.job_record(first.job)
        assert record is not None
        picture = record.pictures[0].file
        others = [
            await self._start(at.ada, at.pictures, "edit", prompt=CHANGE, result=picture),
            await self._start(at.ada, at.sketches, "imagine", prompt=SKETCH),
            await self._start(at.ben, at.pictures, "imagine", prompt=FOX),
        ]
        succeeded = [await self._follow(each) for each in others]
        harbour = ("harbour.png", sample_picture())
        await at.ben.send(at.pictures, "Our harbour this morning. Who makes an evening of it?", attachments=[harbour])
        return all(succeeded)

    async def _start(self, member: Any, channel: Any, command: str, **options: Any) -> "_Started":
        store = self._app.services.store
        known = {each.job.id for each in (await store.open_jobs(member.id, since=0, limit=100))[0]}
        began = time.time()
        await member.slash(channel, command, **options)
        found, _ = await store.open_jobs(member.id, since=0)
        job = next(each.job.id for each in found if each.job.id not in known)
        shown = " ".join(f"{name}:{value}" for name, value in options.items())
        return _Started(job, f"{member.name.capitalize()} in #{channel.name}: /{command} {shown}", began)

    async def _follow(self, started: "_Started") -> bool:
        """Print each state of a job until it has ended and its card is shown. Returns whether it succeeded."""
        print(f"\n{started.command}", flush=True)
        state = None
        while time.time() - started.at < TIMEOUT:
            record = await self._app.services.store.job_record(started.job)
            assert record is not None
            if record.job.state is not state:
                state = record.job.state
                print(f"  {time.time() - started.at:5.1f} s  {state.value}", flush=True)
            if state.is_final and record.reply.delivered >= record.reply.wanted:
                for picture in record.pictures:
                    print(f"           {picture.file}  {picture.width} x {picture.height}")
                return state is State.SUCCEEDED
            await asyncio.sleep(0.05)
        return False


@dataclass(frozen=True, slots=True)
class _Started:
    """A job that a member has just requested: its id, the command, and when (seconds since 1970)."""

    job: str
    command: str
    at: float


def sample_picture() -> bytes:
    """Return a small PNG to edit."""
    image = Image.new("RGB", (768, 512), "#8fb8de")
    draw = ImageDraw.Draw(image)
    draw.ellipse((560, 60, 660, 160), fill="#ffe08a")
    draw.rectangle((0, 330, 768, 512), fill="#2f5d8a")
    draw.polygon([(180, 330), (420, 330), (380, 390), (220, 390)], fill="#7a3b2e")
    draw.polygon([(300, 330), (300, 170), (400, 310)], fill="#f5f1e6")
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
