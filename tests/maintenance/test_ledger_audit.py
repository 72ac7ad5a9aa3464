"""Alerts about limits that are almost used up, and reports of an inconsistent ledger."""

from collections.abc import Sequence
from typing import Any

import pytest

from bot.core.jobs import HOUR
from bot.core.quota import Holder, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.maintenance.ledger_audit import LedgerAudit
from bot.store.alerts import PendingAlert
from bot.store.quotas import By
from tests.kit import GUILD, NOON, Rig
from tests.store.ledger_model import execute, faults, rows


class Board:
    """Channels that accept messages or refuse them."""

    def __init__(self) -> None:
        self.works = True
        self.posted: list[tuple[int | None, str, int]] = []

    async def post(self, channel: int | None, alert: PendingAlert) -> bool:
        if self.works:
            self.posted.append((channel, alert.body["scope"], alert.body["percent"]))
        return self.works


async def limit(app: Rig, holder: Holder, amount: int, *, subject: int = 0) -> None:
    rule = Rule(holder, subject, Unit.IMAGES, Window.MONTH, amount)
    await app.services.quotas.set_rule(By(f"{holder}", GUILD, 1, NOON), rule)


async def send_to(app: Rig, channel: int) -> None:
    def change(server_settings: ServerSettings) -> ServerSettings:
        return server_settings.model_copy(update={"alerts": channel})

    await app.services.quotas.change_server_settings(By("alerts", GUILD, 1, NOON), change, body={})


async def test_alerts_are_posted_once_at_eighty_and_at_a_hundred_percent_of_a_servers_limit(app: Rig) -> None:
    await limit(app, Holder.GUILD, 5)
    await send_to(app, 77)
    board = Board()
    audit = LedgerAudit(app.services, post=board.post)
    seen: list[Sequence[Any]] = []
    for _ in range(5):
        app.provider.sees = [app.ready()]
        job_id = await app.imagine()
        await audit.run_once()
        seen.append(list(board.posted))
        await app.until_final(job_id)
    assert seen[2] == []
    assert seen[3] == [(77, "guild", 80)]
    assert seen[4] == [(77, "guild", 80), (77, "guild", 100)]
    await audit.run_once()
    assert board.posted == seen[4]


async def test_an_alert_that_failed_is_posted_when_the_channel_is_reachable_again(app: Rig) -> None:
    await limit(app, Holder.GUILD, 1)
    await send_to(app, 77)
    board = Board()
    board.works = False
    audit = LedgerAudit(app.services, post=board.post)
    await app.imagine()
    await audit.run_once()
    board.works = True
    await LedgerAudit(app.services, post=board.post).run_once()  # after a restart, too
    assert board.posted == [(77, "guild", 100)]


async def test_an_alert_that_could_not_be_posted_for_a_day_is_dropped(app: Rig) -> None:
    await limit(app, Holder.GUILD, 1)
    await send_to(app, 77)
    board = Board()
    await app.imagine()
    app.time.now += 25 * HOUR
    await LedgerAudit(app.services, post=board.post).run_once()
    assert board.posted == []


@pytest.mark.parametrize(("holder", "channel"), [(Holder.CAP, None), (Holder.CHANNEL, 77)])
async def test_alerts_of_the_cap_go_to_the_operator_and_of_a_channel_to_the_server(
    app: Rig, holder: Holder, channel: int | None
) -> None:
    await limit(app, holder, 1, subject=app.context().place.channel_id if holder is Holder.CHANNEL else 0)
    await send_to(app, 77)
    board = Board()
    await app.imagine()
    await LedgerAudit(app.services, post=board.post).run_once()
    assert board.posted == [(channel, str(holder), 100)]


async def test_a_server_without_an_alert_channel_gets_no_alerts(app: Rig) -> None:
    await limit(app, Holder.GUILD, 1)
    board = Board()
    await app.imagine()
    await LedgerAudit(app.services, post=board.post).run_once()
    assert board.posted == []
    assert (await rows(app.store, "SELECT told_at FROM alerts"))[0]["told_at"] is not None


# --- the audit


async def test_a_total_that_differs_from_its_rows_is_reported_to_the_operator(app: Rig) -> None:
    await app.imagine()
    await LedgerAudit(app.services, post=Board().post).run_once()
    assert app.notifications == []
    await execute(app.store, "UPDATE totals SET spent_micro_usd = 5 WHERE scope = 'guild' AND bucket = 'total'")
    await LedgerAudit(app.services, post=Board().post).run_once()
    assert [(key, values["count"]) for key, values in app.notifications] == [("operator.totals_differ", 1)]


async def test_the_audit_runs_at_start_and_every_hour(app: Rig) -> None:
    audit = LedgerAudit(app.services, post=Board().post)
    await audit.run_once()
    await execute(app.store, "INSERT INTO totals VALUES ('guild', 9, 'total', 0, 1, 0, 0, 0, 0, 0, 0)")
    app.time.now += HOUR - 1
    await audit.run_once()
    assert app.notifications == []
    app.time.now += 1
    await audit.run_once()
    assert [key for key, _ in app.notifications] == ["operator.totals_differ"]


async def test_a_failed_audit_is_repeated_in_the_next_run_and_reported_once(
    app: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = LedgerAudit(app.services, post=Board().post)
    await app.imagine()
    app.time.now += 24 * HOUR + 1
    with monkeypatch.context() as patch:
        patch.setattr(audit._audit, "mismatches", _away)
        with pytest.raises(OSError, match="away"):
            await audit.run_once()
    await audit.run_once()
    await audit.run_once()
    assert [key for key, _ in app.notifications] == ["operator.old_reservations"]


async def _away() -> None:
    raise OSError("the database is away")


async def test_a_reservation_open_for_a_day_is_reported_to_the_operator(app: Rig) -> None:
    await app.imagine()
    app.time.now += 24 * HOUR + 1
    await LedgerAudit(app.services, post=Board().post).run_once()
    assert [(key, values["count"]) for key, values in app.notifications] == [("operator.old_reservations", 1)]


async def test_a_reservation_that_outlived_its_job_is_ended(app: Rig) -> None:
    job_id = await app.imagine()
    await execute(app.store, f"UPDATE jobs SET state = 'failed', ended_at = 1 WHERE id = '{job_id}'")  # noqa: S608
    await LedgerAudit(app.services, post=Board().post).run_once()
    assert await faults(app.store) == []


async def test_findings_of_an_audit_are_available_until_the_next(app: Rig) -> None:
    job_id = await app.imagine()
    audit = LedgerAudit(app.services, post=Board().post)
    await audit.audit()
    assert set(audit.found.values()) == {0}

    await execute(app.store, f"UPDATE jobs SET state = 'failed', ended_at = 1 WHERE id = '{job_id}'")  # noqa: S608
    await execute(app.store, "UPDATE totals SET spent_micro_usd = 5 WHERE scope = 'guild' AND bucket = 'total'")
    await audit.audit()
    assert audit.found == {"outlived": 1, "old": 0, "totals": 1}

    await execute(app.store, "UPDATE totals SET spent_micro_usd = 0 WHERE scope = 'guild' AND bucket = 'total'")
    await audit.audit()
    assert set(audit.found.values()) == {0}
