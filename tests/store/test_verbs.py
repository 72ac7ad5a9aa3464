"""What the store's verbs leave alone, since somebody else was there first."""

from typing import Any

import pytest

from bot.core.cards import Picture
from bot.core.jobs import Cancel, Job, State
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, execute, faults, rows, walk, way_to

TAKEN = [each for each in State if each is not State.ACCEPTED]


@pytest.mark.parametrize("state", TAKEN)
async def test_only_a_job_that_still_waits_with_us_is_withdrawn(store: Store, state: State) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(state))
    await store.withdraw("j", now=NOON + 1)
    assert await store.job("j") == job
    assert await faults(store) == []


@pytest.mark.parametrize("answer", [Cancel.ASKED, Cancel.WANTED])
async def test_a_second_wish_to_cancel_asks_for_nothing_more(store: Store, answer: Cancel) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.QUEUED))
    noted = await store.update(job, now=NOON, cancel=answer, due_at=NOON + 60_000)
    assert await store.cancel("j", now=NOON + 1) == noted
    assert await store.job("j") == noted


async def test_a_job_whose_card_nobody_has_seen_is_in_no_list(store: Store) -> None:
    await accept(store, a_job("unseen"))
    await accept(store, a_job("seen"))
    await store.acknowledge("seen", message_id=9, ephemeral=False, now=NOON)
    found, more = await store.open_jobs(1, since=0)
    assert ([each.job.id for each in found], more) == (["seen"], 0)


async def test_only_what_may_be_submitted_is_tried_now_that_a_host_is_well(store: Store) -> None:
    for job_id in ("unseen", "seen", "elsewhere"):
        await accept(store, a_job(job_id, provider="runflow" if job_id == "elsewhere" else "runcomfy"))
        if job_id != "unseen":
            await store.acknowledge(job_id, message_id=9, ephemeral=False, now=NOON)
    await execute(store, f"UPDATE jobs SET due_at = {NOON + 60_000}")  # noqa: S608 - a number
    await store.retry_waiting("runcomfy", now=NOON + 1)
    assert await store.due_times() == {"seen": NOON + 1, "unseen": NOON + 60_000, "elsewhere": NOON + 60_000}


async def reply_of(store: Store, job_id: str) -> dict[str, Any]:
    (row,) = await rows(store, "SELECT wanted, delivered, due_at, gone FROM replies WHERE job = $1", job_id)
    return dict(row)


async def shown(store: Store) -> Job:
    """A job whose card has come to version 3, which is due; Discord shows version 1."""
    job = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    await store.request_redraw(["j", "j"], now=NOON + 5)
    return job


async def test_a_version_that_arrives_late_takes_nothing_back_from_a_newer_one(store: Store) -> None:
    await shown(store)
    await store.mark_delivered("j", version=2, message_id=9, due_at=NOON + 99)
    assert await reply_of(store, "j") == {"wanted": 3, "delivered": 2, "due_at": NOON + 5, "gone": 0}
    await store.mark_delivered("j", version=3, message_id=9)
    assert await reply_of(store, "j") == {"wanted": 3, "delivered": 3, "due_at": None, "gone": 0}
    await store.mark_delivered("j", version=2, message_id=9)
    assert (await reply_of(store, "j"))["delivered"] == 3


async def test_only_the_newest_version_puts_off_the_next_attempt(store: Store) -> None:
    await shown(store)
    await store.postpone_delivery("j", due_at=NOON + 60_000, version=2)
    await store.retry_delivery("j", version=2, due_at=NOON + 60_000)
    assert (await reply_of(store, "j"))["due_at"] == NOON + 5
    await store.postpone_delivery("j", due_at=NOON + 60_000, version=3)
    assert (await reply_of(store, "j"))["due_at"] == NOON + 60_000


async def test_nothing_is_wanted_of_a_reply_that_is_gone(store: Store) -> None:
    await shown(store)
    await store.mark_reply_gone("j")
    before = await reply_of(store, "j")
    await store.request_redraw(["j"], now=NOON + 9)
    await store.retry_delivery("j", version=3, due_at=NOON + 9)
    await store.refresh_token("j", "fresh", received_at=NOON + 10**6, message_id=9)
    assert await reply_of(store, "j") == before
    assert before["due_at"] is None
    assert [row["token"] for row in await rows(store, "SELECT token FROM tokens")] == ["token"]


async def test_a_token_gives_way_to_a_younger_one_only_and_dies_alone(store: Store) -> None:
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


async def test_of_a_deleted_job_nothing_is_left_to_see_and_nothing_comes_any_more(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.FAILED))
    watched = await store.update_unguarded(job, watch_until=NOON + 10**8, due_at=NOON + 10)
    assert watched is not None
    await store.delete_pictures(watched, now=NOON)
    left = await store.job("j")
    assert left is not None
    assert (left.request.prompt, left.deleted_at, left.watch_until) == ("", NOON, None)
    assert await store.due_times() == {}


async def test_a_picture_of_a_job_that_was_deleted_meanwhile_is_not_kept(store: Store) -> None:
    job = await walk(store, await accept(store, a_job("j")), way_to(State.SUCCEEDED))
    one, other = (Picture(n, f"j-{n}.png", "png", 1, 1, 9) for n in (1, 2))
    assert await store.add_picture(job, one, now=NOON)
    assert await store.delete_pictures(job, now=NOON) == (one,)
    assert not await store.add_picture(job, other, now=NOON)
    assert await rows(store, "SELECT file FROM pictures") == []
