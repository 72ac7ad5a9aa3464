"""Jobs that wait during outages of providers: a working provider gets them soon, and no job is left in the queue."""

import random
from collections import Counter
from pathlib import Path

import pytest

from bot.core.catalog import Catalog
from bot.core.circuit_breaker import Mode
from bot.core.errors import ModelGone, ProviderPaused, ProviderUnavailable, SubmitUnknown
from bot.core.jobs import Job, Observation, State
from bot.core.quota import Limits
from bot.store.ledger_audit import Audit
from tests.jobs.test_routing import dearer_at_runflow
from tests.kit import ALICE, BOB, FakeProvider, Rig, Time, rig

RUNNING = Observation(State.RUNNING)
DOWN = ProviderUnavailable("no connection")
EMPTY = ProviderPaused("402", kind="balance")
TIMEOUT = ProviderUnavailable("429", retry_after=900)
DOLLARS = 5_000_000


async def seconds(app: Rig, *ids: str, within: float = 1200, step: float = 5) -> float:
    """Seconds until these jobs have ended."""
    before = app.time.now
    while app.time.now - before < within * 1000 and not all([(await app.job(each)).state.is_final for each in ids]):
        await app.turn(step)
    return (app.time.now - before) / 1000


async def ends(app: Rig, job_id: str) -> tuple[State, str]:
    job: Job = await app.job(job_id)
    return job.state, job.provider


# --- one provider


