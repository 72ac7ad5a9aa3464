"""`/metrics` and readiness of the bot's web server, over real sockets."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.core.errors import NotSearchable, ProviderPaused, ProviderUnavailable
from bot.core.jobs import Observation, State
from bot.core.quota import Limits
from bot.observability.metrics import MEASURED, READ
from bot.providers.measured import Measured
from bot.web.health import Health, Pulse
from bot.web.metrics import CACHE_TIME, Page
from tests.kit import ALICE, GUILD, Rig, rig
from tests.store.ledger_model import execute
from tests.web.test_server import health, served, site

Sample = tuple[str, frozenset[tuple[str, str]]]


class Scrape:
    """One answer of `/metrics` by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = list(text_string_to_metric_families(text))
        self.samples: dict[Sample, float] = {
            (each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"darkroom_{name}", frozenset(labels.items())))


async def scrape(app: Rig, *, balances: Mapping[str, int] | None = None) -> Scrape:
    page = served(site(app, balances=balances))
    async with page as url, aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Scrape(await answer.text())


async def ready(app: Rig, well: Health) -> tuple[int, str]:
    page = served(site(app, well=well))
    async with page as url, aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
        return answer.status, await answer.text()


async def test_every_defined_metric_is_shown_with_its_type(app: Rig) -> None:
    app.metrics.callback("ok")
    app.metrics.request("runcomfy", "submit", "ok")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", (await scrape(app)).text, re.MULTILINE))

    assert {name: kind for name, kind in kinds.items() if not name.endswith("_created")} == {
        each.name: each.kind for each in (*MEASURED, *READ)
    }


async def test_a_job_changes_the_counters_from_its_reservation_to_its_charge(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url) as app:
        app.provider.sees = [Observation(State.QUEUED, position=1), app.ready(n=3)]
        job_id = await app.imagine(count=4)
        before = await scrape(app)
        await app.until_final(job_id)
        after = await scrape(app)

    assert (before("jobs", state="accepted"), before("reserved_jobs"), before("reserved_images")) == (1, 1, 4)
    assert (before("reserved_dollars"), before("settled_images")) == (0.32, 0)
    assert (after("jobs", state="accepted"), after("reserved_jobs"), after("reserved_dollars")) == (0, 0, 0)
    assert (after("jobs_ended_last_hour", state="succeeded"), after("jobs_ended_last_hour", state="failed")) == (1, 0)
    assert (after("settled_images"), after("settled_dollars")) == (3, 0.24)
    assert after("provider_requests_total", provider="runcomfy", call="submit", outcome="ok") == 1
    assert (after("provider_requests_total", provider="runcomfy", call="observe", outcome="ok") or 0) >= 2
    assert (after("poll_delay_seconds_count") or 0) >= 2


async def test_known_and_assumed_costs_of_a_provider_are_separate(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url, limits=Limits(host_month_micro_usd=7_000_000)) as app:
        app.provider.sees = [app.ready(cost=50_000)]
        await app.until_final(await app.imagine())
        app.provider.sees = [app.ready()]
        await app.until_final(await app.imagine(guild=GUILD + 1))
        found = await scrape(app)

        assert found("host_cost_dollars", basis="known") == 0.05
        assert found("host_cost_dollars", basis="assumed") == 0.08
        assert (found("settled_dollars"), found("host_cap_dollars")) == (0.16, 7)

        app.time.go(40 * 24 * 3600)
        later = await scrape(app)

    assert [later("host_cost_dollars", basis=each) for each in ("known", "assumed")] == [0, 0]
    assert (later("settled_dollars"), later("jobs_ended_last_hour", state="succeeded")) == (0, 0)


async def test_a_cap_that_is_not_set_is_not_shown(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=Limits(host_month_micro_usd=None)) as app:
        assert (await scrape(app))("host_cap_dollars") is None


