"""Acceptances a second on PostgreSQL with 1 and 4 processes, and how long 100 commands at once wait.

Each is `Store.accept` with all limits checked and none reached, on a server with fsync on. *alone*: a transaction for
each request, as on SQLite, for comparison. *pooled*: through PgBouncer in transaction mode.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any, cast

from bench._load import Callers, measure
from bench.ledger import _by_hand, _server
from bot.store.connect import open_database
from bot.store.database import Database
from tests import postgres
from tests.pooler import pooler

CALLERS = 128  # of each process
SESSIONS = 10  # of a pooler on the server
BURST, BURSTS = 100, 30  # commands at once, and how often
WAYS = ("together", "pooled", "alone")
Row = dict[str, Any]


class _Alone:
    """A database that takes the requests one by one."""

    def __init__(self, database: Database) -> None:
        self.write = database.write
        self.shared = False


def _process(pipe: Connection, url: str, number: int, way: str) -> None:
    asyncio.run(_work(pipe, url, number, way))


async def _work(pipe: Connection, url: str, number: int, way: str) -> None:
    with pooler(url, sessions=SESSIONS) if way == "pooled" else nullcontext(url) as used_url:
        await _work_on(pipe, used_url, url if way == "pooled" else "", number, way)


async def _work_on(pipe: Connection, url: str, direct_url: str, number: int, way: str) -> None:
    database = await open_database(url, direct_url=direct_url, running=True)
    used = cast("Database", _Alone(database)) if way == "alone" else database
    callers = Callers(used, seed=number)
    try:
        await callers.reserve()
        pipe.send("ready")
        while (order := await asyncio.to_thread(pipe.recv)) is not None:
            if order == "measure":
                found = await measure(used, callers=CALLERS, seed=number)
                pipe.send((found.per_second, found.p50, found.p99))
            else:
                pipe.send(await _burst(callers, order))
    finally:
        await database.aclose()


async def _burst(callers: Callers, at_once: int) -> list[float]:
    """Milliseconds until each of *at_once* requests is accepted."""
    began = time.perf_counter()

    async def one() -> float:
        await callers.reserve()
        return (time.perf_counter() - began) * 1000

    return await asyncio.gather(*(one() for _ in range(at_once)))


def main() -> list[Row]:
    rows: list[Row] = []
    with _server() as address:
        for processes, way in itertools.product((1, 4), WAYS):
            rows += asyncio.run(_on_a_new_database(address, processes, way))
        (fsync,) = asyncio.run(_by_hand(address, "SHOW fsync"))[0]
    rows.append(_row("fsync", int(fsync == "on"), ""))
    return rows


async def _on_a_new_database(address: str, processes: int, way: str) -> list[Row]:
    async with postgres.fresh(address) as url:
        database = await open_database(url)
        await database.aclose()
        return await asyncio.to_thread(_measured, url, processes, way)


def _measured(url: str, processes: int, way: str) -> list[Row]:
    context, pipes, started = multiprocessing.get_context("spawn"), [], []
    for number in range(1, processes + 1):
        ours, theirs = multiprocessing.Pipe()
        started.append(context.Process(target=_process, args=(theirs, url, number, way), daemon=True))
        started[-1].start()
        pipes.append(ours)
    for each in pipes:
        each.recv()
    try:
        return list(_rows(pipes, f"{way}_{processes}"))
    finally:
        for each in pipes:
            each.send(None)
        for process in started:
            process.join()


def _rows(pipes: list[Connection], name: str) -> Iterator[Row]:
    found = _ask(pipes, "measure")
    yield _row(f"{name}_per_second", sum(each[0] for each in found), "/s")
    yield _row(f"{name}_p50", max(each[1] for each in found), "ms")
    yield _row(f"{name}_p99", max(each[2] for each in found), "ms")
    took = sorted(one for _ in range(BURSTS) for each in _ask(pipes, BURST // len(pipes)) for one in each)
    yield _row(f"{name}_burst_p50", took[len(took) // 2], "ms")
    yield _row(f"{name}_burst_p99", took[len(took) * 99 // 100], "ms")


def _ask(pipes: list[Connection], order: object) -> list[Any]:
    for each in pipes:
        each.send(order)
    return [each.recv() for each in pipes]


def _row(name: str, value: float, unit: str) -> Row:
    return {"name": name, "value": round(value, 2), "unit": unit}
