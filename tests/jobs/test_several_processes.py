"""Several processes on one database: each job has one worker, and what one knows the others know."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.core.errors import ProviderPaused, ProviderUnavailable
from bot.core.jobs import SECOND, Observation, State
from bot.core.processes import Role
from bot.core.quota import Limits
from bot.maintenance.provider_checks import ProviderChecks
from bot.store.processes import LEASE, PAID_REQUEST, Processes
from tests.kit import ALICE, BOB, Rig, Time, rig

RUNNING = Observation(State.RUNNING)
NO_LIMITS = Limits(user_day_images=None, user_day_micro_usd=None, user_in_flight=None, guild_in_flight=None)
GATEWAY, WORKER = (Role.GATEWAY,), (Role.WORKER,)


@pytest.fixture
async def first(tmp_path: Path, postgres_url: str) -> AsyncIterator[Rig]:
    async with rig(tmp_path, url=postgres_url, limits=NO_LIMITS, slots=2) as built:
        yield built


@asynccontextmanager
async def beside(
    first: Rig, url: str, *, roles: tuple[Role, ...] = WORKER, slots: int = 2, time: Time | None = None
) -> AsyncIterator[Rig]:
    clock = time or first.time
    async with rig(
        first.folder, url=url, time=clock, limits=NO_LIMITS, slots=slots, roles=roles, alone=False, sharing=first
    ) as built:
        built.first_number(90_000)
        await exchange(first, built)
        yield built


async def exchange(*processes: Rig) -> None:
    """Let every process see who is alive, and receive what the others have sent."""
    everyone = {each.services.leases.process for each in processes}
    missing = [everyone - {each.services.leases.process} for each in processes]
    for each, unheard in zip(processes, missing, strict=True):
        each.services.changes.on("marker", unheard.discard)
    async with asyncio.timeout(5):
        for each in processes:
            await each.exchange()
            each.services.changes.send("marker", each.services.leases.process)
            await each.services.changes.flush()
        for each, unheard in zip(processes, missing, strict=True):
            while unheard:
                await each.store.database.external_changes()
                each.services.changes.take_over()


async def turn(*processes: Rig, seconds: float = 0, times: int = 1) -> None:
    """Let *seconds* pass once, then let every process do what is due."""
    for _ in range(times):
        for time in {id(each.time): each.time for each in processes}.values():
            time.go(seconds)
        for each in processes:
            await exchange(*processes)
            while await each.worker.run_due():
                pass
            await each.delivery.run_due()


async def test_new_jobs_are_spread_over_the_workers_and_each_is_submitted_once(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url, roles=GATEWAY) as gateway, beside(first, postgres_url) as second:
        await exchange(first, gateway, second)
        jobs = [await gateway.imagine(user) for user in (ALICE, BOB, ALICE, BOB)]
        first.provider.sees = [first.ready()]
        await turn(first, second, gateway, seconds=5, times=20)
        workers = [(await gateway.job(each)).lease.worker for each in jobs]
        assert set(workers) == {first.services.leases.process, second.services.leases.process}
        assert sorted(first.provider.submitted) == sorted(jobs)
        assert [(await gateway.job(each)).state for each in jobs] == [State.SUCCEEDED] * 4
        assert first.messenger.states().count(State.SUCCEEDED) == 4


async def test_slots_are_taken_by_all_processes_together(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        jobs = [await process.imagine(user) for user in (ALICE, BOB, 3, 4) for process in (first, second)]
        await turn(first, second, seconds=3, times=6)
        states = [(await first.job(each)).state for each in jobs]
        assert states.count(State.RUNNING) == 2
        assert states.count(State.ACCEPTED) == 6
        assert first.services.queues.of("runcomfy").waiting == second.services.queues.of("runcomfy").waiting


async def test_a_slot_that_another_process_took_unnoticed_is_not_taken_again(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url, slots=2) as second:
        for process in (first, second):
            await process.imagine(ALICE)
            await process.imagine(BOB)
        await first.services.changes.flush()  # what was sent is not received
        for _ in range(3):
            first.time.go(1)
            await asyncio.gather(first.worker.run_due(), second.worker.run_due())
        assert len(first.provider.submitted) == 2


async def test_a_job_of_a_dead_worker_goes_on_at_another_one_after_its_lease(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        await turn(first, second, seconds=3)
        (held,) = [each for each in jobs if (await first.job(each)).lease.worker == first.services.leases.process]
        first.provider.sees = [first.ready()]
        for _ in range(3):  # the first one does nothing any more
            first.time.go(LEASE / SECOND / 3 - 1.1)
            await second.turn()
        assert (await second.job(held)).lease.worker == first.services.leases.process
        first.time.go(1)
        await second.turn(1, times=2)
        assert (await second.job(held)).state is State.SUCCEEDED
        assert sorted(first.provider.submitted) == sorted(jobs)


async def test_a_worker_that_slept_through_its_lease_writes_nothing_and_shows_nothing_old(
    first: Rig, postgres_url: str
) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        await turn(first, second, seconds=3)
        (held,) = [each for each in jobs if (await first.job(each)).lease.worker == first.services.leases.process]
        asleep = await first.job(held)
        first.provider.sees = [first.ready()]
        for _ in range(12):
            first.time.go(LEASE / SECOND / 10)
            await second.turn()
        assert (await second.job(held)).state is State.SUCCEEDED
        shown, books = len(first.messenger.shown), await second.store.job_record(held)

        await first.worker.run_due()  # it wakes up, and does what it believes to be due
        await first.delivery.run_due()
        assert await first.store.move(asleep, State.FAILED, now=first.time.now) is None
        await turn(first, second, seconds=1, times=3)

        assert len(first.messenger.shown) == shown
        assert await second.store.job_record(held) == books
        assert first.provider.submitted.count(held) == 1


async def test_a_paid_request_in_progress_is_nobody_else_s_and_unknown_afterwards(
    first: Rig, postgres_url: str
) -> None:
    async with beside(first, postgres_url) as second:
        never = asyncio.Event()

        async def hang(_: str) -> None:
            await never.wait()

        first.provider.while_submitting = hang
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        (held,) = [each for each in jobs if (await first.job(each)).lease.worker == first.services.leases.process]
        await exchange(first, second)
        submitting = asyncio.create_task(first.worker.run_due())
        async with asyncio.timeout(5):
            while (await first.job(held)).state is not State.SUBMITTING:
                pass
        first.provider.while_submitting = None
        for _ in range(int(PAID_REQUEST / LEASE * 2)):
            first.time.go(LEASE / SECOND / 2)
            assert (await second.job(held)).state is State.SUBMITTING
            await second.turn()
        await second.turn(2, times=3)
        job = await second.job(held)
        assert (job.state, job.reason) == (State.FAILED, "unknown")
        assert first.provider.submitted.count(held) == 1
        never.set()
        await submitting
        assert (await second.job(held)) == job


async def test_a_clock_that_jumps_in_one_worker_makes_it_take_nothing_from_the_living(
    first: Rig, postgres_url: str
) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url, time=Time()) as second:
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        await turn(first, second, seconds=3)
        before = {each: (await first.job(each)).lease for each in jobs}
        for jump in (3_600, -7_200):
            second.time.go(jump)
            await turn(first, second, seconds=1, times=12)
            assert {each: (await first.job(each)).lease for each in jobs} == before
        assert sorted(first.provider.submitted) == sorted(jobs)


async def test_a_worker_that_was_forgotten_enters_anew(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [first.ready()]
    async with beside(first, postgres_url) as second:
        lost = await second.imagine(BOB)
        before = second.services.leases.process
        for _ in range(4):  # the second one is away
            first.time.go(LEASE / SECOND / 3)
            await first.turn()
        await Processes(first.store.database).forget(before=first.time.now - LEASE // 3)
        await second.services.leases.run_once()
        assert second.services.leases.process != before
        await turn(first, second, seconds=8, times=3)
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        await turn(first, second, seconds=5, times=8)
        workers = {(await first.job(each)).lease.worker for each in jobs}
        assert workers == {first.services.leases.process, second.services.leases.process}
        assert (await first.job(lost)).state is State.SUCCEEDED
        assert first.provider.submitted.count(lost) == 1


async def test_a_worker_that_is_told_to_stop_hands_over_at_once(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        jobs = [await first.imagine(user) for user in (ALICE, BOB)]
        await turn(first, second, seconds=3)
        await first.services.leases.leave()
        await turn(second, first, seconds=1)
        assert {(await second.job(each)).lease.worker for each in jobs} == {second.services.leases.process}
        first.provider.sees = [first.ready()]
        await second.turn(5, times=10)
        assert {(await second.job(each)).state for each in jobs} == {State.SUCCEEDED}


async def test_a_click_on_an_old_card_of_a_dead_process_is_answered(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [first.ready()]
    job_id = await first.imagine()
    await first.turn(5, times=4)
    async with beside(first, postgres_url) as second, beside(first, postgres_url, roles=GATEWAY) as gateway:
        for _ in range(4):
            first.time.go(LEASE / SECOND / 3)
            await exchange(second, gateway)
        shown = len(first.messenger.shown)
        await gateway.store.request_redraw([job_id], now=first.time.now)
        for _ in range(2):
            await exchange(gateway, second)
            await second.delivery.run_due()
        assert len(first.messenger.shown) == shown + 1


async def test_an_outage_is_known_to_all_and_the_operator_is_notified_once(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        first.provider.submits = [ProviderPaused("empty", kind="balance")] * 9
        for process in (first, second):
            await process.imagine(ALICE)
        await turn(first, second, seconds=3, times=3)
        assert first.services.availability.outages == second.services.availability.outages == {"runcomfy": "balance"}
        assert [key for key, _ in [*first.notifications, *second.notifications]] == ["operator.balance"]
        assert len(first.provider.submitted) <= 2

        first.provider.submits, first.provider.balances = [], [5_000_000]
        for _ in range(12):
            await first.health.probe()
            await turn(first, second, seconds=10)
        assert first.services.availability.outages == second.services.availability.outages == {}
        keys = [key for key, _ in [*first.notifications, *second.notifications]]
        assert keys == ["operator.balance", "operator.recovered"]


async def test_a_retry_after_holds_for_all_processes(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url) as second:
        await first.health.on_failed("runcomfy", "submit", ProviderUnavailable("slow down", retry_after=60), job_id="a")
        assert not first.health.accepts("runcomfy")
        await exchange(first, second)
        assert not second.health.accepts("runcomfy")
        assert second.health.retry_after_until("runcomfy", "submit") == first.time.now + 60 * SECOND


async def test_a_model_that_is_gone_is_gone_for_all_and_reported_once(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url) as second:
        route = next(iter(first.services.catalog.routes_at("runcomfy")))
        for process in (first, second):
            await process.services.availability.mark_route_gone("runcomfy", route)
        await exchange(first, second)
        await exchange(first, second)
        assert ("runcomfy", route) in second.services.availability.gone & first.services.availability.gone
        assert [key for key, _ in [*first.notifications, *second.notifications]] == ["operator.model_gone"]


async def test_what_is_learnt_about_durations_is_known_to_all(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url, roles=GATEWAY) as gateway, beside(first, postgres_url) as second:
        first.provider.sees = [first.ready()]
        for _ in range(12):
            job_id = await gateway.imagine()
            await turn(first, second, gateway, seconds=20, times=2)
        job = await gateway.job(job_id)
        assert job.state is State.SUCCEEDED
        usual = [each.services.poll_timing.usual(job) for each in (first, second, gateway)]
        assert usual[0] is not None
        assert all(each == pytest.approx(usual[0], abs=2) for each in usual)


async def test_a_chosen_language_is_known_to_all(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url) as second:
        preferences = await first.services.preferences.get(ALICE)
        await first.services.preferences.put(ALICE, preferences.model_copy(update={"language": "de"}))
        await exchange(first, second)
        assert second.services.preferences.language_of(ALICE) == "de"


async def test_a_callback_received_by_another_process_reaches_the_job_s_worker(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url, roles=(Role.WEB,)) as web:
        job_id = await first.imagine()
        await turn(first, web, seconds=3)
        asked = first.provider.asked
        web.services.changes.called_back(await web.job(job_id))
        await web.services.jobs.poll_now(job_id)
        await turn(first, web, seconds=0.01)
        assert job_id in first.services.wakeups.called_back
        assert first.provider.asked == asked + 1


async def test_a_poll_without_news_asks_the_database_nothing(first: Rig, postgres_url: str) -> None:
    first.provider.sees = [RUNNING]
    async with beside(first, postgres_url) as second:
        for process in (first, second):
            await process.imagine(ALICE)
        await turn(first, second, seconds=3, times=3)
        asked = first.provider.asked

        async def fail(*_: object, **__: object) -> None:
            raise AssertionError("the database was asked")

        with pytest.MonkeyPatch.context() as patch:
            for process in (first, second):
                patch.setattr(process.store.database, "read", fail)
                patch.setattr(process.store.database, "write", fail)
                patch.setattr(process.store.database, "publish", fail)
            for _ in range(5):
                first.time.go(0.5)
                await asyncio.gather(first.worker.run_due(), second.worker.run_due())
        assert first.provider.asked > asked


async def test_the_polls_of_all_workers_share_a_budget(first: Rig, postgres_url: str) -> None:
    assert first.services.poll_timing.budget("runcomfy") == 1_000
    async with beside(first, postgres_url), beside(first, postgres_url, roles=GATEWAY):
        await exchange(first)
        assert first.services.poll_timing.budget("runcomfy") == 500


async def test_balances_that_one_process_reads_are_known_to_all(first: Rig, postgres_url: str) -> None:
    async with beside(first, postgres_url, roles=GATEWAY) as gateway:
        checks = [
            ProviderChecks(each.services, providers={"runcomfy": first.provider}, low=None, probe=each.health.probe)
            for each in (first, gateway)
        ]
        first.provider.balances = [7_000_000]
        await checks[0].run_once()
        await exchange(first, gateway)
        assert checks[1].balances() == {"runcomfy": 7_000_000}
        async with beside(first, postgres_url, roles=GATEWAY) as newcomer:
            late = ProviderChecks(newcomer.services, providers={}, low=None, probe=newcomer.health.probe)
            await late.load()
            assert late.balances() == {"runcomfy": 7_000_000}
