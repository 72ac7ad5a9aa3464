"""`darkroom jobs`: lists, shows and cancels jobs and sends their cards again. Works while the bot runs.

It changes rows and their due times in the database; the running bot notices within a second.
"""

import argparse
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from bot.cli.output import (
    CannotRun,
    Lines,
    NotDone,
    cell,
    discord_id,
    dollars,
    iso,
    json_option,
    on_database,
    plural,
    print_facts,
    print_json,
    print_table,
    utc,
)
from bot.core.cards import paths
from bot.core.jobs import Cancel, Job, State
from bot.core.quota import Kind
from bot.store.database import Database
from bot.store.job_details import JobDetails, JobSummary, Record, ReplyStatus
from bot.store.queries import JobRecord
from bot.store.store import Store

T = TypeVar("T")
MIN_PREFIX = 6  # characters of a job's id that are enough to name it
MAX_LISTED = 1000


def add_to(commands: Any) -> None:
    """Add `jobs` to the commands of the program's parser."""
    jobs = commands.add_parser("jobs", help="show and cancel jobs, also while the bot runs")
    verbs = jobs.add_subparsers(required=True, metavar="verb")

    listing = verbs.add_parser("list", help="the newest jobs")
    listing.add_argument("--state", type=_state, help=f"only jobs in this state: {', '.join(State)}")
    listing.add_argument("--user", type=discord_id, metavar="ID", help="only jobs of this member")
    listing.add_argument("--server", type=discord_id, metavar="ID", help="only jobs of this server")
    listing.add_argument("--open", action="store_true", help="only unfinished jobs")
    listing.add_argument("--limit", type=_limit, default=20, metavar="N", help="maximum number of rows (default 20)")
    json_option(listing)
    listing.set_defaults(run=_list)

    show = _add_one_job(verbs, "show", "everything about a job, except its prompt", run=_show)
    show.add_argument("--prompt", action="store_true", help="print the prompt too")
    _add_one_job(verbs, "cancel", "cancel a job if it is still possible", run=_cancel)
    _add_one_job(verbs, "retry-delivery", "send a job's card again", run=_retry_delivery)