async def test_errors_of_a_provider_are_counted_by_kind_and_its_outage_is_shown(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("busy"), ProviderPaused("no money", kind="balance")]
    await app.imagine()
    await app.turn()
    await app.turn(60)
    found = await scrape(app)

    assert found("provider_requests_total", provider="runcomfy", call="submit", outcome="unavailable") == 1
    assert found("provider_requests_total", provider="runcomfy", call="submit", outcome="paused") == 1
    assert found("provider_trouble", provider="runcomfy", kind="balance") == 1
    assert found("provider_trouble", provider="runcomfy", kind="down") == 0
    states = {
        each: found("provider_breaker", provider="runcomfy", state=each) for each in ("closed", "half_open", "open")
    }
    assert states == {"closed": 0, "half_open": 0, "open": 1}


async def test_a_known_balance_is_shown(app: Rig) -> None:
    assert "darkroom_provider_balance_dollars{" not in (await scrape(app)).text
    assert (await scrape(app, balances={"runcomfy": 4_200_000}))("provider_balance_dollars", provider="runcomfy") == 4.2


async def test_removed_routes_are_counted(app: Rig) -> None:
    assert (await scrape(app))("models_gone", provider="runcomfy") == 0
    await app.services.availability.mark_route_gone("runcomfy", "google/nano-banana/pro/edit")
    assert (await scrape(app))("models_gone", provider="runcomfy") == 1


async def test_a_search_that_a_provider_does_not_offer_is_not_counted(app: Rig) -> None:
    with pytest.raises(NotSearchable):
        await Measured(app.provider, app.metrics.request).find("a job")
    assert 'call="find"' not in (await scrape(app)).text


async def test_metrics_contain_no_member_and_no_prompt(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    text = (await scrape(app)).text

    for private in (str(ALICE), str(GUILD), job_id, "lighthouse", "files.runcomfy.net", "run-1"):
        assert private not in re.sub(r" [0-9.e+]+$", "", text, flags=re.MULTILINE)  # values may hold any digits


async def test_statistics_of_the_ledger_are_cached(app: Rig) -> None:
    page = Page(
        app.metrics, app.services, providers=["runcomfy"], audit=dict, balances=dict, mode=app.health.mode
    )  # fmt: skip
    first, *_ = await asyncio.gather(page.text(), page.text())
    await app.imagine()
    app.time.go(CACHE_TIME / 1000 - 1)
    soon = await page.text()
    app.time.go(1)
    later = await page.text()

    assert [Scrape(each.decode())("reserved_jobs") for each in (first, soon, later)] == [0, 0, 1]


async def test_other_metrics_are_shown_while_the_ledger_cannot_be_read(app: Rig) -> None:
    app.metrics.acknowledged(0.2)
    await execute(app.store, "ALTER TABLE host_cost RENAME TO elsewhere")
    found = await scrape(app)

    assert found("reserved_jobs") is None
    assert found("acknowledgement_seconds_count") == 1
    assert found("provider_trouble", provider="runcomfy", kind="down") == 0


async def test_the_event_loops_lag_is_measured_each_time(app: Rig) -> None:
    stop = asyncio.Event()
    heard: list[float] = []

    def hear(seconds: float) -> None:
        heard.append(seconds)
        app.metrics.loop_lag(seconds)
        stop.set()

    async with asyncio.timeout(5):
        await Pulse(hear).run(stop)

    assert (await scrape(app))("loop_lag_seconds_count") == len(heard) == 1


@pytest.mark.parametrize(
    ("well", "answer"),
    [
        (health(), (200, "ready\n")),
        (health(lag=3, overdue=900), (200, "ready\n")),
        (health(accepts_requests=False), (503, "the bot is shutting down and accepts no new jobs\n")),
        (health(age=None), (503, "not connected to Discord\n")),
        (health(age=120), (503, "not connected to Discord\n")),
        (health(writable=False), (503, "the database cannot be written\n")),
    ],
    ids=["well", "slow", "ending", "not connected", "silent", "full disk"],
)
async def test_the_bot_is_ready_while_a_request_would_be_accepted(
    app: Rig, well: Health, answer: tuple[int, str]
) -> None:
    assert await ready(app, well) == answer
