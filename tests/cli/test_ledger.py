"""`darkroom ledger`: what it reports about a consistent and an inconsistent ledger, and what it repairs."""

from pathlib import Path

import pytest

from bot.cli.output import wall_clock
from bot.core.jobs import HOUR, State
from bot.store.store import Store
from tests.cli.shell import FIRST, SECOND, THIRD, Run, shell, three
from tests.kit import rig
from tests.store.ledger_model import NOON, a_job, accept, execute, faults, opened, rows, walk, way_to

BALANCED = "The ledger balances: every total is the sum of its rows, and no reservation is left of an ended job."


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return shell("ledger", url, monkeypatch=monkeypatch, capsys=capsys)


async def finished(store: Store, job_id: str, *, now: int = NOON, cost: int | None = None) -> None:
    job = a_job(job_id, now=now)
    *way, last = way_to(State.SUCCEEDED)
    job = await walk(store, await accept(store, job), way, now=now)
    await store.move(job, last, now=now, images=1, cost_micro_usd=cost)


async def test_the_ledger_of_a_running_bot_is_consistent(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url) as app:
        job_id = await app.imagine()
        app.provider.sees = [app.ready(cost=67_000)]
        await app.until_final(job_id)
        app.time.now = wall_clock()
        await app.imagine()

        result, document = await run("check"), (await run("check", "--json")).document

    assert result.code == 0
    assert result.out.splitlines()[0] == document["summary"] == BALANCED
    assert document["balances"] is True
    assert (document["differences"], document["forgotten_job_ids"], document["old_job_ids"]) == ([], [], [])
    assert document["repaired"] is None


async def test_a_wrong_total_is_found_and_repaired(url: str, run: Run) -> None:
    async with opened(url) as store:
        await finished(store, FIRST)
        await execute(store, "UPDATE totals SET spent_micro_usd = spent_micro_usd + 7 WHERE scope = 'guild'",
                      "DELETE FROM totals WHERE scope = 'user' AND bucket = 'total'")  # fmt: skip

        check = await run("check", "--json")
        table = await run("check")
        again = await run("check")
        repaired = await run("check", "--repair", "--json")
        after = await run("check", "--repair")

        assert (check.code, table.code, again.code, repaired.code, after.code) == (1, 1, 1, 0, 0)
        assert await faults(store) == []

    wrong = {(each["scope"], each["bucket"]): each for each in check.document["differences"]}
    assert len(wrong) == 6
    assert wrong["guild", "total"] == {
        "scope": "guild",
        "server_id": "5",
        "subject_id": None,
        "bucket": "total",
        "off": {"spent_micro_usd": 7},
    }
    assert wrong["user", "total"]["off"] == {"spent_images": -1, "spent_micro_usd": -80_000}
    assert table.out.splitlines()[0] == "The ledger does not balance: 6 totals are not the sum of their rows."
    assert "member 1, server 5  total" in table.out
    assert len(repaired.document["repaired"]["differences"]) == 6
    assert repaired.document["summary"] == f"Repaired: 6 totals were recalculated. {BALANCED}"
    assert after.out.splitlines()[0] == BALANCED


async def test_a_reservation_that_outlived_its_job_is_found_and_ended(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)
        await execute(store, "UPDATE jobs SET state = 'failed', ended_at = changed_at")  # past every verb of the store

        check, text = await run("check", "--json"), await run("check")
        repaired = await run("check", "--repair")

        assert (check.code, repaired.code) == (1, 0)
        assert await faults(store) == []

    assert set(check.document["forgotten_job_ids"]) == {SECOND, THIRD}
    assert "2 reservations are left of ended jobs." in text.out
    assert SECOND in text.out
    assert repaired.out.startswith(f"Repaired: 2 forgotten reservations were ended. {BALANCED}")


async def test_a_reservation_open_for_a_day_is_reported_and_unchanged(url: str, run: Run) -> None:
    async with opened(url) as store:
        await accept(store, a_job(FIRST, now=wall_clock() - 25 * HOUR))
        await accept(store, a_job(SECOND, now=wall_clock() - 23 * HOUR))

        checked = await run("check", "--repair", "--json")

        assert checked.code == 1
        assert checked.document["old_job_ids"] == [FIRST]
        assert checked.document["summary"] == "The ledger does not balance: 1 job has been open for more than a day."
        assert [row["kind"] for row in await rows(store, "SELECT kind FROM ledger")] == ["reserve", "reserve"]


async def test_members_spending_is_compared_with_providers_costs(url: str, run: Run) -> None:
    async with opened(url) as store:
        await finished(store, FIRST, cost=67_000)
        await finished(store, SECOND)
        lost = await accept(store, a_job(THIRD))
        await store.move(lost, State.FAILED, now=NOON, may_be_billed=True)
        await finished(store, "01KAF2222222222222222222DD", now=NOON + 20 * 24 * HOUR, cost=1_000_000)

        result, document = await run("check"), (await run("check", "--json")).document

    assert result.code == 0
    assert [each["month"] for each in document["books"]] == ["2026-12", "2026-11"]
    assert document["books"][1] == {
        "month": "2026-11",
        "jobs": 3,
        "pictures": 2,
        "settled_micro_usd": 160_000,
        "held_micro_usd": 0,
        "host_known_micro_usd": 67_000,
        "host_assumed_micro_usd": 80_000,
        "unreported_jobs": 1,
    }
    assert result.out.splitlines()[-1].split() == ["2026-11", "3", "2", "$0.16", "$0.00", "$0.067", "$0.08", "1"]


async def test_a_ledger_export_equals_a_quota_export_of_all_servers(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(url) as store:
        await three(store)
    quota = shell("quota", url, monkeypatch=monkeypatch, capsys=capsys)

    whole = await run("export", "--until", "2027-01-01")

    assert (whole.code, len(whole.out.splitlines())) == (0, 5)
    assert whole.out == (await quota("export", "--all-servers", "--until", "2027-01-01")).out
