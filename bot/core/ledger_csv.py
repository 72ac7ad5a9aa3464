"""Writes rows of the members' ledger as CSV: one line a row, times on a given calendar, money in dollars."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Protocol

HEADER = ("id", "time", "kind", "server", "user", "channel", "actor", "job", "pictures", "dollars", "bonus_pictures",
          "reason", "route", "price_version")  # fmt: skip

# Where a spreadsheet would begin to calculate: at the start of a cell, and after whatever it may take for the end of
# one (many countries separate cells by semicolons, and read the quotes of others as letters).
FORMULA = re.compile(r"((?:^|[;,|\t\r\n])[\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
BLANK = re.compile(r"^(?=[\t\r\n])")


class Entry(Protocol):
    """A row of the ledger; 0 for a channel, member or actor is nobody in particular."""

    @property
    def id(self) -> int: ...
    @property
    def at(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def server(self) -> int: ...
    @property
    def user(self) -> int: ...
    @property
    def channel(self) -> int: ...
    @property
    def actor(self) -> int: ...
    @property
    def job(self) -> str | None: ...
    @property
    def images(self) -> int: ...
    @property
    def micro_usd(self) -> int: ...
    @property
    def bonus_images(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def route(self) -> str | None: ...
    @property
    def price_version(self) -> str | None: ...


def csv_of(entries: Iterable[Entry], zone: tzinfo, *, header: bool = True) -> str:
    """The lines of *entries*, under the names of the columns; without *header* they go on a text begun before."""
    out = io.StringIO()
    lines = csv.writer(out)
    if header:
        lines.writerow(HEADER)
    lines.writerows(_cells(each, zone) for each in entries)
    return out.getvalue()


def _cells(entry: Entry, zone: tzinfo) -> tuple[object, ...]:
    return (
        entry.id,
        datetime.fromtimestamp(entry.at / 1000, zone).isoformat(timespec="seconds"),
        str(entry.kind),
        entry.server or "",
        entry.user or "",
        entry.channel or "",
        entry.actor or "",
        harmless(entry.job),
        entry.images,
        f"{Decimal(entry.micro_usd) / 1_000_000:.6f}",
        entry.bonus_images,
        harmless(entry.reason),
        harmless(entry.route),
        harmless(entry.price_version),
    )


def harmless(text: str | None) -> str:
    """*text* with an apostrophe before everything that a spreadsheet would calculate."""
    return BLANK.sub("'", FORMULA.sub(r"\1'", text or ""))
