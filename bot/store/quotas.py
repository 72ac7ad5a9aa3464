"""Changes of quotas and server settings by admins and the operator, each recorded in the history (table `changes`).

A change has the id of its interaction, so that an interaction that is delivered twice changes something once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from bot.core.quota import IN_UTC, Amount, Block, Grant, Holder, Rule, Scope, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import moment_on_day
from bot.core.zones import calendar_of, pin_current_day
from bot.store import grants, ledger, rules, totals
from bot.store.database import Database, Row, Tx

OPERATOR = 0  # the actor of the command line


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, where and when: *id* is the interaction's, or a new one of the command line."""

    id: str
    server: int
    actor: int
    at: int


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history. *body* has the details: limits, amounts, reasons."""

    id: str
    at: int
    actor: int
    # set | clear | grant | revoke | reset | block | unblock | settings
    # takedown | delete | spoiler | dismiss | strikes, by moderators
    action: str
    holder: Holder
    subject: int
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overview:
    """All settings, rules and blocks of a server."""

    server_settings: ServerSettings
    rules: Sequence[Rule]
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class MemberGrant:
    """A bonus with its member's id."""

    user: int
    grant: Grant


class Quotas:
    def __init__(self, database: Database) -> None:
        self.database = database

    # --- limits

    async def set_rule(self, by: By, rule: Rule, *, inherited: int | None = None) -> None:
        """Set a limit. *inherited*: the amount that applied if no rule was set, for the history."""

        async def unit(tx: Tx) -> None:
            existing, _ = await rules.set_in(tx, by.server)
            before = [each.amount for each in existing if _same_limit(each, rule)]
            earlier = {"before": before[0]} if before else {} if inherited is None else {"inherited": inherited}
            body = {**_rule_body(rule), **earlier}
            if await record_change(tx, by, "set", holder=rule.holder, subject=rule.subject, body=body):
                await rules.put(tx, by.server, rule)

        await self.database.write(unit)

    async def clear_rules(self, by: By, wanted: Sequence[Rule]) -> Sequence[Rule]:
        """Remove the rules of these limits, whatever their amounts; returns those that were set."""

        async def unit(tx: Tx) -> Sequence[Rule]:
            existing, _ = await rules.set_in(tx, by.server)
            cleared = [each for each in existing if any(_same_limit(each, one) for one in wanted)]
            if not cleared:
                return []
            first, body = cleared[0], {"rules": [_rule_body(each) for each in cleared]}
            if not await record_change(tx, by, "clear", holder=first.holder, subject=first.subject, body=body):
                return []
            return [each for each in cleared if await rules.remove(tx, by.server, each)]

        return await self.database.write(unit)

    async def block(self, by: By, block: Block, *, reason: str | None = None) -> None:
        body = {"reason": reason} if block.until is None else {"reason": reason, "until": block.until}

        async def unit(tx: Tx) -> None:
            if await record_change(tx, by, "block", holder=block.holder, subject=block.subject, body=body):
                await rules.put_block(tx, by.server, block)

        await self.database.write(unit)

    async def unblock(self, by: By, block: Block) -> bool:
        """Remove a block; False if it was not set."""

        async def unit(tx: Tx) -> bool:
            _, blocks = await rules.set_in(tx, by.server)
            if block not in blocks:
                return False
            if not await record_change(tx, by, "unblock", holder=block.holder, subject=block.subject, body={}):
                return False
            return await rules.remove_block(tx, by.server, block)

        return await self.database.write(unit)

    # --- bonuses and resets

    async def grant(self, by: By, user: int, grant: Grant, *, reason: str | None = None) -> int | None:
        """Give a member a bonus; *grant*'s id is ignored. Returns its new id, or None for a repeated interaction."""

        async def unit(tx: Tx) -> int | None:
            body = {"unit": grant.unit, "amount": grant.left, "expires_at": grant.expires_at, "reason": reason}
            if not await record_change(tx, by, "grant", holder=Holder.USER, subject=user, body=body):
                return None
            return await ledger.add_grant(
                tx, grant, server=by.server, user=user, now=by.at, actor=by.actor, reason=reason
            )  # fmt: skip

        return await self.database.write(unit)

    async def revoke(self, by: By, grant_id: int, *, reason: str | None = None) -> MemberGrant | None:
        """Take back what is left of a bonus; None where nothing is left, or for a repeated interaction."""

        async def unit(tx: Tx) -> MemberGrant | None:
            owner = await tx.one('SELECT "user" FROM grants WHERE id = $1 AND guild = $2', grant_id, by.server)
            if owner is None:
                return None
            account = (Scope.USER, by.server, owner["user"])
            await totals.count(tx, [account], IN_UTC.moment(by.at), at=by.at)  # locks the account against draws
            grant = await grants.get(tx, grant_id)
            if grant is None or not grant.left:
                return None
            user, unit_, left = owner["user"], grant.unit, grant.left
            body = {"unit": unit_, "amount": left, "grant": grant_id, "reason": reason}
            if not await record_change(tx, by, "revoke", holder=Holder.USER, subject=user, body=body):
                return None
            await grants.close(tx, grant_id, now=by.at)
            taken = Amount(-left, 0) if unit_ is Unit.IMAGES else Amount(0, -left)
            await ledger.adjust(tx, account, None, by=taken, now=by.at, actor=by.actor, reason=reason or "revoked")
            return MemberGrant(user, Grant(grant_id, unit_, left))

        return await self.database.write(unit)

    async def reset(self, by: By, holder: Holder, subject: int, *, reason: str | None = None) -> Amount | None:
        """Reset the usage of a member, channel or server in all current windows; returns what its total counted.

        Unfinished jobs still count. Spending stays in the history, and still counts for the operator's cap on the
        server and for the scope `host`. None for a repeated interaction.
        """
        assert holder in (Holder.USER, Holder.CHANNEL, Holder.GUILD)  # the others have no such account
        account = (holder.scope, by.server, subject)

        async def unit(tx: Tx) -> Amount | None:
            local = calendar_of(await rules.server_settings(tx, by.server)).moment(by.at)
            counted = await totals.count(tx, [account], local, at=by.at)
            taken: dict[str, Amount] = {}
            for bucket in local.buckets.values():
                open_part = await _unfinished(tx, account, bucket)
                taken[bucket] = counted[(holder.scope, bucket)].counts - open_part
            if not await record_change(
                tx, by, "reset", holder=holder, subject=subject, body={"taken": _amounts_body(taken), "reason": reason}
            ):
                return None
            for bucket, amount in taken.items():
                if amount != Amount():
                    off = Amount() - amount
                    await ledger.adjust(tx, account, bucket, by=off, now=by.at, actor=by.actor, reason=reason)
            return taken["total"]

        return await self.database.write(unit)

    # --- server settings

    async def change_server_settings(
        self, by: By, change: Callable[[ServerSettings], ServerSettings], *, body: Mapping[str, Any]
    ) -> ServerSettings:
        """Apply *change* to a server's current settings and return the result; *body* is the history entry's body."""

        async def unit(tx: Tx) -> ServerSettings:
            await tx.run(  # locks the row
                "INSERT INTO houses (guild, body) VALUES ($1, '{}') "
                "ON CONFLICT (guild) DO UPDATE SET body = houses.body",
                by.server,
            )
            server_settings = await rules.server_settings(tx, by.server)
            changed = change(server_settings)
            if changed == server_settings or not await record_change(
                tx, by, "settings", holder=Holder.GUILD, subject=0, body=body
            ):
                return server_settings
            changed = pin_current_day(server_settings, changed, now=by.at)
            await rules.put_server_settings(tx, by.server, changed)
            return changed

        return await self.database.write(unit)

    # --- reading

    async def overview(self, server: int, *, now: int = 0) -> Overview:
        """All settings, rules and blocks, without blocks that have ended before *now* (UTC milliseconds)."""

        async def unit(tx: Tx) -> Overview:
            rules_set, blocks = await rules.set_in(tx, server)
            applying = [each for each in blocks if each.applies(now)]
            return Overview(await rules.server_settings(tx, server), rules_set, applying)

        return await self.database.read(unit)

    async def grants(
        self, server: int, *, user: int | None = None, now: int, limit: int = 100
    ) -> Sequence[MemberGrant]:
        """At most *limit* unexpired bonuses that are not used up, of one member or of all; first to expire first."""

        async def unit(tx: Tx) -> Sequence[MemberGrant]:
            rows = await tx.fetch(
                """
                SELECT id, "user", unit, remaining, expires_at FROM grants
                WHERE guild = $1 AND "user" BETWEEN $2 AND $3 AND remaining > 0
                  AND (expires_at IS NULL OR expires_at > $4)
                ORDER BY expires_at IS NULL, expires_at, id LIMIT $5
                """,
                server,
                0 if user is None else user,
                2**63 - 1 if user is None else user,
                now,
                limit,
            )
            return [_member_grant(row) for row in rows]

        return await self.database.read(unit)


