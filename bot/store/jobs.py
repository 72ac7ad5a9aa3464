"""Rows of jobs and of their events; each state change is guarded by the expected state.

The functions are parts of units: they take the caller's transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bot.core.jobs import AppliedStyle, Cancel, ImageRequest, Job, Lease, Place, Reference, State, Verb
from bot.store.database import Row, Tx, insert

ERASED_REQUEST = '{"prompt": "", "options": {}, "references": []}'
CHANGEABLE = frozenset(
    {
        "due_at", "checked", "submitted_at", "started_at", "run_id", "position", "cancel", "reason", "images",
        "flagged", "watch_until", "acked_at", "deleted_at", "provider", "route", "hidden_at", "request", "spoiler",
    }
)  # fmt: skip


async def add(tx: Tx, job: Job) -> None:
    await insert(tx, "jobs", new_row(job))
    await add_event(tx, job, before=None, now=job.created_at, reason=None)


def new_row(job: Job) -> dict[str, object]:
    """The row of a new job, by column; the others are empty."""
    place, request = job.place, job.request
    return {
        "id": job.id,
        "user_id": place.user_id,
        "guild_id": place.guild_id,
        "channel_id": place.channel_id,
        "model": request.model,
        "verb": request.verb.value,
        "request": _dump(request),
        "provider": job.provider,
        "route": job.route,
        "state": job.state.value,
        "created_at": job.created_at,
        "changed_at": job.changed_at,
        "due_at": job.due_at,
        "give_up_after": job.give_up_after,
        "checked": int(job.checked),
        "cancel": job.cancel.value,
        "images": 0,
        "flagged": 0,
        "parent_id": job.parent_id,
        "installed": int(place.installed),
        "parent_channel": place.parent_id,
        "roles": " ".join(map(str, place.roles)),
        "parent_picture": job.parent_picture,
        "source": job.source,
        "spoiler": int(job.spoiler),
        "worker": job.lease.worker,
        "lease": 0,
        "version": 0,
    }


async def move(tx: Tx, job: Job, to: State, *, now: int, changes: Mapping[str, Any]) -> Job | None:
    """Change the state of *job* to *to*.

    None, with nothing written, if it is no longer in the state that *job* has, or under another lease.
    """
    ended = now if to.is_final else None
    names, values = _assignments(changes, first=8)
    row = await tx.one(
        f"""
        UPDATE jobs SET state = $1, changed_at = CASE WHEN state = $1 THEN changed_at ELSE CAST($2 AS BIGINT) END,
            ended_at = $3, version = version + 1{names}
        WHERE id = $4 AND state = $5 AND worker = $6 AND lease = $7
        RETURNING *
        """,  # noqa: S608 - column names come from CHANGEABLE
        to,
        now,
        ended,
        job.id,
        job.state,
        *job.lease,
        *values,
    )
    if row is None:
        return None
    moved = load(row)
    if to is not job.state or moved.provider != job.provider:
        await add_event(tx, moved, before=job.state, now=now, reason=changes.get("reason"))
    return moved


async def amend(tx: Tx, job_id: str, *, changes: Mapping[str, Any]) -> Job | None:
    """Change columns of a job in any state and under any lease; None if there is no such job."""
    names, values = _assignments(changes, first=2)
    row = await tx.one(
        f"UPDATE jobs SET version = version + 1{names} WHERE id = $1 RETURNING *",  # noqa: S608 - as above
        job_id,
        *values,
    )
    return load(row) if row else None


async def amend_held(tx: Tx, job: Job, *, changes: Mapping[str, Any]) -> Job | None:
    """Change columns of *job* in any state; None, with nothing written, if it is under another lease."""
    names, values = _assignments(changes, first=4)
    row = await tx.one(
        f"""
        UPDATE jobs SET version = version + 1{names} WHERE id = $1 AND worker = $2 AND lease = $3 RETURNING *
        """,  # noqa: S608 - as above
        job.id,
        *job.lease,
        *values,
    )
    return load(row) if row else None


async def acknowledge(tx: Tx, job_id: str, *, now: int) -> Job | None:
    """Make an accepted job due at *now*; a repeated acknowledgement changes nothing and returns None."""
    row = await tx.one(
        """
        UPDATE jobs SET acked_at = $2, due_at = $2, version = version + 1
        WHERE id = $1 AND state = 'accepted' AND acked_at IS NULL
        RETURNING *
        """,
        job_id,
        now,
    )
    return load(row) if row else None


async def retry_waiting(tx: Tx, provider: str, *, now: int) -> Sequence[Job]:
    """Make every job that waits for *provider* due at *now*, whatever retry delay it has."""
    rows = await tx.fetch(
        """
        UPDATE jobs SET due_at = $2, version = version + 1
        WHERE provider = $1 AND state = 'accepted' AND acked_at IS NOT NULL AND due_at > $2
        RETURNING *
        """,
        provider,
        now,
    )
    return [load(row) for row in rows]


async def slots_in_use(tx: Tx, provider: str) -> int:
    """How many runs the provider has, or may have, from all processes."""
    row = await tx.one(
        "SELECT count(*) AS n FROM jobs WHERE provider = $1 AND state IN ('submitting', 'queued', 'running')", provider
    )
    assert row is not None
    return int(row["n"])


async def erase_request(tx: Tx, job: Job) -> None:
    """Erase what was requested, and the member's drafts of the same. The row stays, because the ledger refers to it."""
    await tx.run("UPDATE jobs SET request = $2, source = NULL WHERE id = $1", job.id, ERASED_REQUEST)
    for row in await tx.fetch("SELECT id, body FROM drafts WHERE user_id = $1", job.place.user_id):
        draft, words = json.loads(row["body"]), job.request.prompt.strip()
        if draft.get("parent_id") == job.id or (words and draft.get("prompt", "").strip() == words):
            await tx.run("DELETE FROM drafts WHERE id = $1", row["id"])


