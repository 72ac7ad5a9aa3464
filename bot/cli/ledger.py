"""`darkroom ledger`: check and repair the ledger, and export its rows. Works while the bot runs."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.cli.arguments import Parser, some_id
from bot.cli.export import export, export_options
from bot.cli.output import LONG_TIMEOUT, dollars, iso, json_option, on_database, print_json, print_table
from bot.core.jobs import HOUR
from bot.core.quota import NO_SERVER, Scope
from bot.store import ledger
from bot.store.database import Database
from bot.store.housekeeping import Housekeeping
from bot.store.ledger_audit import Audit, LedgerSummary, Mismatch

OLD = 24 * HOUR  # no job lives longer, unless the bot was stopped
MAX_OLD = 100  # rows listed


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of a check. *forgotten*, *old* and *ended* are ids of jobs."""

    at: int
    differences: Sequence[Mismatch]  # totals that are not the sum of their rows
    forgotten: Sequence[str]  # jobs that have ended with an open reservation
    old: Sequence[str]  # jobs that have been open for a day
    books: Sequence[LedgerSummary]
    repaired: Sequence[Mismatch] = field(default=())
    ended: Sequence[str] = field(default=())

    @property
    def balances(self) -> bool:
        return not (self.differences or self.forgotten or self.old)


def add_to(commands: Any) -> None:
    """Add `ledger` to the commands of the program's parser."""
    books = commands.add_parser("ledger", help="check and export the ledger, also while the bot runs")
    verbs = books.add_subparsers(required=True, metavar="verb", parser_class=Parser)

    check = verbs.add_parser("check", help="compare the totals with the sum of their rows, and show costs by month")
    check.add_argument("--repair", action="store_true", help="repair wrong totals and end forgotten reservations")
    json_option(check)
    check.set_defaults(run=_check)

    rows = verbs.add_parser("export", help="every row of every server as CSV")
    export_options(rows)
    rows.set_defaults(run=lambda options: export(options, None))


def _check(options: argparse.Namespace) -> int:
    async def work(database: Database) -> Findings:
        return await check_ledger(database, now=await database.now(), repair=options.repair)

    findings = on_database(work, timeout_s=LONG_TIMEOUT)
    if options.json:
        print_json(_document(findings, repair=options.repair))
    else:
        _print(findings)
    return 0 if findings.balances else 1


async def check_ledger(database: Database, *, now: int, repair: bool = False) -> Findings:
    """Check the whole ledger; with *repair*, first correct wrong totals and end forgotten reservations."""
    audit, rows = Audit(database), Housekeeping(database)
    ended = await rows.end_orphaned_reservations(now=now) if repair else []
    repaired = await audit.mismatches() if repair else []
    for each in repaired:
        await audit.repair(each)
    return Findings(
        at=now,
        differences=await audit.mismatches(),
        forgotten=await database.read(ledger.orphaned_reservations),
        old=await audit.old_reservations(before=now - OLD),
        books=await audit.summaries(),
        repaired=repaired,
        ended=ended,
    )


# --- as text


def summary(findings: Findings) -> str:
    """Return the result as one sentence, preceded by one about repairs if there were any."""
    done = _join_counts([
        (findings.repaired, "total was recalculated", "totals were recalculated"),
        (findings.ended, "forgotten reservation was ended", "forgotten reservations were ended"),
    ])  # fmt: skip
    wrong = _join_counts([
        (findings.differences, "total is not the sum of its rows", "totals are not the sum of their rows"),
        (findings.forgotten, "reservation is left of an ended job", "reservations are left of ended jobs"),
        (findings.old, "job has been open for more than a day", "jobs have been open for more than a day"),
    ])  # fmt: skip
    if wrong:
        verdict = f"The ledger does not balance: {wrong}."
    else:
        verdict = "The ledger balances: every total is the sum of its rows, and no reservation is left of an ended job."
    return f"Repaired: {done}. {verdict}" if done else verdict


def _join_counts(parts: Sequence[tuple[Sequence[object], str, str]]) -> str:
    counts = [f"{len(each)} {one if len(each) == 1 else many}" for each, one, many in parts if each]
    return " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)


def _print(findings: Findings) -> None:
    print(summary(findings))
    if findings.books:
        print("\nBy month of the request:")
        print_table(
            ("month", "jobs", "pictures", "charged", "reserved", "cost", "assumed cost", "jobs without cost"),
            [_month(each) for each in findings.books],
        )
    for title, each in (("Recalculated, off by:", findings.repaired), ("Off by:", findings.differences)):
        if each:
            print(f"\n{title}")
            print_table(("account", "period", "difference"), [_row(one) for one in each])
    for title, ids in (
        ("Forgotten reservations that were ended, by job:", findings.ended),
        ("Forgotten reservations, by job (--repair ends them):", findings.forgotten),
        ("Jobs open for more than a day (`darkroom jobs show` shows why):", findings.old),
    ):
        if ids:
            print("\n".join(["", title, *ids, *(["…"] if len(ids) == MAX_OLD and ids is findings.old else [])]))


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


def _document(findings: Findings, *, repair: bool) -> dict[str, Any]:
    return {
        "balances": findings.balances,
        "summary": summary(findings),
        "checked_at": iso(findings.at),
        "differences": [_difference(each) for each in findings.differences],
        "forgotten_job_ids": list(findings.forgotten),
        "old_job_ids": list(findings.old),
        "repaired": {
            "differences": [_difference(each) for each in findings.repaired],
            "ended_job_ids": list(findings.ended),
        } if repair else None,
        "books": [_books(each) for each in findings.books],
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