def _member_grant(row: Row) -> MemberGrant:
    return MemberGrant(row["user"], Grant(row["id"], Unit(row["unit"]), row["remaining"], row["expires_at"]))


async def _unfinished(tx: Tx, account: totals.Account, bucket: str) -> Amount:
    """The part of a bucket that is reserved for unfinished jobs and not paid by a bonus."""
    scope, server, subject = account
    rows = await tx.fetch(
        """
        SELECT held.at AS at, held.day AS day, held.images - held.bonus_images AS own_images,
               held.micro_usd - held.bonus_micro_usd AS own_micro_usd, held.images AS images,
               held.micro_usd AS micro_usd
        FROM jobs JOIN ledger held ON held.job = jobs.id AND held.kind = 'reserve'
        WHERE jobs.ended_at IS NULL AND held.guild = $1
          AND (held."user" = $2 OR $3 <> 'user') AND (held.channel = $2 OR $3 <> 'channel')
        """,
        server,
        subject,
        scope,
    )
    parts = [row for row in rows if bucket in moment_on_day(date.fromisoformat(row["day"]), row["at"]).buckets.values()]
    own = "own_" if scope is Scope.USER else ""
    return Amount(
        sum(row[f"{own}images"] for row in parts), sum(row[f"{own}micro_usd"] for row in parts)
    )  # fmt: skip


async def record_change(
    tx: Tx, by: By, action: str, *, holder: Holder, subject: int, body: Mapping[str, Any]
) -> bool:  # fmt: skip
    """Record a change; False if it was recorded before."""
    row = await tx.one(
        """
        INSERT INTO changes (id, guild, at, actor, action, holder, subject, body)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING RETURNING id
        """,
        by.id, by.server, by.at, by.actor, action, holder, subject, json.dumps(body),
    )  # fmt: skip
    return row is not None


def _same_limit(one: Rule, other: Rule) -> bool:
    return (one.holder, one.subject, one.unit, one.window) == (other.holder, other.subject, other.unit, other.window)


def _rule_body(rule: Rule) -> Mapping[str, Any]:
    return {"unit": rule.unit, "window": rule.window, "amount": rule.amount}


def _amounts_body(taken: Mapping[str, Amount]) -> Mapping[str, Any]:
    return {bucket: asdict(each) for bucket, each in taken.items() if each != Amount()}
