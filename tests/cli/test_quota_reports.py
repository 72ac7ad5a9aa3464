"""`darkroom quota show`, `history`, `top`, `settings` and `export`: content, scope and calendar."""

import csv
import io
from pathlib import Path

import pytest

from bot.cli.export import PAGE_SIZE
from bot.cli.output import wall_clock
from bot.core.quota import Block, Holder
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.store.quotas import By, Quotas
from tests.cli.quotas import MEMBER, SERVER, lite_url, paid, settle_house
from tests.cli.shell import Run, shell
from tests.kit import ALICE, BOB, GUILD
from tests.store.ledger_model import NOON, a_job, accept, execute, opened


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return shell("quota", url, monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same on SQLite only, for tests that do not depend on the engine."""
    return shell("quota", lite_url(tmp_path), monkeypatch=monkeypatch, capsys=capsys)


# --- what holds


async def test_show_prints_used_and_remaining_quota_by_the_servers_calendar(url: str, run: Run) -> None:
    async with opened(url) as store:
        await settle_house(store, ServerSettings(timezone="Asia/Kolkata"))
        await paid(store, "01A", now=wall_clock())
        await run("set", *MEMBER, "--pictures", "5", "--per", "total")
        await run("grant", *MEMBER, "--pictures", "2")

        document = (await run("show", *MEMBER, "--json")).document
        table = (await run("show", *MEMBER)).out

    named = {each["name"]: each for each in document["limits"]}
    assert document["timezone"] == "Asia/Kolkata"
    assert (named["user_total_images"]["used"], named["user_total_images"]["left"]) == (1, 4)
    assert named["user_total_images"]["resets_at"] is None
    assert named["user_day_images"]["resets_at"].endswith("T18:30:00.000Z")
    assert document["set"] == [
        {"holder": "user", "subject_id": str(ALICE), "unit": "pictures", "window": "total", "limit": 5}
    ]
    assert [(each["user_id"], each["left"]) for each in document["bonuses"]] == [(str(ALICE), 2)]
    assert "resets at (Asia/Kolkata)" in table
    assert ["pictures", "in", "total", "5", "pictures", "1", "picture", "4", "pictures", "-"] in [
        line.split() for line in table.splitlines()
    ]


async def test_a_cap_is_shown_by_utc_whatever_the_servers_calendar(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        await settle_house(store, ServerSettings(timezone="Asia/Kolkata"))
        await lite("set", *SERVER, "--cap", "--dollars", "4")

        document = (await lite("show", *SERVER, "--cap", "--json")).document
        table = (await lite("show", *SERVER, "--cap")).out

    assert document["timezone"] == "UTC"
    assert document["limits"][0]["resets_at"].endswith("T00:00:00.000Z")
    assert "resets at (UTC)" in table


async def test_show_of_a_server_prints_all_its_rules_and_none_of_another(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)):
        await lite("set", *MEMBER, "--pictures", "3")
        await lite("set", *SERVER, "--role", "9", "--jobs", "none")
        await lite("set", *SERVER, "--cap", "--dollars", "4", "--per", "month")
        await lite("block", *SERVER, "--channel", "8")
        await lite("set", "--host", "--jobs", "7")

        here = (await lite("show", *SERVER, "--json")).document
        there = (await lite("show", "--server", "77", "--json")).document
        direct = (await lite("show", "--direct", "--json")).document
        host = (await lite("show", "--host", "--json")).document
        table = (await lite("show", *SERVER)).out

    assert [each["holder"] for each in here["set"]] == ["cap", "role", "user"]
    assert here["blocked"] == [{"holder": "channel", "subject_id": "8"}]
    assert {each["scope"] for each in here["limits"]} == {"guild", "cap"}
    assert (there["set"], there["blocked"], there["bonuses"]) == ([], [], [])
    assert (direct["set"], [each["name"] for each in direct["limits"]]) == ([], ["direct_month_usd"])
    assert {each["name"]: each["limit"] for each in host["limits"]} == {
        "host_in_flight": 7,
        "host_month_usd": 50_000_000,
    }
    assert "dollars per month (your cap)  $4.00" in table


async def test_show_of_a_member_prints_the_limits_that_apply(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)):
        before = (await lite("show", *MEMBER)).out
        await lite("set", *SERVER, "--role", "9", "--jobs", "none")

        assert "A role of this member may allow more" not in before
        assert "A role of this member may allow more" in (await lite("show", *MEMBER)).out
        assert "no limit" in (await lite("show", *SERVER, "--role", "9")).out


async def test_the_history_lists_changes_with_their_actors_newest_first(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        await Quotas(store.database).block(By("1", GUILD, 42, NOON), Block(Holder.USER, BOB), reason="\x1b[2Jspam")
        await lite("set", *MEMBER, "--dollars", "none")
        await lite("clear", *MEMBER)
        await lite("grant", *MEMBER, "--pictures", "2", "--expires", "2031-12-31", "--reason", "a\nprize")
        await lite("reset", *SERVER)

        document = (await lite("history", *SERVER, "--json")).document
        lines = (await lite("history", *SERVER)).out.splitlines()
        mine = (await lite("history", *MEMBER, "--json", "--limit", "2")).document

    assert [each["action"] for each in document] == ["reset", "grant", "clear", "set", "block"]
    assert [each["actor_id"] for each in document] == [None, None, None, None, "42"]
    assert document[1]["body"] == {
        "unit": "pictures",
        "amount": 2,
        "expires_at": "2032-01-01T00:00:00.000Z",
        "reason": "a\nprize",
    }
    assert document[4]["at"] == "2026-11-20T12:00:00.000Z"
    assert [each["action"] for each in mine] == ["grant", "clear"]
    assert lines[0].split() == ["at", "(UTC)", "by", "action", "for", "what", "reason"]
    assert "no limit on dollars per day" in lines[4]
    assert lines[5].split()[2:] == ["admin", "42", "block", "member", str(BOB), "-", "\\x1b[2Jspam"]


async def test_the_history_shows_spending_of_a_server_a_member_or_a_channel(url: str, run: Run) -> None:
    async with opened(url) as store:
        await paid(store, "01A", now=NOON)
        await paid(store, "01B", now=NOON + 1000, user=BOB)
        await paid(store, "01C", now=NOON + 2000, guild=GUILD + 1)

    async def jobs(*whose: str) -> list[str]:
        return [each["job_id"] for each in (await run("history", *whose, "--spending", "--json")).document]

    assert await jobs(*SERVER) == ["01B", "01A"]
    assert await jobs(*MEMBER) == ["01A"]
    assert await jobs(*SERVER, "--channel", "6") == ["01B", "01A"]
    assert await jobs(*SERVER, "--channel", "7") == []
    assert f"{ALICE}    6        01A  1         $0.08" in (await run("history", *SERVER, "--spending")).out


async def test_top_lists_the_members_who_spent_most_in_a_window(url: str, run: Run) -> None:
    async with opened(url) as store:
        for n in range(3):
            await paid(store, f"01A{n}", now=wall_clock(), user=BOB if n else ALICE)
        await accept(store, a_job("01B", user=ALICE, guild=GUILD, now=wall_clock()))

    document = (await run("top", *SERVER, "--json", "--per", "total")).document
    assert (document["window"], document["bucket"]) == ("total", "total")
    assert [(each["user_id"], each["micro_usd"], each["held_pictures"]) for each in document["members"]] == [
        (str(BOB), 160_000, 0),
        (str(ALICE), 80_000, 1),
    ]
    assert (await run("top", *SERVER, "--per", "total", "--limit", "1")).out.splitlines()[2].split()[:2] == [
        str(BOB), "$0.16"
    ]  # fmt: skip
    assert (await run("top", "--direct")).out.startswith("No spending in month:")


async def test_a_servers_settings_are_shown(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        server_settings = ServerSettings(
            timezone="Europe/Berlin",
            alerts=4,
            allowed=(8, 9),
            caps={8: ChannelCeiling(resolution="1K", count=2)},
            models=("m",),
        )
        await settle_house(store, server_settings)

        document = (await lite("settings", "show", *SERVER, "--json")).document
        facts = (await lite("settings", "show", *SERVER)).out

    assert document == {
        "server_id": str(GUILD),
        "timezone": "Europe/Berlin",
        "alerts_channel_id": "4",
        "allowed_channel_ids": ["8", "9"],
        "denied_channel_ids": [],
        "caps": [{"channel_id": "8", "resolution": "1K", "pictures": 2}],
        "models_left_out": ["m"],
    }
    assert "channel 8: 1K and 2 pictures" in facts


# --- export


async def test_an_export_has_the_rows_of_one_server_in_its_timezone(url: str, run: Run, tmp_path: Path) -> None:
    async with opened(url) as store:
        await settle_house(store, ServerSettings(timezone="Asia/Tokyo"))
        await paid(store, "01A", now=NOON)
        await paid(store, "01B", now=NOON + 4 * 3_600_000)  # the 21st in Tokyo
        await paid(store, "01C", now=NOON, guild=None)

    text = (await run("export", *SERVER, "--since", "2026-11-21", "--until", "2026-11-21")).out
    exported = list(csv.DictReader(io.StringIO(text)))
    assert [(each["job"], each["kind"]) for each in exported] == [("01B", "reserve"), ("01B", "settle")]
    assert (exported[1]["time"], exported[1]["dollars"]) == ("2026-11-21T01:00:00+09:00", "0.080000")

    async def jobs(*whose: str) -> list[str]:
        rows = (await run("export", *whose, "--since", "2026-11-20", "--until", "2026-11-21", "--json")).document
        return sorted({each["job_id"] for each in rows})

    assert await jobs(*SERVER) == ["01A", "01B"]
    assert await jobs("--direct") == ["01C"]
    assert await jobs("--all-servers") == ["01A", "01B", "01C"]

    file = tmp_path / "rows.csv"
    written = await run("export", *SERVER, "--since", "2026-11-21", "--until", "2026-11-21", "--output", str(file))
    assert (written.code, written.out, written.err) == (0, "", f"2 rows in {file}\n")
    assert file.read_bytes().decode() == text


async def test_a_long_export_is_complete(lite: Run, tmp_path: Path) -> None:
    many = 2 * PAGE_SIZE + 500
    async with opened(lite_url(tmp_path)) as store:
        sql = f"""
            INSERT INTO ledger (at, kind, actor, guild, "user", images, micro_usd)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
            SELECT {NOON} + i / 3, 'adjust', 0, {GUILD}, {ALICE}, i, 0 FROM n
            """  # noqa: S608 - our own numbers
        await execute(store, sql)

    rows = (await lite("export", *SERVER, "--until", "2027-01-01", "--json")).document
    assert [each["pictures"] for each in rows] == list(range(1, many + 1))
    assert (await lite("export", "--server", "77", "--json")).document == []


async def test_an_export_that_cannot_be_written_is_reported(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)):
        file = tmp_path / "nowhere" / "rows.csv"
        assert f"{file} cannot be written" in (await lite("export", *SERVER, "--output", str(file))).sentence(2)


async def test_text_in_the_history_neither_controls_the_terminal_nor_imitates_output(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        await lite("set", *MEMBER, "--pictures", "1")
        await execute(store, """UPDATE changes SET body = '{"unit":"images","window":"day","amount":1,
            "reason":"x\\u001b[2J\\nreset  guild"}'""")  # fmt: skip

        out = (await lite("history", *SERVER)).out
        assert len(out.splitlines()) == 2
        assert out.replace("\n", "").isprintable()
