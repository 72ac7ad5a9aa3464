"""`darkroom ledger`: whether the books balance, their repair, and every row of them, also while the bot runs."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.cli.arguments import Parser, some_id
from bot.cli.export import export, export_options
from bot.cli.output import LONG, dollars, iso, json_option, on_database, print_json, print_table, wall_clock
from bot.core.jobs import HOUR
from bot.core.quota import NO_SERVER, Scope
from bot.store import ledger
from bot.store.audit import Audit, LedgerSummary, Mismatch
from bot.store.database import Database
from bot.store.housekeeping import Housekeeping

OLD = 24 * HOUR  # no job lives that long, unless the program was away
MOST_OLD = 100  # that are listed


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the books brought to light. *forgotten* and *old* are ids of jobs."""

    at: int
    differences: Sequence[Mismatch]  # totals that are not the sum of their rows
    forgotten: Sequence[str]  # have ended, and their reservation has not
    old: Sequence[str]  # have been open for a day
    books: Sequence[LedgerSummary]
    mended: Sequence[Mismatch] = field(default=())
    ended: Sequence[str] = field(default=())

    @property
    def balances(self) -> bool:
        return not (self.differences or self.forgotten or self.old)


def add_to(commands: Any) -> None:
    """Add `ledger` to the commands of the program's parser."""
    books = commands.add_parser("ledger", help="check the books and write them out, also while the bot runs")
    verbs = books.add_subparsers(required=True, metavar="verb", parser_class=Parser)

    check = verbs.add_parser("check", help="whether the totals are the sum of their rows, and who paid what")
    check.add_argument("--repair", action="store_true", help="put right what can be")
    json_option(check)
    check.set_defaults(run=_check)

    rows = verbs.add_parser("export", help="every row of every server as CSV")
    export_options(rows)
    rows.set_defaults(run=lambda chosen: export(chosen, None))


def _check(chosen: argparse.Namespace) -> int:
    async def work(database: Database) -> Found:
        return await look(database, now=wall_clock(), repair=chosen.repair)

    found = on_database(work, patience=LONG)
    if chosen.json:
        print_json(_document(found, repair=chosen.repair))
    else:
        _print(found)
    return 0 if found.balances else 1


async def look(database: Database, *, now: int, repair: bool = False) -> Found:
    """Look at everything; where *repair* is set, put right what can be, then look again."""
    audit, rows = Audit(database), Housekeeping(database)
    ended = await rows.end_orphaned_reservations(now=now) if repair else []
    mended = await audit.mismatches() if repair else []
    for each in mended:
        await audit.repair(each)
    return Found(
        at=now,
        differences=await audit.mismatches(),
        forgotten=await database.read(ledger.orphaned_reservations),
        old=await audit.old_reservations(before=now - OLD),
        books=await audit.summaries(),
        mended=mended,
        ended=ended,
    )


# --- what is said of it


def summary(found: Found) -> str:
    """One sentence, two where something was repaired."""
    done = _listed([
        (found.mended, "total was added up anew", "totals were added up anew"),
        (found.ended, "forgotten reservation was ended", "forgotten reservations were ended"),
    ])  # fmt: skip
    wrong = _listed([
        (found.differences, "total is not the sum of its rows", "totals are not the sum of their rows"),
        (found.forgotten, "reservation has outlived its job", "reservations have outlived their jobs"),
        (found.old, "job has been open for more than a day", "jobs have been open for more than a day"),
    ])  # fmt: skip
    if wrong:
        verdict = f"The books do not balance: {wrong}."
    else:
        verdict = "The books balance: every total is the sum of its rows, and no reservation has outlived its job."
    return f"Repaired: {done}. {verdict}" if done else verdict


def _listed(parts: Sequence[tuple[Sequence[object], str, str]]) -> str:
    told = [f"{len(each)} {one if len(each) == 1 else many}" for each, one, many in parts if each]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _print(found: Found) -> None:
    print(summary(found))
    if found.books:
        print("\nBy the month in which pictures were asked for:")
        print_table(
            ("month", "jobs", "pictures", "members paid", "held", "hosts billed", "perhaps billed", "without a bill"),
            [_month(each) for each in found.books],
        )
    for title, each in (("Added up anew, off by:", found.mended), ("Off by:", found.differences)):
        if each:
            print(f"\n{title}")
            print_table(("whose", "window", "by"), [_row(one) for one in each])
    for title, ids in (
        ("Reservations that were ended, of jobs:", found.ended),
        ("Reservations that have outlived these jobs (--repair ends them):", found.forgotten),
        ("Open for more than a day (`darkroom jobs show` says why):", found.old),
    ):
        if ids:
            print("\n".join(["", title, *ids, *(["…"] if len(ids) == MOST_OLD and ids is found.old else [])]))


def _month(each: LedgerSummary) -> Sequence[object]:
    return (each.month, each.jobs, each.images, dollars(each.settled), dollars(each.held), dollars(each.known),
            dollars(each.assumed), each.unreported)  # fmt: skip


def _row(each: Mismatch) -> Sequence[object]:
    by = ", ".join(f"{name} {number:+}" for name, number in each.off.items())
    return _account(each), each.bucket, by


def _account(each: Mismatch) -> str:
    if each.scope is Scope.HOST:
        return "everything"
    where = "outside servers" if each.server == NO_SERVER else f"server {each.server}"
    thing = {Scope.USER: "member", Scope.CHANNEL: "channel"}.get(each.scope)
    return f"{thing} {each.subject}, {where}" if thing else where


# --- as JSON


def _document(found: Found, *, repair: bool) -> dict[str, Any]:
    return {
        "balances": found.balances,
        "summary": summary(found),
        "checked_at": iso(found.at),
        "differences": [_difference(each) for each in found.differences],
        "forgotten_job_ids": list(found.forgotten),
        "old_job_ids": list(found.old),
        "repaired": {
            "differences": [_difference(each) for each in found.mended],
            "ended_job_ids": list(found.ended),
        } if repair else None,
        "books": [_books(each) for each in found.books],
    }  # fmt: skip


def _difference(each: Mismatch) -> dict[str, Any]:
    return {
        "scope": each.scope,
        "server_id": some_id(each.server),
        "subject_id": some_id(each.subject),
        "bucket": each.bucket,
        "off": dict(each.off),
    }


def _books(each: LedgerSummary) -> dict[str, Any]:
    return {
        "month": each.month,
        "jobs": each.jobs,
        "pictures": each.images,
        "settled_micro_usd": each.settled,
        "held_micro_usd": each.held,
        "host_known_micro_usd": each.known,
        "host_assumed_micro_usd": each.assumed,
        "unreported_jobs": each.unreported,
    }
