"""What the store tells the loops after a commit: rows of jobs, and when replies are due."""

import asyncio

import pytest

from bot.core.jobs import Job, State
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, rows


class Memory:
    """A listener's copy of the rows."""

    def __init__(self, store: Store) -> None:
        self.jobs: dict[str, Job] = {}
        self.due: dict[str, int | None] = {}
        store.on_job(lambda job: self.jobs.__setitem__(job.id, job))
        store.on_reply_due(lambda each: self.due.__setitem__(each.job_id, each.due_at))


async def due_of(store: Store, job_id: str) -> int | None:
    (row,) = await rows(store, "SELECT due_at FROM replies WHERE job = $1", job_id)
    due_at: int | None = row["due_at"]
    return due_at


async def test_a_listener_has_each_row_as_it_is_on_disk(store: Store) -> None:
    memory = Memory(store)
    job: Job | None = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    assert memory.jobs["j"] == await store.job("j")
    job = await store.job("j")
    for state in (State.SUBMITTING, State.QUEUED, State.RUNNING):
        assert job is not None
        job = await store.move(job, state, now=NOON + 1, due_at=NOON + 2)
        assert memory.jobs["j"] == await store.job("j")
        assert memory.due.get("j") == await due_of(store, "j")


async def test_an_older_version_that_is_delivered_late_does_not_hide_that_a_newer_one_is_due(store: Store) -> None:
    await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    memory = Memory(store)
    await store.request_redraw(["j", "j"], now=NOON + 5)
    await store.mark_delivered("j", version=2, message_id=9, now=NOON)
    assert memory.due["j"] == NOON + 5
    await store.postpone_delivery("j", due_at=None, version=2)
    assert memory.due["j"] == await due_of(store, "j") == NOON + 5
    await store.mark_delivered("j", version=3, message_id=9, now=NOON)
    assert memory.due["j"] is None


async def test_nothing_is_told_of_a_change_that_was_not_written(store: Store) -> None:
    job = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    memory = Memory(store)
    queued = Job(**{name: getattr(job, name) for name in Job.__slots__} | {"state": State.QUEUED})
    assert await store.move(queued, State.RUNNING, now=NOON) is None
    assert memory.jobs == {}


async def test_a_change_is_told_where_its_caller_has_given_up(store: Store) -> None:
    job = await accept(store, a_job("j"))
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    memory = Memory(store)
    giving_up = asyncio.create_task(store.move(job, State.SUBMITTING, now=NOON))
    while not giving_up.done():
        await asyncio.sleep(0)
        found = await store.job("j")
        if found is not None and found.state is State.SUBMITTING:
            giving_up.cancel()
    await asyncio.wait([giving_up])
    async with asyncio.timeout(5):
        while "j" not in memory.jobs:  # the caller may be gone before the commit is told
            await store.job("j")
    assert memory.jobs["j"].state is State.SUBMITTING


async def test_a_listener_that_fails_does_not_fail_the_write(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: Job) -> None:
        raise ValueError("a defect")

    await accept(store, a_job("j"))
    store.on_job(failing)
    await store.acknowledge("j", message_id=9, ephemeral=False, now=NOON)
    found = await store.job("j")
    assert found is not None
    assert found.acked_at == NOON
    assert "a defect" in caplog.text
