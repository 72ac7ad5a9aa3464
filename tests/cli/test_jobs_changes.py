"""`darkroom jobs cancel` and `retry-delivery`: what they change, with and without a running bot."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.core.jobs import Cancel, Job, Observation, State
from bot.providers.base import CancelOutcome
from bot.store.database import Tx
from bot.store.store import Store
from tests.cli.shell import FIRST, SECOND, Run, shell, three
from tests.kit import ALICE, BOB, Rig, Time, rig
from tests.store.ledger_model import NOON, a_job, accept, opened, rows, walk


class Today(Time):
    """The clock of the bot, close to the command line's."""

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return shell("jobs", url, monkeypatch=monkeypatch, capsys=capsys)


# --- cancelling


async def test_a_waiting_job_is_cancelled_at_once_and_its_reservation_released(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)

        ended = await run("cancel", SECOND)

        assert ended.code == 0
        assert ended.out == f"Job {SECOND} is cancelled; its reservation is released.\n"
        job, record = await store.job(SECOND), await store.job_record(SECOND)
        assert job is not None
        assert job.state is State.CANCELLED
        assert record is not None
        assert record.charge.released == record.charge.reserved
        assert record.reply.wanted == 2


@pytest.mark.parametrize("way", [[State.SUBMITTING], [State.SUBMITTING, State.QUEUED]])
async def test_a_submitted_job_is_cancelled_at_the_provider_once(url: str, run: Run, way: list[State]) -> None:
    async with opened(url) as store:
        await walk(store, await accept(store, a_job(FIRST)), way)

        first, second = await run("cancel", FIRST, "--json"), await run("cancel", FIRST)

        assert first.document == {"id": FIRST, "state": way[-1], "cancel": "wanted"}
        assert (second.code, second.out.count("\n")) == (0, 1)
        job, record = await store.job(FIRST), await store.job_record(FIRST)
        assert job is not None
        assert job.cancel is Cancel.WANTED
        assert job.due_at is not None
        assert record is not None
        assert record.reply.wanted == (2 if way == [State.SUBMITTING] else 3)


@pytest.mark.parametrize("state", [State.UNKNOWN, State.RUNNING, State.COLLECTING, State.SUCCEEDED, State.CANCELLED])
async def test_cancel_is_too_late_for_a_job_that_cannot_be_stopped(url: str, run: Run, state: State) -> None:
    way = {
        State.UNKNOWN: [State.SUBMITTING],
        State.RUNNING: [State.SUBMITTING, State.QUEUED],
        State.COLLECTING: [State.SUBMITTING, State.QUEUED, State.RUNNING],
        State.SUCCEEDED: [State.SUBMITTING, State.QUEUED, State.RUNNING, State.COLLECTING],
    }.get(state, [])
    async with opened(url) as store:
        before = await walk(store, await accept(store, a_job(FIRST)), [*way, state])

        sentence = (await run("cancel", FIRST)).sentence(1)

        assert "too late" in sentence
        assert str(state) in sentence
        assert await store.job(FIRST) == before


async def test_a_cancel_that_the_provider_did_not_carry_out_is_not_repeated(url: str, run: Run) -> None:
    async with opened(url) as store:
        job = await walk(store, await accept(store, a_job(FIRST)), [State.SUBMITTING, State.QUEUED])
        await store.update(job, now=NOON, cancel=Cancel.TOO_LATE)

        assert "the provider did not stop it" in (await run("cancel", FIRST)).sentence(1)


async def until(app: Rig, job_id: str, *, reached: Callable[[Job], bool]) -> Job:
    """The job as soon as *reached* says so; the worker sets the replies' wakeup after each of its steps."""
    wakeup = app.services.wakeups.replies
    while not reached(job := await app.job(job_id)):
        await wakeup.wait()
        wakeup.clear()
    return job


