"""Reservations a second and their latency at 1, 32 and 256 callers: the store and alternatives, on both databases.

A reservation is the product's own `Store.accept`: interaction, totals, ledger row, job, reply and token in one
transaction that is on disk when the call returns. The others run the same statements (bench/_rivals.py). Each is
measured on an empty ledger and on one of 1,000,000 rows; whoever still waits at the end counts with the wait so far.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import _rivals
from bench._load import Measured, measure
from bench._million import fill_postgres, fill_sqlite
from bench._rivals import Writes
from bot.store.connect import open_database
from bot.store.database import Database, Tx
from bot.store.ledger_audit import Audit
from tests import postgres

CALLERS = (1, 32, 256)
SIZES = ("empty", "million")
OUT = Path(__file__).parent / "out"
Approach = Callable[[str], AbstractAsyncContextManager[Writes]]
Cells = dict[tuple[str, int], Measured]  # by approach and callers
Row = dict[str, Any]


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Database]:
    database = await open_database(url, running=True)
    try:
        yield database
    finally:
        await database.aclose()


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


SQLITE: Mapping[str, Approach] = {
    "ours": _ours,
    "per_call": lambda url: _rivals.sqlite_per_call(_file(url), journal="delete"),
    "per_call_wal": lambda url: _rivals.sqlite_per_call(_file(url), journal="wal"),
    "locked": lambda url: _rivals.sqlite_locked(_file(url)),
    "sqlalchemy": lambda url: _rivals.sqlite_alchemy(_file(url)),
}
POSTGRES: Mapping[str, Approach] = {
    "ours": _ours,
    "per_call": _rivals.postgres_per_call,
    "locked": _rivals.postgres_locked,
    "sqlalchemy": _rivals.postgres_alchemy,
}


def main() -> list[Row]:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT, prefix="tmp-") as folder:
        rows = [_row("disk_flush", _flush(Path(folder)), "us")]
        _warn_of_memory(Path(folder), "SQLite")
        rows += asyncio.run(_sqlite(Path(folder)))
    try:
        with _server() as address:
            rows += asyncio.run(_postgres(address))
    except postgres.NoPostgres as exc:
        print(exc)
    return rows


# --- SQLite


async def _sqlite(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        url = f"sqlite:///{folder}/{size}.db"
        await _made(url)
        if size == "million":
            rows.append(_row("sqlite_rebuilt", fill_sqlite(_file(url)), "s"))
            rows += await _audit("sqlite", url)
        cells = await _compare(SQLITE, url)
        _show(f"SQLite, {size} ledger", cells)
        rows += [*_rows(f"sqlite_{size}", cells), *_aims(cells, "" if size == "million" else "_empty")]
    return rows


def _aims(cells: Cells, suffix: str) -> Iterator[Row]:
    """Speed of the store relative to a connection per call at 256 callers, with the default journal and with WAL."""
    ours = cells["ours", 256]
    for approach, form in (("per_call", "full"), ("per_call_wal", "full_wal")):
        theirs = cells[approach, 256]
        yield _row(f"speedup_256_{form}{suffix}", ours.per_second / theirs.per_second, "x")
        yield _row(f"p99_ratio_256_{form}{suffix}", ours.p99 / theirs.p99, "", digits=5)


# --- PostgreSQL


@contextmanager
def _server() -> Iterator[str]:
    """The tests' PostgreSQL server, with fsync on."""
    with postgres.server() as address:
        if postgres.GIVEN is None:
            asyncio.run(_by_hand(address, "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"))
        (folder,) = asyncio.run(_by_hand(address, "SHOW data_directory"))[0]
        _warn_of_memory(Path(str(folder)), "PostgreSQL")
        yield address


async def _by_hand(address: str, *statements: str) -> list[tuple[object, ...]]:
    return await postgres.by_hand(address, *statements)


async def _postgres(address: str) -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        async with postgres.fresh(address) as url:
            await _made(url)
            if size == "million":
                rows.append(_row("postgres_rebuilt", await fill_postgres(url), "s"))
                rows += await _audit("postgres", url)
            cells = await _compare(POSTGRES, url)
        _show(f"PostgreSQL, {size} ledger", cells)
        rows += _rows(f"postgres_{size}", cells)
    (fsync,) = (await _by_hand(address, "SHOW fsync"))[0]
    rows.append(_row("postgres_flushes", int(fsync == "on"), ""))
    return rows


# --- both


async def _made(url: str) -> None:
    async with _ours(url):
        """Create the tables."""


async def _compare(approaches: Mapping[str, Approach], url: str) -> Cells:
    """Measure all approaches in turn for each number of callers, so that a slow minute of the machine affects all."""
    cells: Cells = {}
    for callers in CALLERS:
        for name, approach in approaches.items():
            async with approach(url) as database:
                cells[name, callers] = await measure(database, callers=callers)
    return cells


async def _audit(engine: str, url: str) -> list[Row]:
    """Time of the audit's queries over 1,000,000 rows."""
    async with _ours(url) as database:
        audit = Audit(database)
        found, comparing = await _timed(audit.mismatches)
        if found:
            raise RuntimeError(f"the totals are not the sum of the rows: {found[:3]}")
        _, books = await _timed(audit.summaries)
        rows = await database.read(_ledger_rows)
    return [
        _row(f"{engine}_ledger_rows", rows, ""),
        _row(f"{engine}_audit_differences", comparing, "s"),
        _row(f"{engine}_audit_books", books, "s"),
    ]


async def _ledger_rows(tx: Tx) -> int:
    row = await tx.one("SELECT count(*) AS n FROM ledger")
    return int(row["n"]) if row else 0


async def _timed(look: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return await look(), time.perf_counter() - began


def _flush(folder: Path) -> float:
    """Microseconds to flush a page to this disk: the cheaper, the smaller the possible gain."""
    took = []
    with closing(os.fdopen(os.open(folder / "flush", os.O_CREAT | os.O_WRONLY), "wb", buffering=0)) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def _warn_of_memory(folder: Path, engine: str) -> None:
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return
    kinds = {each.split()[1]: each.split()[2] for each in mounts.read_text().splitlines()}
    kind = next((kinds[str(each)] for each in (folder, *folder.resolve().parents) if str(each) in kinds), "unknown")
    print(f"{engine} writes on {kind}" + (": flushing is free there, the numbers mean little" * (kind == "tmpfs")))


# --- report


def _show(title: str, cells: Cells) -> None:
    approaches = list(dict.fromkeys(approach for approach, _ in cells))
    print(f"\n{title}: reservations a second, p50 and p99 in ms\n{'':13}", end="")
    print("".join(f"{f'{callers} callers':>32}" for callers in CALLERS))
    for approach in approaches:
        each = (cells[approach, callers] for callers in CALLERS)
        print(f"{approach:13}" + "".join(f"{one.per_second:12.0f}{one.p50:10.2f}{one.p99:10.2f}" for one in each))
    print(flush=True)


def _rows(prefix: str, cells: Cells) -> Iterator[Row]:
    for (approach, callers), each in cells.items():
        name = partial("{}_{}_{}_{}".format, prefix, approach, callers)
        yield _row(name("per_second"), each.per_second, "/s")
        yield _row(name("p50"), each.p50, "ms")
        yield _row(name("p99"), each.p99, "ms")
        yield _row(name("waiting"), each.waiting, "")


def _row(name: str, value: float, unit: str, *, digits: int = 3) -> Row:
    return {"name": name, "value": round(value, digits), "unit": unit}
