"""The verbs of the store: each decides and writes in one transaction.

What must hold together is written together: a job with its reservation, an ending with its settlement
and the newer card. Everything is idempotent, since a caller that gave up may still be committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.cards import TOKEN_LIFE, Charge, Path, Picture, Reply, paths
from bot.core.errors import UserError
from bot.core.jobs import Job, Place, State
from bot.core.line import Waiting
from bot.core.quota import Amount, Limits, Used, check
from bot.store import jobs, ledger, replies
from bot.store.database import Database, Tx

QUIET = frozenset({State.SUBMITTING})  # entering these does not change what the card says


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that a card needs to know of one job, from one snapshot."""

    job: Job
    reply: Reply
    charge: Charge
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    job: Job
    used: Used  # before this job


class AlreadySeen(Exception):
    """This interaction has been handled before: Discord may deliver an event twice."""


class Store:
    def __init__(self, database: Database) -> None:
        self.database = database

    # --- admission

    async def accept(
        self, interaction_id: int, job: Job, *, reply: Reply, amount: Amount, price_version: str, limits: Limits
    ) -> Accepted:
        """Write interaction, job, reservation and reply, or the refusal; raise it as `UserError`."""

        async def unit(tx: Tx) -> Accepted | UserError:
            if not await _first_time(tx, interaction_id, now=job.created_at):
                raise AlreadySeen(str(interaction_id))
            await ledger.hold(tx, job.place)
            used = await ledger.used(tx, job.place, now=job.created_at)
            try:
                check(limits, used, asks=amount, guild=job.place.guild_id is not None, now=job.created_at)
            except UserError as refusal:
                await tx.run("UPDATE interactions SET refusal = $2 WHERE id = $1", interaction_id, refusal.key)
                return refusal
            await tx.run("UPDATE interactions SET job = $2 WHERE id = $1", interaction_id, job.id)
            await jobs.add(tx, job)
            await ledger.reserve(tx, job, amount, price_version=price_version)
            await replies.add(tx, reply)
            return Accepted(job, used)

        outcome = await self.database.write(unit)
        if isinstance(outcome, UserError):
            raise outcome
        return outcome

    async def withdraw(self, job_id: str, *, now: int) -> None:
        """Take back a job whose card nobody sees; decided where it is written, after whatever was queued before."""

        async def unit(tx: Tx) -> None:
            job = await jobs.get(tx, job_id)
            if job is None or job.state is not State.ACCEPTED:
                return
            moved = await jobs.move(
                tx, job, State.CANCELLED, now=now, changes={"due_at": None, "reason": "unacknowledged"}
            )
            if moved is not None:
                await ledger.end(tx, moved, now=now, pictures=0, reason="unacknowledged")

        await self.database.write(unit)

    async def acknowledged(self, job_id: str, *, message_id: int, ephemeral: bool, now: int) -> None:
        """Discord shows the first card: from now on the job may be submitted."""

        async def unit(tx: Tx) -> None:
            await replies.placed(tx, job_id, message_id=message_id, ephemeral=ephemeral)
            reply = await replies.get(tx, job_id)
            if reply is not None and paths(reply, now=now, final=False) == (Path.TOKEN,):
                await replies.due_again(tx, job_id, due_at=reply.last_word_at, version=reply.delivered)
            await jobs.acknowledge(tx, job_id, now=now)

        await self.database.write(unit)

    # --- the life of a job

    async def move(
        self, job: Job, to: State, *, now: int, cost_micro_usd: int | None = None, may_be_billed: bool = False,
        **changes: Any,
    ) -> Job | None:  # fmt: skip
        """Take *job* to another state; an ending ends its reservation and newer cards are wanted, all in one.

        None, with nothing written, when the job is no longer as we last saw it: a poll and a button may race,
        and the first one wins. *cost_micro_usd* is what the host said it billed; *may_be_billed* assumes the
        whole reservation where it said nothing.
        """

        async def unit(tx: Tx) -> Job | None:
            moved = await jobs.move(tx, job, to, now=now, changes={"due_at": None, **changes})
            if moved is None:
                return None
            if to.is_final:
                made = moved.images if to is State.SUCCEEDED else 0
                await ledger.end(tx, moved, now=now, pictures=made, reason=moved.reason)
            await self._book_cost(tx, moved, now=now, cost=cost_micro_usd, assume=may_be_billed)  # the host's row last
            if to not in QUIET:
                await replies.want(tx, job.id, now=now)
            return moved

        return await self.database.write(unit)

    async def note(self, job: Job, *, now: int, show: bool = False, **changes: Any) -> Job | None:
        """Change facts of *job* that leave its state alone; *show* when the card says them."""

        async def unit(tx: Tx) -> Job | None:
            moved = await jobs.move(tx, job, job.state, now=now, changes=changes)
            if moved is not None and show:
                await replies.want(tx, job.id, now=now)
            return moved

        return await self.database.write(unit)

    async def release(self, provider: str, *, now: int) -> None:
        """Let every job that waits for *provider* be tried now, whatever patience it was asked for."""

        async def unit(tx: Tx) -> None:
            await tx.run(
                """
                UPDATE jobs SET due_at = $2
                WHERE provider = $1 AND state = 'accepted' AND acked_at IS NOT NULL AND due_at > $2
                """,
                provider,
                now,
            )

        await self.database.write(unit)

    async def keep_picture(self, job: Job, picture: Picture, *, now: int) -> bool:
        """Write down a picture that is on disk; False when its job was deleted meanwhile, and the file is nobody's."""

        async def unit(tx: Tx) -> bool:
            held = await jobs.hold(tx, job.id)
            if held is None or held.deleted_at is not None:
                return False
            await replies.add_picture(tx, job.id, picture, now=now)
            return True

        return await self.database.write(unit)

    async def cost_became_known(self, job: Job, *, now: int, micro_usd: int) -> None:
        """The host said later what it billed for *job*: that takes the place of what we had assumed."""

        async def unit(tx: Tx) -> None:
            await jobs.hold(tx, job.id)  # as whoever moves it does: an assumed cost must not come in between
            await ledger.add_host_cost(tx, job, now=now, micro_usd=micro_usd, known=True, reason=job.reason)

        await self.database.write(unit)

    async def _book_cost(self, tx: Tx, job: Job, *, now: int, cost: int | None, assume: bool) -> None:
        if cost is not None:
            await ledger.add_host_cost(tx, job, now=now, micro_usd=cost, known=True, reason=job.reason)
        elif assume:
            held = await ledger.charge(tx, job.id)
            amount = held.reserved.micro_usd
            await ledger.add_host_cost(tx, job, now=now, micro_usd=amount, known=False, reason=job.reason)

    # --- reading

    async def job(self, job_id: str) -> Job | None:
        async def unit(tx: Tx) -> Job | None:
            return await jobs.get(tx, job_id)

        return await self.database.read(unit)

    async def dossier(self, job_id: str) -> Dossier | None:
        async def unit(tx: Tx) -> Dossier | None:
            return await _dossier(tx, job_id)

        return await self.database.read(unit)

    async def by_run(self, provider: str, run_id: str) -> Job | None:
        async def unit(tx: Tx) -> Job | None:
            row = await tx.one("SELECT * FROM jobs WHERE provider = $1 AND run_id = $2", provider, run_id)
            return jobs.load(row) if row else None

        return await self.database.read(unit)

    async def due_times(self) -> dict[str, int]:
        """When each job that needs the worker is due: what its heap is rebuilt from."""

        async def unit(tx: Tx) -> dict[str, int]:
            rows = await tx.fetch("SELECT id, due_at FROM jobs WHERE due_at IS NOT NULL")
            return {row["id"]: row["due_at"] for row in rows}

        return await self.database.read(unit)

    async def line(self, provider: str) -> tuple[list[Waiting], list[int]]:
        """The jobs that wait for a slot at *provider*, and the member behind each slot that is taken."""

        async def unit(tx: Tx) -> tuple[list[Waiting], list[int]]:
            waiting = await tx.fetch(
                """
                SELECT id, user_id, created_at FROM jobs
                WHERE provider = $1 AND state = 'accepted' AND acked_at IS NOT NULL AND ended_at IS NULL
                """,
                provider,
            )
            taken = await tx.fetch(
                """
                SELECT user_id FROM jobs
                WHERE provider = $1 AND state IN ('submitting', 'queued', 'running') AND ended_at IS NULL
                """,
                provider,
            )
            order = [Waiting(row["id"], row["user_id"], row["created_at"]) for row in waiting]
            return order, [row["user_id"] for row in taken]

        return await self.database.read(unit)

    async def used(self, place: Place, *, now: int) -> tuple[Used, Amount]:
        """What counts against the limits at *place*, and how much of the member's part is only held."""

        async def unit(tx: Tx) -> tuple[Used, Amount]:
            used = await ledger.used(tx, place, now=now)
            return used, await ledger.reserved_of(tx, place.user_id, now=now)

        return await self.database.read(unit)

    async def open_of(self, user_id: int, *, since: int, limit: int = 10) -> list[Dossier]:
        """A member's unfinished jobs, and those ended after *since* whose card never arrived; newest first."""

        async def unit(tx: Tx) -> list[Dossier]:
            rows = await tx.fetch(
                """
                SELECT jobs.id AS id FROM jobs JOIN replies ON replies.job = jobs.id
                WHERE jobs.user_id = $1 AND jobs.deleted_at IS NULL AND jobs.acked_at IS NOT NULL
                  AND (jobs.ended_at IS NULL
                       OR (jobs.ended_at >= $2 AND replies.delivered < replies.wanted))
                ORDER BY jobs.created_at DESC LIMIT $3
                """,
                user_id,
                since,
                limit,
            )
            found = [await _dossier(tx, row["id"]) for row in rows]
            return [each for each in found if each is not None]

        return await self.database.read(unit)

    # --- replies

    async def due_replies(self, *, now: int, limit: int) -> list[str]:
        async def unit(tx: Tx) -> list[str]:
            rows = await tx.fetch(
                """
                SELECT replies.job AS job FROM replies JOIN jobs ON jobs.id = replies.job
                WHERE replies.due_at <= $1 AND replies.message_id IS NOT NULL
                ORDER BY jobs.ended_at IS NULL, replies.due_at LIMIT $2
                """,
                now,
                limit,
            )
            return [row["job"] for row in rows]

        return await self.database.read(unit)

    async def next_reply_at(self) -> int | None:
        async def unit(tx: Tx) -> int | None:
            row = await tx.one(
                "SELECT min(due_at) AS due_at FROM replies WHERE due_at IS NOT NULL AND message_id IS NOT NULL"
            )
            return row["due_at"] if row else None

        return await self.database.read(unit)

    async def want(self, job_ids: Sequence[str], *, now: int) -> None:
        """The cards of these jobs say something that is no longer so."""

        async def unit(tx: Tx) -> None:
            for each in job_ids:
                await replies.want(tx, each, now=now)

        await self.database.write(unit)

    async def delivered(self, job_id: str, *, version: int, message_id: int, due_at: int | None = None) -> None:
        async def unit(tx: Tx) -> None:
            await replies.delivered(tx, job_id, version=version, message_id=message_id, due_at=due_at)

        await self.database.write(unit)

    async def look_again(self, job_id: str, *, version: int, due_at: int) -> None:
        """*version* of the card is not shown yet; a newer one does not wait for *due_at*."""

        async def unit(tx: Tx) -> None:
            await replies.due_again(tx, job_id, due_at=due_at, version=version)

        await self.database.write(unit)

    async def postponed(self, job_id: str, *, due_at: int | None, version: int | None = None) -> None:
        """*version* could not be shown (None: whichever): try at *due_at*, or wait for a click when None."""

        async def unit(tx: Tx) -> None:
            await replies.tried(tx, job_id)
            await replies.due_again(tx, job_id, due_at=due_at, version=version)

        await self.database.write(unit)

    async def way_closed(self, job_id: str, *, dead_token: str | None) -> None:
        """One way to a reply is closed: that of *dead_token*, or where it is None the channel. The others are tried."""

        async def unit(tx: Tx) -> None:
            await replies.tried(tx, job_id)
            if dead_token is None:
                await replies.close_channel(tx, job_id)
            else:
                await replies.drop_token(tx, job_id, dead_token)

        await self.database.write(unit)

    async def reply_gone(self, job_id: str) -> None:
        async def unit(tx: Tx) -> None:
            await replies.gone(tx, job_id)

        await self.database.write(unit)

    async def fresh_token(self, job_id: str, token: str, *, received_at: int, message_id: int) -> None:
        """Somebody clicked on the reply: for a quarter of an hour it can be reached by this token."""

        async def unit(tx: Tx) -> None:
            reply = await replies.get(tx, job_id)
            if reply is None or reply.gone or reply.message_id != message_id:
                return
            await replies.keep_token(tx, job_id, token, expires_at=received_at + TOKEN_LIFE)
            if reply.delivered < reply.wanted:  # a newer version: a failing attempt under way must not undo this
                await replies.want(tx, job_id, now=received_at)

        await self.database.write(unit)

    async def delete_pictures(self, job: Job, *, now: int) -> tuple[Picture, ...]:
        """Forget the pictures and the prompt of *job*; the caller removes the files."""

        async def unit(tx: Tx) -> tuple[Picture, ...]:
            await jobs.hold(tx, job.id)
            held = await replies.pictures(tx, job.id)
            await tx.run("DELETE FROM pictures WHERE job = $1", job.id)
            await jobs.amend(tx, job.id, changes={"deleted_at": now, "watch_until": None, "due_at": None})
            await jobs.forget(tx, job.id)
            await replies.gone(tx, job.id)
            return held

        return await self.database.write(unit)


async def _dossier(tx: Tx, job_id: str) -> Dossier | None:
    job, reply = await jobs.get(tx, job_id), await replies.get(tx, job_id)
    if job is None or reply is None:
        return None
    return Dossier(job, reply, await ledger.charge(tx, job_id), await replies.pictures(tx, job_id))


async def _first_time(tx: Tx, interaction_id: int, *, now: int) -> bool:
    row = await tx.one(
        "INSERT INTO interactions (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id",
        interaction_id,
        now,
    )
    return row is not None
