"""Writes of the store that change nothing because of an earlier or newer one."""

from typing import Any

import pytest

from bot.core.cards import Picture
from bot.core.jobs import HOUR, Cancel, Job, State
from bot.store.housekeeping import Housekeeping
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, execute, faults, rows, walk, way_to

TAKEN = [each for each in State if each is not State.ACCEPTED]


@pytest.mark.parametrize("state", TAKEN)
async def test_only_an_accepted_job_is_withdrawn(store: Store, state: State) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(state))
    await store.withdraw("j", now=NOON + 1)
    assert await store.job("j") == job
    assert await faults(store) == []


@pytest.mark.parametrize("answer", [Cancel.ASKED, Cancel.WANTED])
async def test_a_second_cancellation_changes_nothing(store: Store, answer: Cancel) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.QUEUED))
    noted = await store.update(job, now=NOON, cancel=answer, due_at=NOON + 60_000)
    assert await store.cancel("j", now=NOON + 1) == noted
    assert await store.job("j") == noted


async def test_a_job_whose_card_was_not_shown_is_not_listed(store: Store) -> None:
    await accept(store, a_job("unseen"))
    await accept(store, a_job("seen"))
    await store.acknowledge("seen", message_id=9, ephemeral=False, now=NOON)
    found, more = await store.open_jobs(1, since=0)
    assert ([each.job.id for each in found], more) == (["seen"], 0)


async def test_only_jobs_that_may_be_submitted_are_retried_when_a_provider_recovers(store: Store) -> None:
    for job_id in ("unseen", "seen", "elsewhere"):
        await accept(store, a_job(job_id, provider="runflow" if job_id == "elsewhere" else "runcomfy"))
        if job_id != "unseen":
            await store.acknowledge(job_id, message_id=9, ephemeral=False, now=NOON)
    await execute(store, f"UPDATE jobs SET due_at = {NOON + 60_000}")  # noqa: S608 - a number
    await store.retry_waiting("runcomfy", now=NOON + 1)
    due = {job_id: each.due_at for job_id, each in (await store.due_jobs()).items()}
    assert due == {"seen": NOON + 1, "unseen": NOON + 60_000, "elsewhere": NOON + 60_000}


async def reply_of(store: Store, job_id: str) -> dict[str, Any]:
    (row,) = await rows(store, "SELECT wanted, delivered, due_at, gone FROM replies WHERE job = $1", job_id)
    return dict(row)


async def shown(store: Store) -> Job:
    """A job whose card has come to version 3, which is due; Discord shows version 1."""
    job = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    await store.request_redraw(["j", "j"], now=NOON + 5)
    return job


async def test_a_late_version_does_not_undo_a_newer_one(store: Store) -> None:
    await shown(store)
    await store.mark_delivered("j", version=2, message_id=9, now=NOON, due_at=NOON + 99)
    assert await reply_of(store, "j") == {"wanted": 3, "delivered": 2, "due_at": NOON + 5, "gone": 0}
    await store.mark_delivered("j", version=3, message_id=9, now=NOON)
    assert await reply_of(store, "j") == {"wanted": 3, "delivered": 3, "due_at": None, "gone": 0}
    await store.mark_delivered("j", version=2, message_id=9, now=NOON)
    assert (await reply_of(store, "j"))["delivered"] == 3


async def test_only_the_newest_version_postpones_the_next_attempt(store: Store) -> None:
    await shown(store)
    await store.postpone_delivery("j", due_at=NOON + 60_000, version=2)
    assert (await reply_of(store, "j"))["due_at"] == NOON + 5
    await store.postpone_delivery("j", due_at=NOON + 60_000, version=3)
    assert (await reply_of(store, "j"))["due_at"] == NOON + 60_000


async def test_no_new_card_is_requested_for_a_deleted_reply(store: Store) -> None:
    await shown(store)
    await store.mark_reply_gone("j")
    before = await reply_of(store, "j")
    await store.request_redraw(["j"], now=NOON + 9)
    await store.postpone_delivery("j", version=3, due_at=NOON + 9)
    await store.refresh_token("j", "fresh", received_at=NOON + 10**6, message_id=9)
    assert await reply_of(store, "j") == before
    assert before["due_at"] is None
    assert [row["token"] for row in await rows(store, "SELECT token FROM tokens")] == ["token"]


async def test_a_token_is_replaced_only_by_a_newer_one_and_dropped_alone(store: Store) -> None:
    await shown(store)

    async def token() -> list[str]:
        return [row["token"] for row in await rows(store, "SELECT token FROM tokens")]

    await store.refresh_token("j", "older", received_at=NOON - 1, message_id=9)
    await store.refresh_token("j", "elsewhere", received_at=NOON + 10, message_id=8)
    assert await token() == ["token"]
    await store.refresh_token("j", "younger", received_at=NOON + 10, message_id=9)
    await store.drop_token("j", "token")
    assert await token() == ["younger"]
    await store.drop_token("j", "younger")
    assert await token() == []


async def test_a_deleted_job_has_no_content_and_no_further_deliveries(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.FAILED))
    watched = await store.update_ended(job, watch_until=NOON + 10**8, due_at=NOON + 10)
    assert watched is not None
    await store.delete_pictures(watched, now=NOON)
    left = await store.job("j")
    assert left is not None
    assert (left.request.prompt, left.deleted_at, left.watch_until) == ("", NOON, None)
    assert await store.due_jobs() == {}


async def test_a_picture_of_a_job_deleted_meanwhile_is_not_recorded(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.SUCCEEDED))
    one, other = (Picture(n, f"j-{n}.png", "png", 1, 1, 9) for n in (1, 2))
    assert await store.add_picture(job, one, now=NOON)
    assert await store.delete_pictures(job, now=NOON) == (one,)
    assert not await store.add_picture(job, other, now=NOON)
    assert await rows(store, "SELECT file FROM pictures") == []


async def test_a_delivery_is_claimed_once_until_it_is_forgotten_and_takes_no_requests_place(store: Store) -> None:
    assert [await store.claim_delivery(4711, now=NOON) for _ in range(2)] == [True, False]
    assert await store.claim_delivery(4712, now=NOON)
    await accept(store, a_job("j"), interaction=4711)
    await Housekeeping(store.database).delete_expired(now=NOON + 25 * HOUR)
    assert await store.claim_delivery(4711, now=NOON)