def _add_one_job(
    verbs: Any, name: str, text: str, *, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    parser.add_argument(
        "job", type=_job_id, metavar="JOB", help=f"ID of a job, or at least its first {MIN_PREFIX} characters"
    )
    json_option(parser)
    parser.set_defaults(run=run)
    return parser


# --- options


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise CannotRun(f"{cell(text)!r} is not a state; choose one of {', '.join(State)}") from None


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LISTED:
        raise CannotRun(f"--limit takes a number from 1 to {MAX_LISTED}, not {cell(text)!r}")
    return int(text)


def _job_id(text: str) -> str:
    if not re.fullmatch(rf"[0-9A-Za-z]{{{MIN_PREFIX},26}}", text):
        raise CannotRun(
            f"{cell(text)!r} is not a job ID: give the whole ID, or at least its first {MIN_PREFIX} characters"
        )
    return text.upper()


def _with_job(start: str, work: Callable[[Database, str], Awaitable[T]]) -> T:
    """Run *work* for the job whose id begins with *start*. Raises `NotDone` if there is none or more than one."""

    async def find_and_work(database: Database) -> T:
        found = await JobDetails(database).ids_starting_with(start, limit=4)
        if not found:
            raise NotDone(f"no job with ID {start}")
        if len(found) > 1:
            more = ", …" if len(found) > 3 else ""
            raise NotDone(f"{start} may be {' or '.join(found[:3])}{more}: give more of the ID")
        return await work(database, found[0])

    return on_database(find_and_work)


# --- showing


def _list(options: argparse.Namespace) -> int:
    async def read(database: Database) -> list[JobSummary]:
        return await JobDetails(database).newest(
            limit=options.limit,
            state=options.state,
            user_id=options.user,
            guild_id=options.server,
            unfinished=options.open,
        )

    found = on_database(read)
    if options.json:
        print_json([_listed_document(each) for each in found])
    elif not found:
        print("No jobs.")
    else:
        heads = ("job", "created (UTC)", "state", "user", "server", "model", "pictures", "card shown", "reason")
        print_table(heads, [_listed_row(each) for each in found])
    return 0


def _listed_row(each: JobSummary) -> Sequence[object]:
    shown = "yes" if each.delivered else "no"
    return (each.id, utc(each.created_at), each.state, each.user_id, each.guild_id, each.model, each.images, shown,
            each.reason)  # fmt: skip


def _listed_document(each: JobSummary) -> dict[str, Any]:
    return {
        "id": each.id,
        "state": each.state,
        "reason": each.reason,
        "created_at": iso(each.created_at),
        "ended_at": iso(each.ended_at),
        "user_id": _id(each.user_id),
        "server_id": _id(each.guild_id),
        "model": each.model,
        "provider": each.provider,
        "pictures": each.images,
        "delivered": each.delivered,
    }


def _show(options: argparse.Namespace) -> int:
    async def read(database: Database, job_id: str) -> Record | None:
        return await JobDetails(database).full(job_id)

    record = _with_job(options.job, read)
    assert record is not None  # rows of jobs are never deleted
    if options.json:
        print_json(_document(record, prompt=options.prompt))
        return 0
    print_facts(_facts(record, prompt=options.prompt))
    print()
    print_table(
        ("at (UTC)", "from", "to", "provider", "reason"),
        [(utc(each.at), each.before, each.after, each.provider, each.reason) for each in record.events],
    )
    return 0


def _facts(record: Record, *, prompt: bool) -> list[tuple[str, object]]:
    job = record.job
    cost = record.host_cost
    facts: list[tuple[str, object]] = [
        ("job", job.id),
        ("state", job.state),
        ("reason", job.reason),
        ("place", _place(job)),
        ("command", f"/{job.request.verb}"),
        ("model", job.request.model),
        ("route", f"{job.route} at {job.provider}"),
        ("run", job.run_id),
        ("cancel", job.cancel.replace("_", " ")),
        ("pictures", job.images),
        *((name, at and f"{utc(at)} UTC") for name, at in _times(job).items()),
        *((each.kind, f"{dollars(each.amount.micro_usd)}, {plural(each.amount.images, 'picture')}")
          for each in record.entries),
        ("host cost", cost and f"{dollars(cost.micro_usd)}, {cost.basis}"),
        ("reply", _delivery(record.reply)),
    ]  # fmt: skip
    return [*facts, ("prompt", Lines(job.request.prompt))] if prompt else facts


def _place(job: Job) -> str:
    where = f"server {job.place.guild_id}" if job.place.guild_id is not None else "direct messages"
    return f"user {job.place.user_id} in {where}, channel {job.place.channel_id}"


def _times(job: Job) -> dict[str, int | None]:
    return {
        "created": job.created_at,
        "acknowledged": job.acked_at,
        "submitted": job.submitted_at,
        "started": job.started_at,
        "changed": job.changed_at,
        "ended": job.ended_at,
        "deleted": job.deleted_at,
        "hidden": job.hidden_at,
        "due": job.due_at,
    }


def _delivery(reply: ReplyStatus | None) -> str | None:
    if reply is None:
        return None
    if reply.gone:
        return "not delivered: its message was deleted"
    if reply.message_id is None:
        return "not delivered: Discord has not confirmed a message yet"
    if reply.is_delivered:
        return "delivered"
    tried = f", {plural(reply.attempts, 'failed attempt')}" if reply.attempts else ""
    until = f"due at {utc(reply.due_at)} UTC" if reply.due_at is not None else "waiting for a click or /jobs"
    return f"not delivered: version {reply.delivered} of {reply.wanted} is shown{tried}, {until}"


def _document(record: Record, *, prompt: bool) -> dict[str, Any]:
    job = record.job
    cost = record.host_cost
    document: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "reason": job.reason,
        "user_id": _id(job.place.user_id),
        "server_id": _id(job.place.guild_id),
        "channel_id": _id(job.place.channel_id),
        "command": job.request.verb,
        "model": job.request.model,
        "provider": job.provider,
        "route": job.route,
        "run_id": job.run_id,
        "cancel": job.cancel,
        "pictures": job.images,
        "parent_id": job.parent_id,
        **{f"{name}_at": iso(at) for name, at in _times(job).items()},
        **_money(record),
        "host_cost": cost and {"at": iso(cost.at), "micro_usd": cost.micro_usd, "basis": cost.basis},
        "events": [
            {
                "at": iso(each.at),
                "before": each.before,
                "after": each.after,
                "provider": each.provider,
                "reason": each.reason,
            }
            for each in record.events
        ],
        "reply": record.reply and _reply_document(record.reply),
    }
    return {**document, "prompt": job.request.prompt} if prompt else document


