"""What moderators of a server do: strikes, reports, and the record of a member."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.errors import UserError
from bot.core.jobs import Job
from bot.core.quota import Holder
from bot.store import complaints, jobs, strikes
from bot.store.complaints import Complaint, Outcome
from bot.store.database import Database, Tx
from bot.store.quotas import By, Change, record_change
from bot.store.strikes import Strike, StrikeReason

ACTIONS = ("takedown", "delete", "spoiler", "dismiss", "strikes", "block", "unblock")  # of the history of a member


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member's unexpired strikes, and what moderators did about them; both newest first."""

    strikes: Sequence[Strike]
    changes: Sequence[Change]


class Moderation:
    def __init__(self, database: Database) -> None:
        self._database = database

    # --- strikes

    async def add_strike(self, strike_id: str, *, server: int, user: int, reason: StrikeReason, now: int) -> None:
        """Count a strike against a member; once for *strike_id*, which is the interaction's."""

        async def unit(tx: Tx) -> None:
            await strikes.add(tx, strike_id, server=server, user=user, reason=reason, now=now)

        await self._database.write(unit)

    async def clear_strikes(self, by: By, user: int) -> int:
        """Let a member's strikes expire now; returns how many there were, with nothing recorded if there were none."""

        async def unit(tx: Tx) -> int:
            count = await strikes.expire(tx, by.server, user, now=by.at)
            if count:
                body = {"count": count}
                await record_change(tx, by, "strikes", holder=Holder.USER, subject=user, body=body)
            return count

        return await self._database.write(unit)

    async def record_of(self, server: int, user: int, *, now: int, limit: int = 15) -> MemberRecord:
        actions = ", ".join(f"'{each}'" for each in ACTIONS)

        async def unit(tx: Tx) -> MemberRecord:
            rows = await tx.fetch(
                f"""
                SELECT id, at, actor, action, subject, body FROM changes
                WHERE guild = $1 AND holder = 'user' AND subject = $2 AND action IN ({actions})
                ORDER BY at DESC, n DESC LIMIT $3
                """,  # noqa: S608 - fixed strings
                server,
                user,
                limit,
            )
            changes = [
                Change(row["id"], row["at"], row["actor"], row["action"], Holder.USER, user, json.loads(row["body"]))
                for row in rows
            ]
            return MemberRecord(await strikes.unexpired(tx, server, user, now=now), changes)

        return await self._database.read(unit)

    # --- reports

    async def report(self, complaint_id: str, job: Job, complaint: Complaint) -> bool:
        """Record a member's report about a result; False if they have reported it before."""

        async def unit(tx: Tx) -> bool:
            current = await jobs.lock(tx, job.id)  # against a moderator who takes it down at the same time
            if current is None or current.deleted_at is not None:
                raise UserError("job.unknown")
            return await complaints.add(tx, complaint_id, job.id, complaint, server=job.place.server)

        return await self._database.write(unit)

    async def withdraw_report(self, complaint_id: str) -> None:
        """Delete a report that no moderator was told of."""

        async def unit(tx: Tx) -> None:
            await tx.run("DELETE FROM reports WHERE id = $1 AND settled_at IS NULL", complaint_id)

        await self._database.write(unit)

    async def dismiss(self, by: By, job: Job) -> bool:
        """Settle the open reports about a job as unfounded; False if there are none."""

        async def unit(tx: Tx) -> bool:
            await jobs.lock(tx, job.id)
            if not await complaints.settle(tx, job.id, Outcome.DISMISSED, by=by.actor, now=by.at):
                return False
            body = {"job": job.id}
            return await record_change(tx, by, "dismiss", holder=Holder.USER, subject=job.place.user_id, body=body)

        return await self._database.write(unit)

    async def reports_about(self, job_id: str) -> Sequence[Complaint]:
        async def unit(tx: Tx) -> Sequence[Complaint]:
            return await complaints.of_job(tx, job_id)

        return await self._database.read(unit)