async def get(tx: Tx, job_id: str) -> Job | None:
    row = await tx.one("SELECT * FROM jobs WHERE id = $1", job_id)
    return load(row) if row else None


async def lock(tx: Tx, job_id: str) -> Job | None:
    """Read a job and lock its row until the unit ends; None if there is no such job."""
    row = await tx.one("UPDATE jobs SET changed_at = changed_at WHERE id = $1 RETURNING *", job_id)
    return load(row) if row else None


async def ended_of(tx: Tx, user_id: int, *, limit: int) -> Sequence[Job]:
    """Read and lock up to *limit* ended jobs of a member that are not deleted, oldest first."""
    rows = await tx.fetch(
        "SELECT id FROM jobs WHERE user_id = $1 AND ended_at IS NOT NULL AND deleted_at IS NULL ORDER BY id LIMIT $2",
        user_id,
        limit,
    )
    locked = [await lock(tx, row["id"]) for row in rows]
    return [each for each in locked if each is not None and each.deleted_at is None]


async def add_event(tx: Tx, job: Job, *, before: State | None, now: int, reason: str | None) -> None:
    """Record the current state and provider of *job*; *before* is the previous state, None for a new job."""
    await insert(tx, "job_events", event_row(job, before=before, now=now, reason=reason))


def event_row(job: Job, *, before: State | None, now: int, reason: str | None) -> dict[str, object]:
    """The row of the event that *job* has its current state and provider."""
    return {
        "job": job.id,
        "at": now,
        "before": before,
        "after": job.state.value,
        "reason": reason,
        "provider": job.provider,
    }


def load(row: Row) -> Job:
    return Job(
        id=row["id"],
        place=_place(row),
        request=_parse(row["request"], model=row["model"], verb=row["verb"]),
        provider=row["provider"],
        route=row["route"],
        state=State(row["state"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        due_at=row["due_at"],
        give_up_after=row["give_up_after"],
        acked_at=row["acked_at"],
        checked=bool(row["checked"]),
        submitted_at=row["submitted_at"],
        run_id=row["run_id"],
        position=row["position"],
        cancel=Cancel(row["cancel"]),
        reason=row["reason"],
        images=row["images"],
        flagged=bool(row["flagged"]),
        watch_until=row["watch_until"],
        ended_at=row["ended_at"],
        parent_id=row["parent_id"],
        deleted_at=row["deleted_at"],
        started_at=row["started_at"],
        hidden_at=row["hidden_at"],
        parent_picture=row["parent_picture"],
        source=row["source"],
        spoiler=bool(row["spoiler"]),
        lease=Lease(row["worker"], row["lease"]),
        version=row["version"],
    )


def _place(row: Row) -> Place:
    return Place(
        user_id=row["user_id"],
        channel_id=row["channel_id"],
        guild_id=row["guild_id"],
        parent_id=row["parent_channel"],
        installed=bool(row["installed"]),
        roles=tuple(map(int, row["roles"].split())),
    )


def _assignments(changes: Mapping[str, Any], *, first: int) -> tuple[str, list[Any]]:
    if unknown := set(changes) - CHANGEABLE:
        raise ValueError(f"columns that cannot be changed: {', '.join(sorted(unknown))}")
    names = "".join(f", {name} = ${n}" for n, name in enumerate(changes, start=first))
    return names, [_column(value) for value in changes.values()]


def _column(value: Any) -> Any:
    """*value* as its column stores it."""
    if isinstance(value, ImageRequest):
        return _dump(value)
    return int(value) if isinstance(value, bool) else value


def _dump(request: ImageRequest) -> str:
    references = [asdict(each) for each in request.references]
    body = {"prompt": request.prompt, "options": dict(request.options), "references": references}
    if request.style is not None:
        body["style"] = asdict(request.style)
    return json.dumps(body)


def _parse(text: str, *, model: str, verb: str) -> ImageRequest:
    body = json.loads(text)
    references = tuple(Reference(**each) for each in body["references"])
    return ImageRequest(
        model=model,
        verb=Verb(verb),
        prompt=body["prompt"],
        options=body["options"],
        references=references,
        style=AppliedStyle(**body["style"]) if body.get("style") else None,  # older jobs have none
    )
