"""The verbs of the store: each decides and writes in one transaction.

What must hold together is written together: a job with its reservation, an ending with its settlement
and the newer card. A caller that gave up may still be committed.
"""

from collections.abc import Sequence
from typing import Any

from bot.core.cards import HIDEABLE, TOKEN_LIFE, Picture, Reply, ReplyPath, paths
from bot.core.errors import UserError
from bot.core.jobs import Cancel, Job, State
from bot.core.quota import IN_UTC, Amount, Limits
from bot.core.windows import Calendar
from bot.store import alerts, jobs, ledger, replies
from bot.store.database import Tx
from bot.store.queries import Queries

CANCELLABLE = frozenset({State.ACCEPTED, State.SUBMITTING, State.QUEUED})
QUIET = frozenset({State.SUBMITTING})  # entering these does not change what the card says


class AlreadySeen(Exception):
    """This interaction has been handled before: Discord may deliver an event twice."""


class Store(Queries):
    # --- admission

    async def accept(
        self,
        interaction_id: int,
        job: Job,
        *,
        reply: Reply,
        amount: Amount,
        price_version: str,
        limits: Limits,
        calendar: Calendar = IN_UTC,
    ) -> None:
        """Write interaction, job, reservation and reply, or the refusal; raise it as `UserError`.

        *calendar* is the server's.
        """

        async def unit(tx: Tx) -> UserError | None:
            if not await _first_time(tx, interaction_id, job=job.id, now=job.created_at):
                raise AlreadySeen(str(interaction_id))
            held = await ledger.reserve(tx, job, amount, limits=limits, calendar=calendar, price_version=price_version)
            if isinstance(held, UserError):
                await tx.run("UPDATE interactions SET job = NULL, refusal = $2 WHERE id = $1", interaction_id, held.key)
                return held
            await jobs.add(tx, job)
            await replies.add(tx, reply)
            for alert in held:
                await alerts.add(tx, job.place, alert, now=job.created_at)
            return None

        refusal = await self.database.write(unit)
        if refusal is not None:
            raise refusal

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
            if reply is not None and paths(reply, now=now, final=False) == (ReplyPath.TOKEN,):
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
                await replies.request_redraw(tx, job.id, now=now)
            return moved

        return await self.database.write(unit)

    async def cancel(self, job_id: str, *, now: int) -> Job | None:
        """Stop a job: at once while it waits with us, by a wish until the host has begun; None where it is too late."""

        async def unit(tx: Tx) -> Job | None:
            job = await jobs.hold(tx, job_id)
            if job is None or job.state not in CANCELLABLE or job.cancel is Cancel.TOO_LATE:
                return None
            if job.state is State.ACCEPTED:
                ended = await jobs.move(tx, job, State.CANCELLED, now=now, changes={"due_at": None})
                assert ended is not None  # it is held
                await ledger.end(tx, ended, now=now, pictures=0, reason=None)
                await replies.request_redraw(tx, job_id, now=now)
                return ended
            if job.cancel is not Cancel.NONE:
                return job
            await replies.request_redraw(tx, job_id, now=now)
            return await jobs.move(tx, job, job.state, now=now, changes={"cancel": Cancel.WANTED, "due_at": now})

        return await self.database.write(unit)

    async def hide(self, job_id: str, *, now: int) -> Job | None:
        """Keep what is made for a job out of its reply; None, with nothing written, unless its host has it."""

        async def unit(tx: Tx) -> Job | None:
            job = await jobs.hold(tx, job_id)
            if job is None or job.hidden_at is not None:
                return job
            if job.state not in HIDEABLE:
                return None
            await replies.request_redraw(tx, job_id, now=now)
            return await jobs.amend(tx, job_id, changes={"hidden_at": now})

        return await self.database.write(unit)

    async def show(self, job_id: str, *, now: int) -> None:
        """Let the reply of a hidden job show again what there is to see."""

        async def unit(tx: Tx) -> None:
            job = await jobs.hold(tx, job_id)
            if job is not None and job.hidden_at is not None:
                await replies.request_redraw(tx, job_id, now=now)
                await jobs.amend(tx, job_id, changes={"hidden_at": None})

        await self.database.write(unit)

    async def update(self, job: Job, *, now: int, show: bool = False, **changes: Any) -> Job | None:
        """Change facts of *job* that leave its state alone; *show* when the card says them."""

        async def unit(tx: Tx) -> Job | None:
            moved = await jobs.move(tx, job, job.state, now=now, changes=changes)
            if moved is not None and show:
                await replies.request_redraw(tx, job.id, now=now)
            return moved

        return await self.database.write(unit)

    async def update_unguarded(self, job: Job, **changes: Any) -> Job | None:
        """Change facts of *job* whatever state it is in by now; when it ended stays as it was."""

        async def unit(tx: Tx) -> Job | None:
            return await jobs.amend(tx, job.id, changes=changes)

        return await self.database.write(unit)

    async def retry_waiting(self, provider: str, *, now: int) -> None:
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

    async def request_redraw(self, job_ids: Sequence[str], *, now: int) -> None:
        """The cards of these jobs say something that is no longer so."""

        async def unit(tx: Tx) -> None:
            for each in job_ids:
                await replies.request_redraw(tx, each, now=now)

        await self.database.write(unit)

    async def delivered(self, job_id: str, *, version: int, message_id: int, due_at: int | None = None) -> None:
        async def unit(tx: Tx) -> None:
            await replies.delivered(tx, job_id, version=version, message_id=message_id, due_at=due_at)

        await self.database.write(unit)

    async def retry_delivery(self, job_id: str, *, version: int, due_at: int) -> None:
        """*version* of the card is not shown yet; a newer one does not wait for *due_at*."""

        async def unit(tx: Tx) -> None:
            await replies.due_again(tx, job_id, due_at=due_at, version=version)

        await self.database.write(unit)

    async def postpone_delivery(self, job_id: str, *, due_at: int | None, version: int | None = None) -> None:
        """*version* could not be shown (None: whichever): try at *due_at*, or wait for a click when None."""

        async def unit(tx: Tx) -> None:
            await replies.tried(tx, job_id)
            await replies.due_again(tx, job_id, due_at=due_at, version=version)

        await self.database.write(unit)

    async def token_died(self, job_id: str, token: str) -> None:
        """A reply cannot be reached by *token* any more; the other ways are tried."""

        async def unit(tx: Tx) -> None:
            await replies.drop_token(tx, job_id, token)

        await self.database.write(unit)

    async def text_shown(self, job_id: str, *, version: int, message_id: int, due_at: int | None) -> None:
        """*version* is shown without its pictures: try again at *due_at*, or wait for /jobs when None."""

        async def unit(tx: Tx) -> None:
            await replies.text_shown(tx, job_id, version=version, message_id=message_id)
            await replies.tried(tx, job_id)
            await replies.due_again(tx, job_id, due_at=due_at, version=version)

        await self.database.write(unit)

    async def delivered_privately(self, job_id: str, *, version: int) -> None:
        """The member has *version* in full, though not where the reply is."""

        async def unit(tx: Tx) -> None:
            await replies.delivered_privately(tx, job_id, version=version)

        await self.database.write(unit)

    async def notified(self, job_id: str) -> None:
        """The member was told by a direct message how the job ended, or takes none: that is not done twice."""

        async def unit(tx: Tx) -> None:
            await replies.notified(tx, job_id)

        await self.database.write(unit)

    async def reply_gone(self, job_id: str) -> None:
        async def unit(tx: Tx) -> None:
            await replies.gone(tx, job_id)

        await self.database.write(unit)

    async def refresh_token(self, job_id: str, token: str, *, received_at: int, message_id: int) -> None:
        """Somebody clicked on the reply: for a quarter of an hour it can be reached by this token."""

        async def unit(tx: Tx) -> None:
            reply = await replies.get(tx, job_id)
            if reply is None or reply.gone or reply.message_id != message_id:
                return
            await replies.keep_token(tx, job_id, token, expires_at=received_at + TOKEN_LIFE)
            if reply.delivered < reply.wanted:  # a newer version: a failing attempt under way must not undo this
                await replies.request_redraw(tx, job_id, now=received_at)

        await self.database.write(unit)

    async def delete_pictures(self, job: Job, *, now: int) -> tuple[Picture, ...]:
        """Forget the pictures, the prompt and the drafts of *job*; the caller removes the files."""

        async def unit(tx: Tx) -> tuple[Picture, ...]:
            await jobs.hold(tx, job.id)
            held = await replies.pictures(tx, job.id)
            await tx.run("DELETE FROM pictures WHERE job = $1", job.id)
            await jobs.amend(tx, job.id, changes={"deleted_at": now, "watch_until": None, "due_at": None})
            await jobs.forget(tx, job)
            await replies.gone(tx, job.id)
            return held

        return await self.database.write(unit)


async def _first_time(tx: Tx, interaction_id: int, *, job: str, now: int) -> bool:
    row = await tx.one(
        "INSERT INTO interactions (id, at, job) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING RETURNING id",
        interaction_id,
        now,
        job,
    )
    return row is not None
