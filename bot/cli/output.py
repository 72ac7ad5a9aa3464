"""What the commands that look into the database share: opening it, printing what was found, and how they end.

Rows hold words of members and hosts. What is printed of them can neither steer a terminal nor pass for a line of ours.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from bot.observability.logging import printable
from bot.settings.settings import DatabaseSection, Settings
from bot.store.connect import open_existing
from bot.store.database import DATABASE_ERRORS, Database

T = TypeVar("T")
TIMEOUT = 30.0  # seconds for the database, opening included
LONG = 1800.0  # for what goes through every row
MOST = 60  # characters in a table's cell
NOTHING = "-"


class CannotRun(Exception):
    """The command cannot even begin; the text is one sentence. Exit code 2."""


class NotDone(Exception):
    """What was asked for could not be done; the text is one sentence. Exit code 1."""


# --- the database


def on_database(work: Callable[[Database], Awaitable[T]], *, patience: float = TIMEOUT) -> T:
    """Run *work* on the configured database, which must exist; `CannotRun` where it cannot be used in time."""
    return asyncio.run(_on_database(Settings.load().database, work, patience=patience))


async def _on_database(section: DatabaseSection, work: Callable[[Database], Awaitable[T]], *, patience: float) -> T:
    try:
        async with asyncio.timeout(patience):
            database = await open_existing(section.url.get_secret_value())
            try:
                return await work(database)
            finally:
                await database.aclose()
    except DATABASE_ERRORS as exc:
        why = str(exc) or "it does not answer"
        raise CannotRun(f"the database {section.shown} cannot be used: {why}") from exc


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


# --- what is typed


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def discord_id(text: str) -> int:
    """An id as Discord gives them; `CannotRun` otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63):
        raise CannotRun(f"{cell(text)!r} is no id of Discord's: those are numbers, such as 80351110224678912")
    return int(text)


# --- what is printed


def print_json(document: Any) -> None:
    """One document in ASCII, so that whatever a string holds arrives escaped."""
    print(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = [list(heads), *([cell(each) for each in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Names and values, one line each; a value keeps its own lines only where `Lines` says so."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        lines = [cell(each, most=None) for each in (value.split("\n") if isinstance(value, Lines) else [value])]
        for head, line in zip([name, *[""] * len(lines)], lines, strict=False):
            print(f"{head.ljust(width)}  {line}".rstrip())


class Lines(str):
    """A text of several lines."""

    __slots__ = ()


def cell(value: object, *, most: int | None = MOST) -> str:
    """*value* on one line, with escapes for what a terminal would obey, cut to *most* characters."""
    text = printable("" if value is None else str(value)).strip() or NOTHING
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def iso(at: int | None) -> str | None:
    """Milliseconds as `2026-11-20T12:00:00.000Z`."""
    return None if at is None else _moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: int | None) -> str | None:
    """Milliseconds as `2026-11-20 12:00:00`, for tables that say that it is UTC."""
    return None if at is None else _moment(at).strftime("%Y-%m-%d %H:%M:%S")


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)


def dollars(micro_usd: int) -> str:
    """Micro-dollars as `$0.08`: at least two decimals, and as many as there are."""
    whole, rest = divmod(abs(micro_usd), 1_000_000)
    return f"{'-' if micro_usd < 0 else ''}${whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def plural(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
