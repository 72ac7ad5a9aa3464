"""Accepts the requests that wait together on PostgreSQL, in two round trips: one to decide, one to write.

The first statement reads all that the requests are decided by, in one snapshot. The second (migration 0008) writes
those that are admitted or refused, unless something that decided has changed or a total would exceed what the limits
allow: then nothing is written, and all are decided again. What cannot be decided here, such as a request that a bonus
pays, is left to a transaction of its own. docs/decisions/0017-accepted-together.md has the reasons.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bot.core import quota
from bot.core.cards import Charge, Reply
from bot.core.errors import UserError
from bot.core.jobs import Job
from bot.core.quota import IN_UTC, OPERATORS, Amount, Grant, Kind, Limits, Scope, Tally, Unit, Used
from bot.core.windows import Calendar
from bot.store import grants, jobs, ledger, replies, rules, totals
from bot.store.database import DATABASE_ERRORS, Database, Row, Tx
from bot.store.ledger import Reservation

MAX_BATCH = 100  # requests in one statement
MAX_RUNNING = 2  # statements at a time of this process

Total = tuple[str, int, str, int]  # scope, server, bucket, subject: the key of a row of `totals`
Counted = tuple[int, int, int]  # jobs, images and micro-dollars that count against limits
NOTHING: Counted = (0, 0, 0)

READ = """
    SELECT darkroom_rules($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint) AS rules,
        (SELECT json_agg(json_build_array(id, job, refusal)) FROM interactions WHERE id = ANY ($5::bigint[])) AS known,
        (SELECT json_agg(held) FROM (
            SELECT guild, "user", id, unit, remaining, expires_at FROM grants
            WHERE guild = ANY ($1::bigint[]) AND "user" = ANY ($2::bigint[]) AND remaining > 0) held) AS grants,
        (SELECT json_agg(json_build_array(scope, guild, bucket, subject, jobs, images, micro_usd)) FROM (
            SELECT held.* FROM unnest($6::text[], $7::bigint[], $8::text[], $9::bigint[])
                AS wanted (scope, guild, bucket, subject)
            CROSS JOIN LATERAL (  -- OFFSET: found by the primary key, whatever the planner expects
                SELECT scope, guild, bucket, subject, jobs, reserved_images + spent_images - aside_images AS images,
                    reserved_micro_usd + spent_micro_usd - aside_micro_usd AS micro_usd
                FROM totals WHERE (scope, guild, bucket, subject)
                    = (wanted.scope, wanted.guild, wanted.bucket, wanted.subject) OFFSET 0) held
            UNION ALL
            SELECT 'host', 0, bucket, 0, jobs, images, micro_usd
            FROM unnest($10::text[]) AS wanted (bucket) CROSS JOIN LATERAL darkroom_host_total(bucket)) held) AS totals
"""
WRITE = f"SELECT darkroom_accept({', '.join(f'${n}' for n in range(1, 22))})"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to accept: see `Store.accept`."""

    interaction_id: int
    job: Job
    reply: Reply
    amount: Amount
    price_version: str
    limits: Limits
    calendar: Calendar


Outcome = Reservation | UserError | None  # None: to be accepted in a transaction of its own


@dataclass(slots=True, eq=False)
class _Pending:
    request: Request
    totals: "Mapping[tuple[Scope, str], Total]"  # in which it counts
    answer: asyncio.Future[Outcome]
    work: asyncio.Task[None] | None = None  # that may have written it
    tried: bool = False  # a statement may have written it, if the connection was lost
    refused: UserError | None = None  # with this refusal