async def test_after_a_pause_the_waiting_jobs_are_tried(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees, app.provider.submits = [app.ready()], [SubmitUnknown("502")] * 3
        for _ in range(3):
            await app.imagine()
            await app.turn(2)
        assert app.health.mode("runcomfy") is Mode.OPEN
        waiting = [await app.imagine(), await app.imagine(BOB)]
        await app.turn()

        assert await seconds(app, *waiting) < 120
        assert [await ends(app, each) for each in waiting] == [(State.SUCCEEDED, "runcomfy")] * 2


@pytest.mark.parametrize("wallet", [DOWN, ProviderPaused("403", kind="credentials")], ids=str)
async def test_an_unavailable_balance_api_does_not_block_a_provider(tmp_path: Path, wallet: Exception) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees, app.provider.submits = [app.ready()], [DOWN] * 3
        app.provider.balances = [wallet]
        job_id = await app.imagine()

        assert await seconds(app, job_id) < 120
        assert await ends(app, job_id) == (State.SUCCEEDED, "runcomfy")


async def test_a_trial_cancelled_before_its_start_lets_the_next_one_start(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees, app.provider.submits, app.provider.balances = [app.ready()], [EMPTY], [DOLLARS]
        first = await app.imagine()
        await app.turn()
        await app.turn(30)
        second = await app.imagine(BOB)
        await app.turn()
        await app.services.jobs.cancel(first, user_id=ALICE)

        assert await seconds(app, second) < 120


async def test_one_run_that_cannot_be_polled_is_no_failure_of_its_provider(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees = [ProviderUnavailable("500, for this run")]
        await seconds(app, await app.imagine(), within=1900)

        assert [key for key, _ in app.notifications] == ["operator.down", "operator.recovered"]


async def test_the_head_of_the_queue_waits_no_longer_than_necessary(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees, app.provider.submits = [app.ready()], [DOWN] * 12
        jobs = [await app.imagine(), await app.imagine(BOB)]
        while app.provider.submits:
            await app.turn(5)

        assert await seconds(app, *jobs) < 90


# --- two providers


async def test_retry_after_of_one_provider_does_not_apply_to_the_other(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow") as app:
        app.provider.sees = app.beside.sees = [app.ready()]
        app.provider.submits, app.beside.submits = [DOWN], [TIMEOUT]
        job_id = await app.imagine()

        assert await seconds(app, job_id) < 60
        assert await ends(app, job_id) == (State.SUCCEEDED, "runcomfy")


async def test_a_job_whose_provider_sent_retry_after_moves_to_the_one_that_is_back(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow") as app:
        app.provider.sees = app.beside.sees = [app.ready()]
        app.provider.submits, app.beside.away = [TIMEOUT], DOWN
        for n in range(3):
            await app.health.on_failed("runflow", "submit", DOWN, job_id=f"another {n}")
            app.time.go(1)
        job_id = await app.imagine()
        await app.turn(2)
        assert await ends(app, job_id) == (State.ACCEPTED, "runcomfy")
        app.beside.away = None

        assert await seconds(app, job_id) < 60
        assert await ends(app, job_id) == (State.SUCCEEDED, "runflow")


async def test_a_job_waiting_for_a_provider_that_goes_down_may_return_to_the_first(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", slots=1) as app:
        app.provider.sees, app.beside.sees = [app.ready()], [RUNNING]
        for member in (ALICE, BOB):
            app.provider.submits = [DOWN]
            waiting = await app.imagine(member)
            await app.turn(1)
        app.beside.away, app.beside.sees = DOWN, [DOWN]

        await seconds(app, waiting)

        assert await ends(app, waiting) == (State.SUCCEEDED, "runcomfy")


async def test_a_job_waiting_during_an_outage_moves_when_the_others_retry_after_has_passed(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", slots=1) as app:
        app.provider.sees, app.beside.sees = [RUNNING], [app.ready()]
        await app.imagine()
        waiting = await app.imagine(BOB)
        await app.turn(2)
        rate_limited = ProviderUnavailable("429", retry_after=60)
        await app.health.on_failed("runflow", "submit", rate_limited, job_id="another")
        app.provider.away, app.provider.sees = DOWN, [DOWN]

        assert await seconds(app, waiting) < 200
        assert await ends(app, waiting) == (State.SUCCEEDED, "runflow")


async def test_a_job_whose_model_is_removed_waits_for_the_other_providers_retry_after(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow") as app:
        app.provider.sees = app.beside.sees = [app.ready()]
        rate_limited = ProviderUnavailable("429", retry_after=10)
        await app.health.on_failed("runflow", "submit", rate_limited, job_id="another")
        app.provider.submits = [ModelGone("404")]
        app.provider.absent = {"google/nano-banana-2/text-to-image": ModelGone("404")}
        job_id = await app.imagine()

        assert await seconds(app, job_id) < 60
        assert await ends(app, job_id) == (State.SUCCEEDED, "runflow")


async def test_the_only_remaining_route_is_not_used_above_the_reserved_price(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", models=dearer_at_runflow()) as app:
        app.provider.submits = [ModelGone("404")]
        app.provider.absent = {"google/nano-banana-2/text-to-image": ModelGone("404")}
        job_id = await app.imagine()

        await seconds(app, job_id)

        assert ((await app.job(job_id)).reason, app.beside.submitted) == ("model_gone", [])


async def test_a_trial_does_not_delay_jobs_that_can_use_another_provider(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", slots=1) as app:
        app.beside.sees, app.provider.away, app.provider.submits = [RUNNING], DOWN, [DOWN] * 3
        jobs = []
        for member in range(6):
            jobs.append(await app.imagine(2000 + member))
            await app.turn(2)
        app.provider.away = None
        elsewhere: list[State] = []

        async def slow(job_id: str) -> None:
            app.beside.sees = [app.ready()]
            for _ in range(30):
                app.time.go(5)
                await app.worker.run_due()
            elsewhere.extend([(await app.job(each)).state for each in jobs if each != job_id])

        app.provider.while_submitting = slow
        await app.turn(21)

        assert elsewhere == [State.SUCCEEDED] * 5


async def test_cancelling_the_head_of_the_queue_wakes_the_next_job(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees, app.provider.submits = [app.ready()], [EMPTY]
        first = await app.imagine()
        await app.turn()
        second = await app.imagine(BOB)
        await app.turn()
        app.provider.balances = [DOLLARS]
        await app.turn(21)
        await app.services.jobs.cancel(first, user_id=ALICE)

        assert await seconds(app, second) < 120
        assert await ends(app, second) == (State.SUCCEEDED, "runcomfy")


def dearer_first() -> Catalog:
    return dearer_at_runflow().for_providers(["runflow", "runcomfy"])


async def test_a_preferred_provider_with_a_higher_price_gets_jobs_again_when_it_recovers(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow", beside="runcomfy", models=dearer_first()) as app:
        app.provider.sees = app.beside.sees = [app.ready()]
        app.provider.submits, app.provider.balances = [EMPTY], [DOLLARS]
        for _ in range(3):
            await seconds(app, await app.imagine(), within=300)
            await app.turn(60)

        assert len(app.provider.submitted) > 1
        assert [key for key, _ in app.notifications] == ["operator.balance", "operator.recovered"]


async def test_a_price_is_that_of_the_provider_that_would_be_used_now(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", models=dearer_at_runflow()) as app:
        app.beside.sees = [app.ready()]
        await app.health.on_failed("runcomfy", "submit", TIMEOUT, job_id="another")
        job_id = await app.imagine()

        assert (await app.services.jobs.card(job_id)).charge.reserved.micro_usd == 100_000
        assert await seconds(app, job_id) < 60


# --- random outages


class FlakyProviders:
    """Two providers that fail at times, one of which may lose a request; records what they accepted."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.conditions = {"runcomfy": "well", "runflow": "well"}
        self.taken: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    def change(self) -> None:
        conditions = ("well", "well", "down", "rate limit", "balance", "unknown")
        self.conditions[self.dice.choice(sorted(self.conditions))] = self.dice.choice(conditions)

    def rule(self, app: Rig, provider: FakeProvider) -> None:
        async def answer(job_id: str) -> None:
            job = await app.job(job_id)
            assert (job.state, job.provider) == (State.SUBMITTING, provider.name)
            queued = (await app.store.queued_jobs()).values()
            running = sum(each.has_slot and each.provider == provider.name for each in queued)
            self.peak[provider.name] = max(self.peak[provider.name], running)
            provider.submits = [self._says(job_id, provider.name)]

        provider.while_submitting = answer

    def _says(self, job_id: str, name: str) -> object:
        condition = self.conditions[name]
        if condition == "well" or (condition == "unknown" and self.dice.random() < 0.5):
            self.taken[job_id] += 1
        return {
            "well": f"{name}-{job_id}",
            "down": DOWN,
            "rate limit": ProviderUnavailable("429", retry_after=self.dice.choice([1, 10, 60])),
            "balance": EMPTY,
            "unknown": SubmitUnknown("502"),
        }[condition]


@pytest.mark.parametrize("seed", [4, pytest.param(17, marks=pytest.mark.prove)])
async def test_whatever_providers_do_a_job_is_accepted_at_most_once_and_all_jobs_end(tmp_path: Path, seed: int) -> None:
    """Four starts on one folder, each with another order of preference; then both providers work."""
    dice, clock, jobs = random.Random(seed), Time(), list[str]()
    conditions = FlakyProviders(dice)
    limits = Limits(user_day_images=None, guild_month_micro_usd=None, host_month_micro_usd=None)
    for life in range(4):
        host, beside = ("runcomfy", "runflow") if life % 2 else ("runflow", "runcomfy")
        async with rig(tmp_path, host=host, beside=beside, slots=2, time=clock, limits=limits) as app:
            app.first_number(70_000 + 1000 * life)
            app.provider.sees = app.beside.sees = [app.ready()]
            conditions.rule(app, app.provider)
            conditions.rule(app, app.beside)
            for _ in range(25):
                if dice.random() < 0.6:
                    jobs.append(await app.imagine(10_000 + len(jobs)))
                if dice.random() < 0.2:
                    conditions.change()
                await app.turn(dice.choice([1, 5, 13]))
    async with rig(tmp_path, beside="runflow", slots=2, time=clock, limits=limits) as app:
        app.provider.sees = app.beside.sees = [app.ready()]
        await seconds(app, *jobs)

        assert all([(await app.job(each)).state.is_final for each in jobs])
        assert await Audit(app.store.database).mismatches() == []
    assert max(conditions.taken.values()) == 1
    assert max(conditions.peak.values()) <= 2
