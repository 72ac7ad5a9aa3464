"""The whole bot as a process of its own, between a local Discord and the local image service, over real sockets."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bot.sandbox.service import ImageService, Pace, Run
from bot.settings.settings import SHIPPED
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.rate_limits import RateLimits
from tests.discord.schema import check_schema
from tests.discord.server import LocalDiscord
from tests.discord.world import Channel, Guild

COMMANDS = ("imagine", "edit", "Edit this", "jobs", "usage", "help")
SOON = 20.0  # seconds: far more than anything here takes, so that only a hang runs into it
QUICK = Pace(queue_s=0.0, run_s=0.1, slots=None)
SMALL = 1 / 8  # of the size asked for: drawing is most of what the image service does
TIMING = {"shortest": 0.05, "soft": 30, "hard": 60, "rare": 0.2, "give_up": 90}
USUAL = (0.05, 0.15)  # seconds that runs take
REPOSITORY = Path(__file__).parents[2]
SITES = re.compile(r"Health is at (http://\S+)/healthz")
RECORDS = re.compile(r"^(?=[0-9-]{10}T)", re.MULTILINE)  # discord.py tells of every lost line with a traceback
ORPHANS = re.compile(r'^Traceback .*\n  File "<string>", line 1, in <module>\n(  .*\n)*\S.*\n', re.MULTILINE)
TICK = 0.01  # seconds between looks at what nobody tells of: rows, the log, what the host was asked
NO_LIMITS: dict[str, Any] = {
    f"quota__{name}": "none"
    for name in ("user_day_images", "user_day_usd", "guild_month_usd", "user_in_flight", "guild_in_flight")
}

T = TypeVar("T")


@dataclass
class Bot:
    """Darkroom's process: started, killed and started again on the same folder."""

    folder: Path
    env: dict[str, str]
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
        """Kill it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Stop it with SIGTERM; returns its exit code."""
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
        """Wait until it ends by itself; returns its exit code."""
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
    operators: Channel
    alice: Member
    bob: Member
    seen: list[Message] = field(default_factory=list)

    async def start(self) -> None:
        await self.bot.start()
        await self.connected()

    async def connected(self) -> None:
        """Wait until the bot receives interactions; over HTTP its endpoint is saved with Discord then."""
        if self.bot.env["DARKROOM_DISCORD__TRANSPORT"] == "gateway":
            await self.discord.ready(*COMMANDS, within=SOON)
            return
        sites = await self.until(lambda: found if len(found := SITES.findall(self.bot.log)) == self.bot.lives else [])
        await self.discord.endpoint.use_when_ready(f"{sites[-1]}/interactions", within=SOON)

    async def restart(self) -> None:
        """Kill it and start it again; returns when it is connected."""
        await self.bot.kill()
        await self.discord.until(lambda: not self.discord.gateway.live, within=SOON)
        await self.start()

    def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """Rows of the bot's database, read by another connection."""
        with sqlite3.connect(f"file:{self.folder / 'darkroom.db'}?mode=ro", uri=True) as connection:
            result = connection.execute(sql, args).fetchall()
        connection.close()
        return result

    async def until(self, check: Callable[[], T], *, within: float = SOON) -> T:
        """Poll for a result that has no event, and return it."""
        try:
            async with asyncio.timeout(within):
                while not (result := check()):  # noqa: ASYNC110 - another process's rows tell nobody
                    await asyncio.sleep(TICK)
        except TimeoutError:
            states = self.rows("SELECT state, reason, cancel, request FROM jobs")
            raise TimeoutError(f"not within {within} s; {states}; {self.bot.log[-4000:]}") from None
        return result

    async def asks(self, member: Member, prompt: str, **options: Any) -> Interaction:
        """An acknowledged /imagine."""
        asked = await member.slash(self.channel, "imagine", prompt=prompt, **options)
        await asked.acked()
        return asked

    def card(self, asked: Interaction) -> Message:
        """The current reply."""
        assert asked.message is not None
        return asked.message

    def job(self, asked: Interaction) -> dict[str, Any]:
        """The job's row, by column."""
        with sqlite3.connect(f"file:{self.folder / 'darkroom.db'}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            sql = "SELECT jobs.* FROM jobs JOIN interactions ON interactions.job = jobs.id WHERE interactions.id = ?"
            row = connection.execute(sql, (asked.id,)).fetchone()
        connection.close()
        return dict(row) if row is not None else {}

    async def reaches(self, asked: Interaction, *states: str) -> dict[str, Any]:
        """Wait until its job is in one of *states*; returns the row."""
        return await self.until(lambda: row if (row := self.job(asked)).get("state") in states else {})

    def charged(self, asked: Interaction) -> tuple[str, int, int]:
        """How its reservation ended: settle or release, images, micro-dollars."""
        sql = "SELECT kind, images, micro_usd FROM ledger WHERE job = ? AND kind IN ('settle', 'release')"
        (row,) = self.rows(sql, self.job(asked)["id"])
        return row[0], row[1], row[2]

    def host_cost(self, asked: Interaction) -> str | None:
        """The basis of the provider's cost of its job: known, assumed or None."""
        result = self.rows("SELECT basis FROM host_cost WHERE job = ?", self.job(asked)["id"])
        return result[0][0] if result else None

    def runs(self, prompt: str) -> list[Run]:
        """The runs that the provider has accepted for *prompt*."""
        return [each for each in self.host.runs.values() if each.prompt == prompt]

    async def at_rest(self) -> None:
        """Wait until every job has ended and every reply shows its last version."""
        unfinished = "SELECT count(*) FROM jobs WHERE ended_at IS NULL"
        unsent = "SELECT count(*) FROM replies WHERE delivered < wanted AND gone = 0 AND message_id IS NOT NULL"
        await self.until(lambda: self.rows(unfinished) == [(0,)] and self.rows(unsent) == [(0,)], within=2 * SOON)

    def assert_at_rest(self) -> None:
        """Check money and replies after every job has ended."""
        self.assert_in_order()
        jobs = self.rows("SELECT id, state, reason, run_id, json_extract(request, '$.prompt') FROM jobs")
        reserved = self.rows("SELECT sum(reserved_images), sum(reserved_micro_usd) FROM totals")
        assert reserved in ([(0, 0)], [(None, None)]), "something is still reserved"
        for job, state, *_ in jobs:
            self._assert_paid_for(job, state)
        asked = Counter(prompt for *_, prompt in jobs)
        assert Counter(run.prompt for run in self.host.runs.values()) <= asked, "the host was asked twice"
        known = {run_id for *_, run_id, _ in jobs}
        lost = {prompt for _, _, reason, _, prompt in jobs if reason == "unknown"}
        assert all(run.id in known or run.prompt in lost for run in self.host.runs.values()), "a paid run was forgotten"
        for job, state, *_ in jobs:
            about = [each for each in self.channel.messages if any(job in (b.custom_id or "") for b in each.buttons)]
            assert len(about) <= 1, "two replies for one job"
            assert all(
                ("This doesn't count toward any limits." in each.text) == (state != "succeeded") for each in about
            )

    def _assert_paid_for(self, job: str, state: str) -> None:
        """One reservation with one end: settled for the downloaded pictures, or released."""
        rows = self.rows("SELECT kind, images, micro_usd FROM ledger WHERE job = ?", job)
        ledger = {kind: amount for kind, *amount in rows}
        images, micro_usd = ledger.pop("reserve")
        assert len(ledger) == 1, ledger
        if state != "succeeded":
            assert ledger == {"release": [images, micro_usd]}
        else:
            made = self.rows("SELECT count(*) FROM pictures WHERE job = ?", job)[0][0]
            assert ledger == {"settle": [made, micro_usd // images * made]}

    def states(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT state FROM jobs ORDER BY created_at, id")]

    def books(self) -> dict[str, int]:
        """The number of ledger rows by kind."""
        return dict(self.rows("SELECT kind, count(*) FROM ledger GROUP BY kind"))

    def assert_in_order(self) -> None:
        """Check what must be true at the end of every scenario."""
        reserved = self.rows(
            "SELECT count(*) FROM ledger r JOIN jobs j ON j.id = r.job WHERE r.kind = 'reserve' AND j.ended_at IS NOT "
            "NULL AND NOT EXISTS (SELECT 1 FROM ledger e WHERE e.job = r.job AND e.kind IN ('settle', 'release'))"
        )
        assert reserved == [(0,)], "a reservation outlived its job"
        accepted, submits = (
            len(self.host.accepted),
            len(self.rows("SELECT 1 FROM job_events WHERE after = 'submitting'")),
        )
        assert accepted <= submits, "the host was asked more often than we wrote down"
        assert len(self.host.accepted) == len(set(self.host.accepted))
        assert list(check_schema(self.discord.requests)) == []
        assert self.discord.violations == []
        log = self.bot.log
        assert not has_traceback(log, killed=self.bot.lives > 1), log
        for secret in (self.discord.token, "a-token-for-the-host", "simple-canary-prompt"):
            assert secret not in log, "a secret in the log"


def has_traceback(log: str, *, killed: bool = True) -> bool:
    """Whether *log* has a traceback of ours; *killed*: not of children whose parent was killed as they began."""
    ours = RECORDS.split(ORPHANS.sub("", log) if killed else log)
    return any("Traceback" in each for each in ours if "Attempting a reconnect" not in each)


def config(folder: Path, *, timing: Mapping[str, float] = TIMING, usual: tuple[float, float] | None = USUAL) -> Path:
    """Write a configuration to *folder*: the shipped catalogue with short times."""
    text = (SHIPPED.parent / "models.toml").read_text()
    lines, section = [], ""
    for line in text.splitlines():
        section = line.split("#")[0].strip() if line.startswith("[") else section
        name = line.split("=")[0].strip()
        if section.endswith(".timing]") and name in timing:
            line = f"{name} = {timing[name]}"  # noqa: PLW2901
        if section.endswith(".usual]") and name.startswith('"') and usual is not None:
            line = f"{name} = {list(usual)}"  # noqa: PLW2901
        lines.append(line)
    (folder / "models.toml").write_text("\n".join(lines))
    path = folder / "darkroom.toml"
    path.write_text('[files]\nmodels = "models.toml"\n')
    return path


@asynccontextmanager
async def scene(
    folder: Path,
    *,
    pace: Pace = QUICK,
    start: bool = True,
    timing: Mapping[str, float] = TIMING,
    beside: ImageService | None = None,
    **settings: object,
) -> AsyncIterator[Scene]:
    """A server with a channel, Alice and Bob, the bot connected to it. *settings* as `quota__user_day_images=3`.

    *beside* is an image service that runs already.
    """
    service = nullcontext(beside) if beside else ImageService(pace=pace, scale=SMALL).running()
    async with LocalDiscord() as discord, service as host:
        discord.limits = RateLimits()
        guild = discord.add_guild("Studio")
        channel, operators = guild.add_channel("pictures"), guild.add_channel("operators")
        alice, bob = discord.add_member("alice", guild), discord.add_member("bob", guild)
        env = {
            "DARKROOM_CONFIG": str(config(folder, timing=timing)),
            "DARKROOM_DISCORD__TOKEN": discord.token,
            "DARKROOM_DISCORD__API_BASE": discord.api_base,
            "DARKROOM_DISCORD__GATEWAY_URL": discord.gateway_url,
            "DARKROOM_DISCORD__TRANSPORT": os.environ.get("DARKROOM_DISCORD__TRANSPORT", "gateway"),
            "DARKROOM_DISCORD__CDN_HOSTS": json.dumps([discord.cdn_host]),
            "DARKROOM_DISCORD__GUILDS": '["*"]',
            "DARKROOM_DISCORD__LOG_CHANNEL": str(operators.id),
            "DARKROOM_RUNCOMFY__API_TOKEN": "a-token-for-the-host",
            "DARKROOM_RUNCOMFY__API_BASE": host.url,
            "DARKROOM_RUNCOMFY__BALANCE_URL": f"{host.url}/prod/v2/balance",
            "DARKROOM_RUNCOMFY__RESULT_HOSTS": json.dumps([host.url.removeprefix("http://")]),
            "DARKROOM_DATABASE__URL": f"sqlite:///{folder / 'darkroom.db'}",
            "DARKROOM_DATA__DIR": str(folder / "pictures"),
            "DARKROOM_WEB__PORT": "0",
            **{f"DARKROOM_{name.upper()}": str(value) for name, value in settings.items()},
        }
        result = Scene(folder, discord, host, Bot(folder, env), guild, channel, operators, alice, bob)
        try:
            if start:
                await result.start()
            yield result
        finally:
            if result.bot.process is not None:
                await result.bot.kill()


def shows(word: str) -> Any:
    """A predicate: the requester reads *word* in the message, or in what the bot sent to them alone about it."""
    return lambda message: word in message.text or word in _told(message)


def _told(message: Message) -> str:
    """The ephemeral messages that followed a reply."""
    asked = message.interaction
    return "\n".join(each.text for each in asked.followups if each.ephemeral) if asked is not None else ""