class Acceptance:
    """Collects the requests that wait while others are written, and writes them together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Pending] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def accept(self, request: Request) -> Outcome:
        """Write *request* with its job and reservation, or its refusal; None where nothing was written."""
        pending = _Pending(request, _totals(request), asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        self._start()
        try:
            return await pending.answer
        except asyncio.CancelledError:
            if pending.work is not None and not pending.work.done():
                self._database.abandon(pending.work)
            raise

    def _start(self) -> None:
        if self._waiting and len(self._running) < MAX_RUNNING:
            batch: list[_Pending] = []
            work = asyncio.create_task(self._run(batch))
            self._running.add(work)
            work.add_done_callback(partial(self._ended, batch))

    def _ended(self, batch: Iterable[_Pending], work: "asyncio.Task[None]") -> None:
        self._running.discard(work)
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:  # the store is closed, for example
            for each in (*batch, *self._waiting):
                if not each.answer.done():
                    each.answer.set_exception(error)
            self._waiting.clear()
        self._start()

    async def _run(self, batch: list[_Pending]) -> None:
        work = asyncio.current_task()

        async def unit(tx: Tx) -> Mapping[_Pending, Outcome]:
            while self._waiting and len(batch) < MAX_BATCH:  # all that wait when a connection is free
                pending = self._waiting.popleft()
                pending.work = work
                batch.append(pending)
            return await _accept(tx, [each for each in batch if not each.answer.done()])

        try:
            outcomes = await self._database.run_statements(unit)
        except DATABASE_ERRORS:  # of one of them: each learns alone whether it is its own
            outcomes = dict.fromkeys(batch)
        for each in batch:
            if not each.answer.done() and each in outcomes:
                each.answer.set_result(outcomes[each])
        self._waiting.extendleft(each for each in reversed(batch) if not each.answer.done())


async def _accept(tx: Tx, batch: Sequence[_Pending]) -> Mapping[_Pending, Outcome]:
    """Decide and write *batch*; the outcomes of those that are decided."""
    if not batch:
        return {}
    basis = _basis(batch)
    row = await tx.one(READ, *basis)
    assert row is not None
    writing = _Writing(_Snapshot.of(row))
    for each in batch:
        writing.add(each)
    if writing.is_needed:
        await tx.one(WRITE, *basis[:4], row["rules"], *writing.arguments())
    return writing.outcomes


def _basis(batch: Sequence[_Pending]) -> list[Any]:
    """The arguments of READ."""
    places = [each.request.job.place for each in batch]
    found = dict.fromkeys(key for each in batch for key in each.totals.values())
    own = [key for key in found if key[0] != Scope.HOST]
    return [
        list({each.server for each in places}),
        list({each.user_id for each in places}),
        list({each.counted_channel for each in places}),
        min(each.request.job.created_at for each in batch),
        [each.request.interaction_id for each in batch],
        *([key[n] for key in own] for n in range(4)),
        [bucket for scope, _, bucket, _ in found if scope == Scope.HOST],
    ]


def _totals(request: Request) -> Mapping[tuple[Scope, str], Total]:
    """The totals in which *request* counts, by scope and bucket."""
    now = request.job.created_at
    local, utc = (each.moment(now).buckets.values() for each in (request.calendar, IN_UTC))
    return {
        (scope, bucket): (scope.value, server, bucket, subject)
        for scope, server, subject in totals.accounts_of(request.job.place)
        for bucket in (utc if scope in OPERATORS else local)
    }


class _Tallies(Mapping[tuple[Scope, str], Tally]):
    """The totals of one request with what is added to them now; made on access, because most are not needed."""

    def __init__(
        self, keys: Mapping[tuple[Scope, str], Total], counted: Mapping[Total, Counted], added: Mapping[Total, Counted]
    ) -> None:
        self._keys = keys
        self._counted = counted
        self._added = {key: added[key] for key in keys.values() if key in added}

    def __getitem__(self, key: tuple[Scope, str]) -> Tally:
        total = self._keys[key]
        jobs, images, micro_usd = self._counted.get(total, NOTHING)
        more = self._added.get(total, NOTHING)
        return Tally(jobs=jobs + more[0], reserved=Amount(images + more[1], micro_usd + more[2]))

    def __iter__(self) -> Iterator[tuple[Scope, str]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What requests are decided by."""

    limits: Mapping[int, Sequence[Row]]  # rows of rules and blocks, by server
    strikes: Mapping[tuple[int, int], Sequence[int]]  # when they expire, by server and member
    grants: Mapping[tuple[int, int], Sequence[Grant]]
    totals: Mapping[Total, Counted]
    known: Mapping[int, tuple[str | None, str | None]]  # job and refusal, by interaction

    @classmethod
    def of(cls, row: Row) -> "_Snapshot":
        decided_by = json.loads(row["rules"])
        limits: dict[int, list[Row]] = {}
        for each in decided_by["limits"] or ():
            limits.setdefault(each["guild"], []).append(each)
        strikes: dict[tuple[int, int], list[int]] = {}
        for server, member, expires_at in decided_by["strikes"] or ():
            strikes.setdefault((server, member), []).append(expires_at)
        held: dict[tuple[int, int], list[Grant]] = {}
        for each in _parsed(row["grants"]):
            held.setdefault((each["guild"], each["user"]), []).append(grants.load(each))
        counted = {tuple(each[:4]): tuple(each[4:]) for each in _parsed(row["totals"])}
        known = {number: (job, refusal) for number, job, refusal in _parsed(row["known"])}
        return cls(limits, strikes, held, counted, known)


