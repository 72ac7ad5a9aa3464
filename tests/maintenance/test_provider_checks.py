"""Models that providers remove and restore, providers that do not answer, and low balances."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import ModelGone, ProviderPaused, ProviderUnavailable, UserError
from bot.core.jobs import HOUR, MINUTE, Verb
from bot.core.request_draft import RequestDraft
from bot.core.server_settings import ServerSettings
from bot.maintenance.provider_checks import ProviderChecks
from bot.providers.base import ModelInfo
from tests.kit import FakeProvider, Rig, rig

PRO, TWO = "nano-banana-pro", "nano-banana-2"
PRO_IMAGINE, PRO_EDIT = "google/nano-banana/pro/text-to-image", "google/nano-banana/pro/edit"
DOLLAR = 1_000_000


async def no_probe() -> None:
    pass


def provider_checks(app: Rig, *, low: int | None = 5 * DOLLAR) -> ProviderChecks:
    return ProviderChecks(app.services, providers={app.provider.name: app.provider}, low=low, probe=no_probe)


def gone(*routes: str) -> dict[str, Exception]:
    return {each: ModelGone("404") for each in routes}


def notified(app: Rig) -> list[str]:
    return [key for key, _ in app.notifications]


def offered(app: Rig, verb: Verb = Verb.IMAGINE) -> list[str]:
    return list(app.services.offered.models_for(verb))


def every_route(app: Rig) -> list[str]:
    return list(app.services.catalog.routes_at(app.provider.name))


async def refusal(app: Rig, **asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        await app.imagine(**asked)
    return caught.value.key


# --- models


async def test_every_configured_route_is_looked_up_at_start_and_once_a_day(app: Rig) -> None:
    checks = provider_checks(app)
    await checks.run_once()
    assert sorted(app.provider.described) == every_route(app)

    app.time.now += 24 * HOUR - 1
    await checks.run_once()
    assert len(app.provider.described) == len(every_route(app))
    app.time.now += 1
    await checks.run_once()
    assert len(app.provider.described) == 2 * len(every_route(app))
    assert app.notifications == []


async def test_a_removed_model_is_not_offered_and_the_operator_is_notified_once(app: Rig) -> None:
    app.provider.absent = gone(PRO_IMAGINE)
    checks = provider_checks(app)
    await checks.run_once()
    app.time.go(24 * 3600)
    await checks.run_once()

    assert app.notifications == [
        ("operator.model_gone", {"provider": "RunComfy", "model": "Nano Banana Pro", "route": PRO_IMAGINE})
    ]
    assert (offered(app), offered(app, Verb.EDIT)) == ([TWO], [TWO, PRO])
    assert await refusal(app, model=PRO) == "option.no_host"
    assert (await app.job(await app.imagine())).request.model == TWO


async def test_the_next_model_replaces_a_removed_default(app: Rig) -> None:
    app.provider.absent = gone("google/nano-banana-2/text-to-image")
    await provider_checks(app).run_once()

    assert (await app.job(await app.imagine())).request.model == PRO


async def test_a_job_of_a_removed_model_keeps_its_model_name_and_request(app: Rig) -> None:
    job_id = await app.imagine(model=PRO)
    app.provider.absent = gone(PRO_IMAGINE)
    await provider_checks(app).run_once()

    assert (await app.services.jobs.card(job_id)).model == "Nano Banana Pro"
    assert app.services.drafts.repeat(await app.job(job_id)).model == PRO


async def test_a_model_that_is_back_is_offered_again_and_the_operator_is_notified_once(app: Rig) -> None:
    app.provider.absent = gone(PRO_IMAGINE)
    checks = provider_checks(app)
    await checks.run_once()
    app.provider.absent = {}
    for _ in range(2):
        app.time.go(24 * 3600)
        await checks.run_once()

    assert notified(app) == ["operator.model_gone", "operator.model_back"]
    assert offered(app) == [TWO, PRO]
    assert (await app.job(await app.imagine(model=PRO))).request.model == PRO


async def test_removed_models_are_known_after_a_restart_and_not_reported_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as before:
        before.provider.absent = gone(PRO_IMAGINE)
        await provider_checks(before).run_once()

    async with rig(tmp_path) as after:
        assert offered(after) == [TWO]
        after.provider.absent = gone(PRO_IMAGINE)
        await provider_checks(after).run_once()
        assert after.notifications == []


async def test_a_route_that_is_no_longer_configured_does_not_count_as_removed(tmp_path: Path) -> None:
    async with rig(tmp_path) as before:
        await before.services.availability.mark_route_gone("runcomfy", "of/yesterday")
        assert before.services.availability.gone == {("runcomfy", "of/yesterday")}

    async with rig(tmp_path) as after:
        assert after.services.availability.gone == frozenset()


@pytest.mark.parametrize("trouble", [ProviderUnavailable("down"), ProviderPaused("401", kind="credentials")])
async def test_an_unanswered_check_removes_no_model_and_is_repeated_later(app: Rig, trouble: Exception) -> None:
    app.provider.absent = dict.fromkeys(every_route(app), trouble)
    checks = provider_checks(app)
    for _ in range(30):
        await checks.run_once()
        app.time.go(20)
    assert len(app.provider.described) <= len(every_route(app)), "once in ten minutes is enough"
    assert (app.notifications, offered(app)) == ([], [TWO, PRO])

    app.provider.absent = gone(PRO_IMAGINE)
    await checks.run_once()
    assert notified(app) == ["operator.model_gone"]


async def test_an_unanswered_check_does_not_bring_a_removed_route_back(app: Rig) -> None:
    await app.services.availability.mark_route_gone("runcomfy", PRO_IMAGINE)
    app.provider.absent = dict.fromkeys(every_route(app), ProviderUnavailable("down"))
    await provider_checks(app).run_once()

    assert offered(app) == [TWO]


async def test_a_request_is_refused_when_no_model_is_offered(app: Rig) -> None:
    app.provider.absent = gone(*every_route(app))
    await provider_checks(app).run_once()

    assert len(app.notifications) == len(every_route(app))
    assert [await refusal(app), await refusal(app, model=TWO)] == ["option.no_host", "option.no_host"]


async def test_a_server_that_hides_all_remaining_models_gets_the_providers_refusal(app: Rig) -> None:
    app.provider.absent = gone(PRO_IMAGINE)
    await provider_checks(app).run_once()
    draft, place = RequestDraft(verb=Verb.IMAGINE, prompt="a boat"), app.context().place

    for hidden, key in (((TWO,), "option.no_host"), ((TWO, PRO), "house.model")):
        with pytest.raises(UserError) as caught:
            app.services.requests.request(draft, place, ServerSettings(models=hidden))
        assert caught.value.key == key


async def test_a_model_missed_by_worker_and_check_at_once_is_reported_once(app: Rig) -> None:
    await asyncio.gather(*(app.services.availability.mark_route_gone("runcomfy", PRO_IMAGINE) for _ in range(3)))

    assert notified(app) == ["operator.model_gone"]


async def test_a_database_error_leaves_a_model_to_the_next_check(
    app: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    app.provider.absent = gone(PRO_IMAGINE)
    checks = provider_checks(app)
    with monkeypatch.context() as patch:
        patch.setattr(app.notes, "change", full_disk)
        with pytest.raises(OSError, match="disk full"):
            await checks.run_once()
    assert (app.notifications, offered(app)) == ([], [TWO, PRO])

    app.time.now += 10 * MINUTE
    await checks.run_once()
    assert (notified(app), offered(app)) == (["operator.model_gone"], [TWO])


async def full_disk(key: str, value: object) -> None:
    raise OSError("disk full")


# --- balances


async def test_a_balance_is_read_every_15_minutes_and_valid_for_an_hour(app: Rig) -> None:
    app.provider.balances = [7 * DOLLAR, 6 * DOLLAR, ProviderUnavailable("down")]
    checks = provider_checks(app)
    assert checks.balances() == {}
    await checks.run_once()
    app.time.now += 15 * MINUTE - 1
    await checks.run_once()
    assert checks.balances() == {"runcomfy": 7 * DOLLAR}
    app.time.now += 1
    await checks.run_once()
    assert checks.balances() == {"runcomfy": 6 * DOLLAR}

    app.time.now += HOUR
    await checks.run_once()
    assert checks.balances() == {"runcomfy": 6 * DOLLAR}
    app.time.now += 1
    assert checks.balances() == {}


async def test_a_provider_without_a_balance_causes_no_notification(app: Rig) -> None:
    app.provider.balances = [6 * DOLLAR, None]
    checks = provider_checks(app)
    await checks.run_once()
    app.time.go(900)
    await checks.run_once()

    assert (checks.balances(), app.notifications) == ({}, [])


async def test_a_low_balance_is_reported_once_and_again_only_after_a_recovery(app: Rig) -> None:
    app.provider.balances = [5 * DOLLAR, 4 * DOLLAR, 3 * DOLLAR, 5 * DOLLAR, 2 * DOLLAR, 1 * DOLLAR]
    checks = provider_checks(app)
    for _ in range(6):
        await checks.run_once()
        app.time.go(900)

    assert [(key, values["provider"], values["left_micro_usd"]) for key, values in app.notifications] == [
        ("operator.low_balance", "RunComfy", 4 * DOLLAR),
        ("operator.low_balance", "RunComfy", 2 * DOLLAR),
    ]


async def test_a_low_balance_is_not_reported_again_after_a_restart(tmp_path: Path) -> None:
    for expected in (1, 0):
        async with rig(tmp_path) as app:
            app.provider.balances = [DOLLAR]
            await provider_checks(app).run_once()
            assert len(app.notifications) == expected


async def test_without_a_threshold_no_balance_is_reported(app: Rig) -> None:
    app.provider.balances = [0]
    checks = provider_checks(app, low=None)
    await checks.run_once()

    assert (checks.balances(), app.notifications) == ({"runcomfy": 0}, [])


# --- the loop


async def test_a_provider_that_hangs_does_not_delay_another(app: Rig) -> None:
    class Slow(FakeProvider):
        async def describe(self, route: str) -> ModelInfo:
            await checked.wait()
            raise ProviderUnavailable("read timeout")

    class Seen(FakeProvider):
        async def describe(self, route: str) -> ModelInfo:
            if route == every_route(app)[-1]:
                checked.set()
            return await super().describe(route)

    checked = asyncio.Event()
    checks = ProviderChecks(
        app.services, providers={"runflow": Slow("runflow"), "runcomfy": Seen()}, low=None, probe=no_probe
    )
    async with asyncio.timeout(5):
        await checks.run_once()
    assert checked.is_set()


async def test_an_unanswered_check_of_one_route_does_not_hide_that_another_is_removed(app: Rig) -> None:
    first, *_, last = every_route(app)
    app.provider.absent = {first: ProviderUnavailable("a bare 404"), last: ModelGone("404")}
    await provider_checks(app).run_once()
    assert app.services.availability.gone == {("runcomfy", last)}


async def test_the_loop_starts_at_once_survives_a_failed_run_and_stops_on_request(
    app: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()

    async def probe() -> None:
        begun.set()
        raise OSError("disk full")

    stop = asyncio.Event()
    checks = ProviderChecks(app.services, providers={"runcomfy": app.provider}, low=None, probe=probe)
    life = asyncio.create_task(checks.run(stop))
    async with asyncio.timeout(5):
        await begun.wait()
        stop.set()
        await life
    assert "The provider checks failed" in caplog.messages
