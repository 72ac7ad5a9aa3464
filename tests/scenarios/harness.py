"""The whole bot as a process of its own, between a local Discord and the local image service, over real sockets."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.sandbox.upstream import ImageService, Pace
from bot.settings import SHIPPED
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.schema import check_schema
from tests.discord.server import LocalDiscord
from tests.discord.world import Channel, Guild

COMMANDS = ("imagine", "edit", "Edit this image", "jobs", "usage", "help")
SOON = 20.0  # seconds: far more than anything here takes, so that only a hang runs into it
QUICK = Pace(queue_s=0.0, run_s=0.1, slots=None)
TIMING = {"first": 0.05, "step": 0.05, "longest": 0.1, "soft": 30, "hard": 60, "rare": 0.2, "give_up": 90}
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Bot:
    """Darkroom's process: started, killed and started again on the same folder."""

    folder: Path
    env: Mapping[str, str]
    process: asyncio.subprocess.Process | None = None
    lives: int = 0

    @property
    def log(self) -> str:
        return (self.folder / "bot.log").read_text() if (self.folder / "bot.log").exists() else ""

    async def start(self) -> None:
        assert self.process is None
        self.lives += 1
        with (self.folder / "bot.log").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-W",
                "error::RuntimeWarning",
                "-m",
                "bot",
                "run",
                cwd=REPOSITORY,
                env={**os.environ, **self.env},
                stdout=out,
                stderr=out,
            )

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as an operator would; its exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(SOON):
            code = await self.process.wait()
        self.process = None
        return code

    async def exited(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self.process is not None
        async with asyncio.timeout(SOON):
            code = await self.process.wait()
        self.process = None
        return code


@dataclass
class Scene:
    folder: Path
    discord: LocalDiscord
    host: ImageService
    bot: Bot
    guild: Guild
    channel: Channel
    alice: Member
    bob: Member
    seen: list[Message] = field(default_factory=list)

    async def start(self) -> None:
        await self.bot.start()
        await self.discord.ready(*COMMANDS, within=SOON)

    async def restart(self) -> None:
        """Kill it and start it again; returns when it is connected."""
        await self.bot.kill()
        await self.discord.until(lambda: not self.discord.gateway.live, within=SOON)
        await self.start()

    def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """What the bot's database says, read beside it."""
        with sqlite3.connect(f"file:{self.folder / 'darkroom.db'}?mode=ro", uri=True) as connection:
            found = connection.execute(sql, args).fetchall()
        connection.close()
        return found

    def states(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT state FROM jobs ORDER BY created_at, id")]

    def books(self) -> dict[str, int]:
        """How many ledger rows of each kind there are."""
        return dict(self.rows("SELECT kind, count(*) FROM ledger GROUP BY kind"))

    def assert_in_order(self) -> None:
        """What must hold at the end of every scenario, whatever happened in it."""
        held = self.rows(
            "SELECT count(*) FROM ledger r JOIN jobs j ON j.id = r.job WHERE r.kind = 'reserve' AND j.ended_at IS NOT "
            "NULL AND NOT EXISTS (SELECT 1 FROM ledger e WHERE e.job = r.job AND e.kind IN ('settle', 'release'))"
        )
        assert held == [(0,)], "a reservation outlived its job"
        accepted, submits = (
            len(self.host.accepted),
            len(self.rows("SELECT 1 FROM job_events WHERE after = 'submitting'")),
        )
        assert accepted <= submits, "the host was asked more often than we wrote down"
        assert len(self.host.accepted) == len(set(self.host.accepted))
        assert list(check_schema(self.discord.requests)) == []
        assert self.discord.violations == []
        log = self.bot.log
        assert "Traceback" not in log, log
        for secret in (self.discord.token, "a-token-for-the-host", "simple-canary-prompt"):
            assert secret not in log, "a secret in the log"


def config(folder: Path, *, timing: Mapping[str, float] = TIMING) -> Path:
    """A configuration in *folder*: the shipped catalogue with quick timing."""
    text = (SHIPPED.parent / "models.toml").read_text()
    lines, inside = [], False
    for line in text.splitlines():
        inside = line.split("#")[0].strip().endswith(".timing]") if line.startswith("[") else inside
        name = line.split("=")[0].strip()
        lines.append(f"{name} = {timing[name]}" if inside and name in timing else line)
    (folder / "models.toml").write_text("\n".join(lines))
    path = folder / "darkroom.toml"
    path.write_text('[files]\nmodels = "models.toml"\n')
    return path


@asynccontextmanager
async def scene(folder: Path, *, pace: Pace = QUICK, start: bool = True, **settings: object) -> AsyncIterator[Scene]:
    """A server with a channel, Alice and Bob, the bot connected to it. *settings* as `quota__user_day_images=3`."""
    async with LocalDiscord() as discord, ImageService(pace=pace).running() as host:
        guild = discord.add_guild("Studio")
        channel = guild.add_channel("pictures")
        alice, bob = discord.add_member("alice", guild), discord.add_member("bob", guild)
        env = {
            "DARKROOM_CONFIG": str(config(folder)),
            "DARKROOM_DISCORD__TOKEN": discord.token,
            "DARKROOM_DISCORD__API_BASE": discord.api_base,
            "DARKROOM_DISCORD__GATEWAY_URL": discord.gateway_url,
            "DARKROOM_DISCORD__CDN_HOSTS": json.dumps([discord.cdn_host]),
            "DARKROOM_DISCORD__GUILDS": '["*"]',
            "DARKROOM_RUNCOMFY__API_TOKEN": "a-token-for-the-host",
            "DARKROOM_RUNCOMFY__API_BASE": host.url,
            "DARKROOM_RUNCOMFY__BALANCE_URL": f"{host.url}/prod/v2/balance",
            "DARKROOM_RUNCOMFY__RESULT_HOSTS": json.dumps([host.url.removeprefix("http://")]),
            "DARKROOM_DATABASE__URL": f"sqlite:///{folder / 'darkroom.db'}",
            "DARKROOM_DATA__DIR": str(folder / "pictures"),
            "DARKROOM_WEB__PORT": "0",
            **{f"DARKROOM_{name.upper()}": str(value) for name, value in settings.items()},
        }
        found = Scene(folder, discord, host, Bot(folder, env), guild, channel, alice, bob)
        try:
            if start:
                await found.start()
            yield found
        finally:
            if found.bot.process is not None:
                await found.bot.kill()


def shows(word: str) -> Any:
    """A predicate: the message's text has *word* in it."""
    return lambda message: word in message.text