def _money(record: Record) -> dict[str, Any]:
    """Return the ledger entries: *price* is the reserved amount, *charge* the settled one, None until settled."""
    entries = {each.kind: each.amount for each in record.entries}
    amounts = {
        "price": entries.get(Kind.RESERVE),
        "charge": entries.get(Kind.SETTLE),
        "released": entries.get(Kind.RELEASE),
    }
    return {
        name: amount and {"pictures": amount.images, "micro_usd": amount.micro_usd} for name, amount in amounts.items()
    }


def _reply_document(reply: ReplyStatus) -> dict[str, Any]:
    return {
        "delivered": reply.is_delivered,
        "message_id": _id(reply.message_id),
        "message_deleted": reply.gone,
        "private": reply.private,
        "version_wanted": reply.wanted,
        "version_delivered": reply.delivered,
        "failed_attempts": reply.attempts,
        "due_at": iso(reply.due_at),
    }


def _id(number: int | None) -> str | None:
    """Format a Discord ID for JSON, as a string like Discord's own: many parsers round numbers of that size."""
    return None if number is None else str(number)


# --- changing


def _cancel(options: argparse.Namespace) -> int:
    async def change(database: Database, job_id: str) -> Job:
        return await cancel(Store(database), job_id, now=await database.now())

    job = _with_job(options.job, change)
    if options.json:
        print_json({"id": job.id, "state": job.state, "cancel": job.cancel})
    elif job.state is State.CANCELLED:
        print(f"Job {job.id} is cancelled; its reservation is released.")
    else:
        print(f"The provider was asked to cancel job {job.id}; its next status decides.")
    return 0


async def cancel(store: Store, job_id: str, *, now: int) -> Job:
    """Cancel a job, like the button on its card. Raises `NotDone` if it is too late."""
    stopped = await store.cancel(job_id, now=now)
    if stopped is not None:
        return stopped
    job = await store.job(job_id)
    raise NotDone(f"no job with ID {job_id}" if job is None else _why_too_late(job))


def _why_too_late(job: Job) -> str:
    if job.state.is_final:
        return f"it is too late to cancel job {job.id}: it has ended ({job.state})"
    if job.cancel is Cancel.TOO_LATE:
        return f"it is too late to cancel job {job.id}: the provider did not stop it"
    return f"it is too late to cancel job {job.id}: it is {job.state}"


def _retry_delivery(options: argparse.Namespace) -> int:
    async def change(database: Database, job_id: str) -> Record | None:
        now, store = await database.now(), Store(database)
        if (why := _why_undeliverable(await store.job_record(job_id), now=now)) is not None:
            raise NotDone(f"the card of job {job_id} cannot be sent: {why}")
        await store.request_redraw([job_id], now=now)
        return await JobDetails(database).full(job_id)

    record = _with_job(options.job, change)
    assert record is not None
    assert record.reply is not None
    if options.json:
        print_json({"id": record.job.id, "reply": _reply_document(record.reply)})
    else:
        print(f"The card of job {record.job.id} will be sent again.")
    return 0


def _why_undeliverable(record: JobRecord | None, *, now: int) -> str | None:
    """Return why a job's card cannot be sent, None if it can."""
    if record is None:
        return "it has no reply"
    job, reply = record.job, record.reply
    if job.deleted_at is not None:
        return "its member deleted it"
    if reply.gone:
        return "its message was deleted; /jobs shows it to its member"
    if reply.message_id is None:
        return "Discord has not confirmed its first message yet"
    ended = job.state.is_final and job.hidden_at is None  # a hidden job gets no new message
    if not paths(reply, now=now, final=ended):
        return "its reply token has expired and the bot may not post in the channel; a click or /jobs updates it"
    return None