async def test_a_running_worker_carries_out_a_cancel_of_the_command_line(
    url: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:

        async def agree(run_id: str) -> CancelOutcome:
            app.provider.sees = [Observation(State.CANCELLED)]
            return CancelOutcome.CANCELLED

        monkeypatch.setattr(app.provider, "cancel", agree)
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(app.worker.run(stop))
            job_id = await app.imagine(received_at=app.time())
            await until(app, job_id, reached=lambda job: job.state is State.QUEUED)

            assert (await run("cancel", job_id)).code == 0

            job = await until(app, job_id, reached=lambda job: job.state.is_final)
            stop.set()
            app.services.wakeups.worker.set()
        assert job.state is State.CANCELLED
        record = await app.store.job_record(job_id)
        assert record is not None
        assert record.charge.released == record.charge.reserved


async def test_a_queued_job_can_be_cancelled_while_the_worker_runs(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url, slots=1) as app:
        at_host, waiting, behind = await app.imagine(ALICE), await app.imagine(BOB), await app.imagine(1003)
        await app.turn()

        assert (await run("cancel", waiting)).code == 0
        app.provider.sees = [app.ready()]
        await app.until_final(at_host)
        await app.until_final(behind)

        assert app.provider.submitted == [at_host, behind]
        assert (await app.job(waiting)).state is State.CANCELLED


# --- showing again


async def test_a_card_is_sent_again_by_the_running_bot(url: str, run: Run, tmp_path: Path) -> None:
    now = Today()
    async with rig(tmp_path, url=url, time=now) as app:
        job_id = await app.imagine(received_at=now())
        job = await app.job(job_id)
        await app.store.move(job, State.CANCELLED, now=now())
        await app.delivery.run_due()
        shown = len(app.messenger.shown)

        ended = await run("retry-delivery", job_id)

        assert (ended.code, ended.out) == (0, f"The card of job {job_id} will be sent again.\n")
        await app.delivery.reload()  # as the worker has it done when another process has written
        await app.delivery.run_due()
        assert len(app.messenger.shown) == shown + 1
        assert (await run("show", job_id, "--json")).document["reply"]["delivered"] is True


async def test_a_card_that_was_given_up_is_due_again(url: str, run: Run) -> None:
    async with opened(url) as store:
        await accept(store, a_job(FIRST))
        await store.acknowledge(FIRST, message_id=77, ephemeral=False, now=NOON)
        await store.postpone_delivery(FIRST, due_at=None)

        reply = (await run("retry-delivery", FIRST, "--json")).document["reply"]

        assert reply["delivered"] is False
        assert (reply["version_wanted"], reply["version_delivered"], reply["failed_attempts"]) == (2, 1, 0)
        assert list(await store.due_replies(before=time.time_ns() // 1_000_000 + 1)) == [FIRST]


async def _never_shown(store: Store, job: Job) -> None:
    """The message id of the card is unknown."""


async def _gone(store: Store, job: Job) -> None:
    await store.acknowledge(job.id, message_id=77, ephemeral=False, now=NOON)
    await store.mark_reply_gone(job.id)


async def _deleted(store: Store, job: Job) -> None:
    await store.acknowledge(job.id, message_id=77, ephemeral=False, now=NOON)
    ended = await store.job(job.id)
    assert ended is not None
    await walk(store, ended, [State.CANCELLED])
    await store.delete_pictures(ended, now=NOON)


async def _hidden_and_over(store: Store, job: Job) -> None:
    """Only a new message could show it, and a hidden job gets none."""
    drawn = await walk(store, job, [State.SUBMITTING, State.QUEUED, State.RUNNING])
    await store.acknowledge(job.id, message_id=77, ephemeral=False, now=NOON)
    assert await store.hide(job.id, now=NOON) is not None
    await walk(store, drawn, [State.FAILED])
    await store.drop_token(job.id, "token")
    await _forbid(store, "bot_can_edit")


async def _shut_out(store: Store, job: Job) -> None:
    await store.acknowledge(job.id, message_id=77, ephemeral=False, now=NOON)
    await store.drop_token(job.id, "token")
    await _forbid(store, "bot_can_edit", "bot_can_post")


async def _forbid(store: Store, *what: str) -> None:
    async def unit(tx: Tx) -> None:
        for each in what:
            await tx.run(f"UPDATE replies SET {each} = 0")  # noqa: S608 - a column's name

    await store.database.write(unit)


@pytest.mark.parametrize(
    ("fate", "why"),
    [(_never_shown, "has not confirmed"), (_gone, "was deleted"), (_deleted, "its member deleted it"),
     (_shut_out, "has expired"), (_hidden_and_over, "has expired")],
)  # fmt: skip
async def test_a_card_without_any_open_path_is_not_retried(
    url: str, run: Run, fate: Callable[[Store, Job], Awaitable[None]], why: str
) -> None:
    async with opened(url) as store:
        await fate(store, await accept(store, a_job(FIRST)))
        before = [tuple(each) for each in await rows(store, "SELECT wanted, due_at FROM replies")]

        assert why in (await run("retry-delivery", FIRST)).sentence(1)
        assert [tuple(each) for each in await rows(store, "SELECT wanted, due_at FROM replies")] == before
