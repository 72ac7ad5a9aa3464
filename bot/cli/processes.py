"""`darkroom processes`: who runs on this database, with which roles, and how many jobs each process holds."""

import argparse
from collections.abc import Sequence
from typing import Any

from bot.cli.output import iso, json_option, on_database, print_json, print_table, utc
from bot.store.database import Database
from bot.store.processes import LEASE, Processes, ProcessStatus

HEADS = ("ID", "STATE", "ROLES", "HOST", "PID", "VERSION", "JOBS", "STARTED (UTC)", "SEEN (UTC)")


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser("processes", help="list the processes that run on the database")
    json_option(parser)
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    async def work(database: Database) -> tuple[Sequence[ProcessStatus], int]:
        return await Processes(database).status(), await database.now()

    found, now = on_database(work)
    if options.json:
        print_json([_document(each, now=now) for each in found])
    elif found:
        print_table(HEADS, [_row(each, now=now) for each in found])
    else:
        print("No process runs on this database.")
    return 0


def _state(status: ProcessStatus, *, now: int) -> str:
    if now >= status.seen_at + LEASE:
        return "dead"
    return "leaving" if status.leaving else "alive"


def _row(status: ProcessStatus, *, now: int) -> tuple[object, ...]:
    process = status.process
    return (
        process.id, _state(status, now=now), ",".join(process.roles), process.host, process.pid, process.version,
        status.jobs, utc(process.started_at), utc(status.seen_at),
    )  # fmt: skip


def _document(status: ProcessStatus, *, now: int) -> dict[str, object]:
    process = status.process
    return {
        "id": process.id,
        "state": _state(status, now=now),
        "roles": list(process.roles),
        "host": process.host,
        "pid": process.pid,
        "version": process.version,
        "jobs": status.jobs,
        "started_at": iso(process.started_at),
        "seen_at": iso(status.seen_at),
    }
