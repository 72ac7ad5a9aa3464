"""Jobs of several processes: who gets them, who takes them over, and that an outdated lease writes nothing."""

import asyncio
from collections import Counter

from bot.core.jobs import SECOND, Job, Lease, State
from bot.core.processes import Process, Role
from bot.store.processes import LEASE, MAX_CLAIMED, PAID_REQUEST, Processes
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, opened, walk

WORKER, GATEWAY = (Role.WORKER,), (Role.GATEWAY,)


def process(roles: tuple[Role, ...] = WORKER, *, at: int = NOON) -> Process:
    return Process(0, roles, "here", "", 1, "0", at)


async def acked(store: Store, name: str, *, owner: int = 0) -> Job:
    await accept(store, a_job(name, lease=Lease(owner, 0)))
    await store.acknowledge(name, message_id=8, ephemeral=False, now=NOON)
    return await known(store, name)


async def known(store: Store, name: str) -> Job:
    job = await store.job(name)
    assert job is not None
    return job


async def test_a_process_takes_over_jobs_of_nobody_and_of_the_dead_but_not_of_the_living(store: Store) -> None:
    processes = Processes(store.database)
    dead, living, heir = [await processes.add(process()) for _ in range(3)]
    gateway = await processes.add(process(GATEWAY))
    for name, owner in ("nobodys", 0), ("dead", dead), ("living", living), ("of a gateway", gateway):
        await accept(store, a_job(name, lease=Lease(owner, 0)))

    claimed = await store.claim(heir, dead=[dead], now=NOON)

    assert {each.id for each in claimed} == {"nobodys", "dead", "of a gateway"}
    assert {each.lease for each in claimed} == {Lease(heir, 1)}
    assert await store.claim(heir, dead=[dead], now=NOON) == []
    assert (await known(store, "living")).lease == Lease(living, 0)


async def test_a_job_whose_reply_is_due_is_taken_over_as_well(store: Store) -> None:
    job = await walk(store, await acked(store, "a"), [State.SUBMITTING, State.FAILED], now=NOON)
    assert job.due_at is None
    assert [each.id for each in await store.claim(7, now=NOON)] == ["a"]
    assert list(await store.due_replies(worker=7)) == ["a"]
    assert await store.due_replies(worker=8) == {}
    await store.mark_delivered("a", version=9, message_id=8, now=NOON)
    assert await store.claim(9, now=NOON) == []


async def test_a_job_that_is_submitted_is_left_alone_while_its_paid_request_may_be_in_progress(store: Store) -> None:
    job = await acked(store, "a", owner=3)
    await store.move(job, State.SUBMITTING, now=NOON, submitted_at=NOON, due_at=NOON + 1)
    assert await store.claim(7, now=NOON + PAID_REQUEST - 1) == []
    assert [each.id for each in await store.claim(7, now=NOON + PAID_REQUEST)] == ["a"]


async def test_a_process_that_leaves_gives_up_all_but_what_it_pays_for(store: Store) -> None:
    processes = Processes(store.database)
    leaving = await processes.add(process())
    await accept(store, a_job("waits", lease=Lease(leaving, 0)))
    paid = await acked(store, "paid", owner=leaving)
    await store.move(paid, State.SUBMITTING, now=NOON, submitted_at=NOON, due_at=NOON + 1)
    await processes.leave(leaving)
    await store.release(leaving, ended=False)
    assert await processes.heartbeats() == []
    assert [each.id for each in await store.claim(7, now=NOON)] == ["waits"]
    assert (await known(store, "paid")).lease == Lease(leaving, 0)
    await store.release(leaving, ended=True)
    assert [each.id for each in await store.claim(7, now=NOON)] == ["paid"]


async def test_under_an_outdated_lease_nothing_of_a_job_is_written(store: Store) -> None:
    before = await acked(store, "a")
    (after,) = await store.claim(7, now=NOON)
    assert await store.move(before, State.SUBMITTING, now=NOON) is None
    assert await store.update(before, now=NOON, show=True, position=3) is None
    assert await store.update_ended(before, watch_until=NOON) is None
    assert await known(store, "a") == after
    moved = await store.move(after, State.SUBMITTING, now=NOON)
    assert moved is not None
    assert moved.lease == after.lease
    assert moved.version > after.version > before.version


async def test_a_card_shown_under_an_outdated_lease_is_shown_again_by_the_job_s_new_process(store: Store) -> None:
    before = await acked(store, "a")
    await store.request_redraw(["a"], now=NOON)
    await store.claim(7, now=NOON)
    await store.mark_delivered("a", version=2, message_id=8, now=NOON, lease=before.lease)
    record = await store.job_record("a")
    assert record is not None
    assert (record.reply.delivered, record.reply.wanted) == (1, 3)
    assert (await store.due_replies())["a"].worker == 7


async def test_under_an_outdated_lease_nothing_of_a_reply_is_written(store: Store) -> None:
    lease = (await acked(store, "a")).lease
    await store.request_redraw(["a"], now=NOON)
    await store.claim(7, now=NOON)
    before = await store.job_record("a")
    await store.postpone_delivery("a", due_at=None, lease=lease)
    await store.mark_text_shown("a", version=2, message_id=99, due_at=None, lease=lease)
    await store.mark_thread_opened("a", lease=lease)
    await store.mark_reply_gone("a", lease=lease)
    assert await store.mark_notified("a", lease=lease) is False
    assert await store.job_record("a") == before
    assert await store.mark_notified("a", lease=Lease(7, 1)) is True


async def test_what_a_member_does_needs_no_lease(store: Store) -> None:
    await accept(store, a_job("a", lease=Lease(7, 0)))
    await store.claim(8, now=NOON)
    await store.acknowledge("a", message_id=8, ephemeral=False, now=NOON)
    cancelled = await store.cancel("a", now=NOON)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED


async def test_many_claimers_at_once_get_each_job_once(postgres_url: str) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        jobs = [f"j{n}" for n in range(MAX_CLAIMED + 50)]
        for name in jobs:
            await accept(one, a_job(name))
        workers = [await Processes(one.database).add(process()) for _ in range(4)]
        claims = [store.claim(each, now=NOON) for each, store in zip(workers, (one, other) * 2, strict=True)]
        claimed = [job for found in await asyncio.gather(*claims) for job in found]
        claimed += await one.claim(workers[0], now=NOON)
        assert Counter(each.id for each in claimed) == Counter(jobs)


async def test_a_heartbeat_is_seen_until_its_process_ends(store: Store) -> None:
    processes = Processes(store.database)
    first, second = await processes.add(process()), await processes.add(process(at=NOON + SECOND))
    assert await processes.renew(first, now=NOON + 8 * SECOND)
    seen = [(each.id, at) for each, at in await processes.heartbeats()]
    assert seen == [(first, NOON + 8 * SECOND), (second, NOON + SECOND)]
    await store.release(first, ended=True)
    assert not await processes.renew(first, now=NOON + LEASE)
    assert [each.id for each, _ in await processes.heartbeats()] == [second]
