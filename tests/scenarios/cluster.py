"""Several processes of the bot on one PostgreSQL, between a local Discord and the local image service."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bot.sandbox.service import Pace
from bot.store.postgres import SERVER_UNAVAILABLE
from tests.scenarios.harness import COMMANDS, QUICK, SOON, TICK, Bot, Scene, has_traceback, scene
from tests.store.ledger_model import faults, opened


@dataclass
class Cluster:
    """The processes by name, each started and ended by itself, beside one `Scene` whose own process is not started."""

    scene: Scene
    url: str
    processes: dict[str, Bot] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # the id of each process

    async def start(self, name: str, roles: str, **settings: object) -> Bot:
        """Start a process; returns once it has entered itself."""
        folder = self.scene.folder / name
        folder.mkdir(exist_ok=True)
        last = await self._last_entered()
        env = self.scene.bot.env | {
            "DARKROOM_PROCESS__ROLES": json.dumps(roles.split(",")),
            **{f"DARKROOM_{key.upper()}": str(value) for key, value in settings.items()},
        }
        process = self.processes[name] = Bot(folder, env)
        await process.start()
        entered = await self.until(lambda rows: rows, "SELECT id FROM processes WHERE id > $1", last)
        self.numbers[name] = entered[0][0]
        if "gateway" in roles:
            await self.scene.discord.ready(*COMMANDS, within=SOON)
        return process

    async def _last_entered(self) -> int:
        try:
            return int((await self.rows("SELECT coalesce(max(id), 0) FROM processes"))[0][0])
        except asyncpg.UndefinedTableError:
            return 0

    async def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def until(self, check: Any, sql: str, *args: object, within: float = SOON) -> list[tuple[Any, ...]]:
        """Wait until *check* is true of the rows; returns them."""
        try:
            async with asyncio.timeout(within):
                while True:
                    try:
                        rows = await self.rows(sql, *args)
                    except (asyncpg.UndefinedTableError, *SERVER_UNAVAILABLE):
                        rows = []
                    if check(rows):
                        return rows
                    await asyncio.sleep(TICK)
        except TimeoutError:
            logs = {name: each.log[-2000:] for name, each in self.processes.items()}
            raise TimeoutError(f"not within {within} s: {sql}; {logs}") from None

    async def at_rest(self, *, within: float = 3 * SOON) -> None:
        """Wait until every job has ended and every reply shows its last version; check money and replies."""
        await self.until(
            lambda rows: rows == [(0, 0)],
            """
            SELECT (SELECT count(*) FROM jobs WHERE ended_at IS NULL),
                (SELECT count(*) FROM replies WHERE delivered < wanted AND gone = 0 AND message_id IS NOT NULL)
            """,
            within=within,
        )
        async with opened(self.url) as store:
            assert await faults(store) == []
        accepted = self.scene.host.accepted
        assert len(accepted) == len(set(accepted)), "the host was asked twice"
        for each in self.processes.values():
            assert not has_traceback(each.log), each.log

    async def states(self) -> dict[str, int]:
        return dict(await self.rows("SELECT state, count(*) FROM jobs GROUP BY state"))


@asynccontextmanager
async def cluster(folder: Path, url: str, *, pace: Pace = QUICK, **settings: Any) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(scene(folder, pace=pace, start=False, database__url=url, **settings))
        made = Cluster(base, url)
        try:
            yield made
        finally:
            for each in made.processes.values():
                if each.process is not None:
                    if each.process.returncode is None:
                        each.process.send_signal(signal.SIGCONT)
                    await each.kill()