def _parsed(text: str | None) -> Sequence[Any]:
    return json.loads(text) if text else ()


@dataclass(slots=True)
class _Writing:
    """The rows of one statement, and what decides of them."""

    snapshot: _Snapshot
    outcomes: dict[_Pending, Outcome] = field(default_factory=dict)
    _rows: dict[str, list[dict[str, object]]] = field(
        default_factory=lambda: {each: [] for each in ("interactions", "jobs", "events", "replies", "tokens", "ledger")}
    )
    _added: dict[Total, Counted] = field(default_factory=dict)
    _most_before: dict[tuple[Total, Unit], int] = field(default_factory=dict)  # what totals may be before the statement
    _numbers: set[int] = field(default_factory=set)  # of interactions

    @property
    def is_needed(self) -> bool:
        return bool(self._rows["interactions"])

    def add(self, pending: _Pending) -> None:
        """Decide *pending* after those before it; left for a later statement where these decide it."""
        request = pending.request
        if request.interaction_id in self._numbers:
            return
        if request.interaction_id in self.snapshot.known:
            self.outcomes[pending] = self._written(pending)
            return
        used = self._used(pending, self._added)
        try:
            applying, draws = self._decide(request, used)
        except UserError as refusal:
            if self._is_refused(pending):
                pending.tried, pending.refused = True, refusal
                self.outcomes[pending] = refusal
                self._write_interaction(request, job=None, refusal=refusal.key)
            return
        if draws or any(quota.alerts(applying, used, asks=request.amount)):
            self.outcomes[pending] = None
            return
        self._count(pending)
        for each in quota.ceilings(applying, used, asks=request.amount):
            self._lower(pending.totals[each.scope, each.bucket], each.unit, each.amount)
        self._write(request)
        pending.tried, pending.refused = True, None
        self.outcomes[pending] = self._reservation(request, self._used(pending, self._added), applying)

    def arguments(self) -> Iterator[object]:
        """The arguments of WRITE after those about rules."""
        for each in self._rows.values():
            yield json.dumps(each)
        ordered = sorted(self._added, key=_lock_order)
        for n in range(4):
            yield [key[n] for key in ordered]
        for n in range(3):
            yield [self._added[key][n] for key in ordered]
        for n, unit in enumerate((Unit.JOBS, Unit.IMAGES, Unit.MICRO_USD)):
            most = (self._most_before.get((key, unit)) for key in ordered)
            yield [
                None if each is None else each + self._added[key][n] for key, each in zip(ordered, most, strict=True)
            ]

    # --- decisions

    def _decide(self, request: Request, used: Used) -> tuple[Sequence[quota.Limit], Sequence[quota.Draw]]:
        place, snapshot = request.job.place, self.snapshot
        found = [
            *snapshot.limits.get(place.server, ()),
            *(snapshot.limits.get(quota.NO_SERVER, ()) if place.server else ()),
        ]
        rules_set, blocks = rules.applying_of(found, place)
        member = (place.server, place.user_id)
        return ledger.decide(
            place,
            request.amount,
            used=used,
            limits=request.limits,
            rules_set=rules_set,
            blocks=blocks,
            strikes_until=snapshot.strikes.get(member, ()),
            granted=self._granted(request),
        )

    def _is_refused(self, pending: _Pending) -> bool:
        """Whether *pending* is refused without those before it in this statement, which may not be written."""
        if not self._added:
            return True
        try:
            self._decide(pending.request, self._used(pending, {}))
        except UserError:
            return True
        return False

    def _written(self, pending: _Pending) -> Outcome:
        """The outcome of a request that is known: None, unless a statement wrote it whose answer was lost."""
        request = pending.request
        job, refusal = self.snapshot.known[request.interaction_id]
        if pending.tried and job == request.job.id:
            used = self._used(pending, {})
            try:
                applying, _ = self._decide(request, used)
            except UserError:  # with itself, or after a change of the rules
                applying = ()
            return self._reservation(request, used, applying)
        return pending.refused if pending.refused is not None and pending.refused.key == refusal else None

    def _granted(self, request: Request) -> Sequence[Grant]:
        now, member = request.job.created_at, (request.job.place.server, request.job.place.user_id)
        return grants.unexpired(self.snapshot.grants.get(member, ()), now=now)

    def _reservation(self, request: Request, used: Used, applying: Sequence[quota.Limit]) -> Reservation:
        return Reservation(Charge(reserved=request.amount), applying, used, self._granted(request), ())

    # --- totals

    def _used(self, pending: _Pending, added: Mapping[Total, Counted]) -> Used:
        """The usage at the place of *pending*, with what *added* has."""
        request = pending.request
        tallies = _Tallies(pending.totals, self.snapshot.totals, added)
        return Used(request.job.created_at, request.calendar, tallies)

    def _count(self, pending: _Pending) -> None:
        images, micro_usd = pending.request.amount.images, pending.request.amount.micro_usd
        for key in pending.totals.values():
            before = self._added.get(key, NOTHING)
            self._added[key] = (before[0] + 1, before[1] + images, before[2] + micro_usd)

    def _lower(self, key: Total, unit: Unit, most: int) -> None:
        """Let the total *key*, with what was added so far, be at most *most*."""
        before = most - self._added[key][(Unit.JOBS, Unit.IMAGES, Unit.MICRO_USD).index(unit)]
        self._most_before[key, unit] = min(before, self._most_before.get((key, unit), before))

    # --- rows

    def _write(self, request: Request) -> None:
        job, reply, now = request.job, request.reply, request.job.created_at
        self._write_interaction(request, job=job.id, refusal=None)
        self._rows["jobs"].append(jobs.new_row(job))
        self._rows["events"].append(jobs.event_row(job, before=None, now=now, reason=None))
        self._rows["replies"].append(replies.new_row(reply))
        if reply.token is not None:
            self._rows["tokens"].append(replies.token_row(reply.job_id, reply.token, expires_at=reply.token_expires_at))
        self._rows["ledger"].append(
            ledger.job_row(
                Kind.RESERVE, job, request.amount, now=now, paid=Amount(), price_version=request.price_version,
                reason=None, local=request.calendar.moment(now),
            )
        )  # fmt: skip

    def _write_interaction(self, request: Request, *, job: str | None, refusal: str | None) -> None:
        self._numbers.add(request.interaction_id)
        self._rows["interactions"].append(
            {"id": request.interaction_id, "at": request.job.created_at, "job": job, "refusal": refusal}
        )


_SCOPES = {scope.value: n for n, (scope, _, _) in enumerate(totals.accounts(server=0, channel=0, user=0))}


def _lock_order(key: Total) -> tuple[int, int, int, bool, str]:
    scope, server, bucket, subject = key
    return _SCOPES[scope], server, subject, bucket != "total", bucket
