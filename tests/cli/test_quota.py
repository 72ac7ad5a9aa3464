"""`darkroom quota`: limits, bonuses, resets and blocks by the operator, with a running bot."""

from pathlib import Path
from typing import Any

import pytest

from bot.cli.output import wall_clock
from bot.core.errors import UserError
from bot.core.quota import NO_SERVER, Holder, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.quotas import Quotas
from tests.cli.quotas import MEMBER, SERVER, lite_url, paid, settle_house
from tests.cli.shell import Run, shell
from tests.kit import ALICE, BOB, CHANNEL, GUILD, Rig, Time, rig
from tests.store.ledger_model import a_job, accept, faults, opened


class Today(Time):
    """The clock of the bot, close to the command line's."""

    def __call__(self) -> int:
        return wall_clock()


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return shell("quota", url, monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same on SQLite only, for tests that do not depend on the engine."""
    return shell("quota", lite_url(tmp_path), monkeypatch=monkeypatch, capsys=capsys)


async def refusal(app: Rig, user: int = ALICE, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        await app.imagine(user, **changes)
    return caught.value.key


# --- limits


async def test_a_limit_applies_to_a_running_bot_from_the_next_job(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:
        await app.imagine()

        result = await run("set", *MEMBER, "--pictures", "1")
        assert (result.code, result.out) == (0, f"Set for member {ALICE} in server {GUILD}: 1 picture per day.\n")
        assert await refusal(app) == "quota.user_day_images"
        await app.imagine(BOB)

        assert (await run("clear", *MEMBER)).code == 0
        await app.imagine()
        assert await faults(app.store) == []


async def test_no_admin_can_raise_the_operators_cap(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:
        await run("set", *SERVER, "--jobs", "none")
        await run("set", *SERVER, "--cap", "--jobs", "1")
        await app.imagine()

        assert await refusal(app, BOB) == "quota.cap_in_flight"
        await app.imagine(BOB, guild=GUILD + 1)


async def test_a_global_limit_applies_everywhere(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:
        await run("set", "--host", "--jobs", "0")

        assert await refusal(app) == await refusal(app, guild=None) == "quota.host_in_flight"


HOURLY = Rule(Holder.HOST, 0, Unit.IMAGES, Window.HOUR, 9)


@pytest.mark.parametrize(
    ("whose", "limit", "server", "rule"),
    [
        (MEMBER, ["--pictures", "3"], GUILD, Rule(Holder.USER, ALICE, Unit.IMAGES, Window.DAY, 3)),
        ((*SERVER, "--role", "9"), ["--jobs", "2"], GUILD, Rule(Holder.ROLE, 9, Unit.JOBS, None, 2)),
        (
            (*SERVER, "--channel", "8"),
            ["--dollars", "2,5", "--per", "week"],
            GUILD,
            Rule(Holder.CHANNEL, 8, Unit.MICRO_USD, Window.WEEK, 2_500_000),
        ),
        (
            (*SERVER, "--cap"),
            ["--dollars", "$4", "--per", "month"],
            GUILD,
            Rule(Holder.CAP, 0, Unit.MICRO_USD, Window.MONTH, 4_000_000),
        ),
        (SERVER, ["--dollars", "none"], GUILD, Rule(Holder.GUILD, 0, Unit.MICRO_USD, Window.DAY, None)),
        (
            ["--direct"],
            ["--pictures", "0", "--per", "total"],
            NO_SERVER,
            Rule(Holder.DIRECT, 0, Unit.IMAGES, Window.TOTAL, 0),
        ),
        (["--direct", "--member", "7"], ["--jobs", "1"], NO_SERVER, Rule(Holder.USER, 7, Unit.JOBS, None, 1)),
        (
            ["--host"],
            ["--pictures", "9", "--per", "hour"],
            NO_SERVER,
            HOURLY,
        ),
    ],
)
async def test_a_limit_is_set_for_its_subject_only_and_removed_again(
    lite: Run, tmp_path: Path, *, whose: list[str], limit: list[str], server: int, rule: Rule
) -> None:
    async with opened(lite_url(tmp_path)) as store:
        quotas = Quotas(store.database)
        result = await lite("set", *whose, *limit, "--json")

        assert (await quotas.overview(server)).rules == [rule]
        unit_name = {"images": "pictures"}.get(rule.unit, str(rule.unit))
        assert result.document == {
            "server_id": str(server) if server else None,
            "holder": rule.holder,
            "subject_id": str(rule.subject) if rule.subject else None,
            "unit": unit_name,
            "window": rule.window,
            "limit": rule.amount,
        }
        cleared = await lite("clear", *whose, "--json")
        assert cleared.document["cleared"] == [{"unit": unit_name, "window": rule.window, "limit": rule.amount}]
        assert (await quotas.overview(server)).rules == []


async def test_only_the_named_limits_are_removed(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        for each in ("day", "week"):
            await lite("set", *MEMBER, "--pictures", "3", "--per", each)
            await lite("set", *MEMBER, "--dollars", "3", "--per", each)
        await lite("set", *SERVER, "--pictures", "3")

        result = await lite("clear", *MEMBER, "--pictures", "--per", "week")
        assert result.out == f"Removed for member {ALICE} in server {GUILD}: the limit on pictures per week.\n"
        await lite("clear", *MEMBER, "--dollars")

        left = (await Quotas(store.database).overview(GUILD)).rules
        assert [(each.holder, each.unit, each.window) for each in left] == [
            (Holder.GUILD, Unit.IMAGES, Window.DAY),
            (Holder.USER, Unit.IMAGES, Window.DAY),
        ]


# --- bonuses, resets, blocks


async def test_a_bonus_covers_requests_beyond_the_members_limit_until_it_is_revoked(
    url: str, run: Run, tmp_path: Path
) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:
        await run("set", *MEMBER, "--pictures", "0")
        granted = await run("grant", *MEMBER, "--pictures", "2", "--expires", "7d", "--reason", "kind", "--json")
        await app.imagine()

        number = str(granted.document["bonus_id"])
        assert (granted.document["unit"], granted.document["amount"]) == ("pictures", 2)
        elsewhere = await run("revoke", "--server", str(GUILD + 1), number)
        assert f"no bonus {number}" in elsewhere.sentence(1)
        taken = (await run("revoke", *SERVER, number, "--json")).document
        assert (taken["user_id"], taken["taken"]) == (str(ALICE), 1)
        assert await refusal(app) == "quota.user_day_images"
        assert (await run("revoke", *SERVER, number)).code == 1
        assert await faults(app.store) == []


async def test_the_last_day_of_a_bonus_is_in_the_servers_calendar(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        await settle_house(store, ServerSettings(timezone="Asia/Tokyo"))

        result = await lite("grant", *MEMBER, "--dollars", "1", "--expires", "2031-12-31", "--json")
        assert result.document["expires_at"] == "2031-12-31T15:00:00.000Z"
        assert "until 2032-01-01 00:00:00 (Asia/Tokyo)" in (
            await lite("grant", *MEMBER, "--dollars", "1", "--expires", "2031-12-31")
        ).out  # fmt: skip


@pytest.mark.parametrize(
    ("whose", "guild"),
    [(MEMBER, GUILD), (SERVER, GUILD), ((*SERVER, "--channel", "6"), GUILD), (("--direct",), None)],
)
async def test_after_a_reset_only_unfinished_jobs_count(
    url: str, run: Run, whose: tuple[str, ...], guild: int | None
) -> None:
    async with opened(url) as store:
        await paid(store, "01A", now=wall_clock(), guild=guild)
        await accept(store, a_job("01B", user=ALICE, guild=guild, now=wall_clock()))

        result = await run("reset", *whose, "--reason", "a fresh start", "--json")

        assert result.document["taken"] == {"pictures": 1, "micro_usd": 80_000}
        assert (await run("reset", *whose, "--json")).document["taken"] == {"pictures": 0, "micro_usd": 0}
        assert await faults(store) == []


async def test_a_blocked_member_makes_no_pictures_until_unblocked(url: str, run: Run, tmp_path: Path) -> None:
    async with rig(tmp_path, url=url, time=Today()) as app:
        assert (await run("block", *MEMBER, "--reason", "spam", "--json")).document["blocked"] is True
        assert await refusal(app) == "blocked.user"
        assert (await run("unblock", *MEMBER)).out == f"Unblocked: member {ALICE} in server {GUILD}.\n"
        await app.imagine()
        assert "is not blocked" in (await run("unblock", *MEMBER)).sentence(1)

        await run("block", *SERVER, "--channel", str(CHANNEL))
        assert await refusal(app) == "blocked.channel"
