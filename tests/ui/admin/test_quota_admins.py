"""`/quota`: permission, idempotence, completions, and requests to Discord."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.ui.interactions import timeouts
from tests.discord.schema import check_schema
from tests.discord.world import MANAGE_GUILD
from tests.store.ledger_model import rows
from tests.ui.admin.quotas import QUERY_TIMEOUT, admin, changes, offered, untouched
from tests.ui.stage import Stage, on_stage, text
from tests.ui.transport.test_sockets import connected

# --- permission and idempotence


@on_stage()
async def test_the_permission_is_checked_again_whatever_discord_shows(on: Stage) -> None:
    await on.client.sync(force=True)
    command = next(each for each in await on.client.tree.fetch_commands() if each.name == "quota")
    on.guild.set_command_permissions(command, {on.alice: True})
    given: dict[str, dict[str, Any]] = {
        "show": {}, "set": {"unit": "images", "amount": "5"}, "clear": {}, "grant": {"member": on.bob, "amount": "5"},
        "reset": {"member": on.bob}, "block": {"member": on.bob}, "unblock": {"member": on.bob},
    }  # fmt: skip

    for name, options in given.items():
        shown = await on.alice.slash(on.channel, f"quota {name}", **options)
        assert shown.ephemeral
        assert "Manage Server" in text(shown)

    assert await offered(on, on.alice, "set", "amount", unit="images") == {}
    assert await untouched(on)


@on_stage()
async def test_a_command_delivered_twice_changes_once(on: Stage) -> None:
    inner = on.client.responder.handle

    async def twice(interaction: Any, handler: Any, **late: str) -> None:
        await inner(interaction, handler, **late)
        await inner(interaction, handler, **late)

    on.client.responder.handle = twice  # type: ignore[method-assign]
    ada = admin(on)
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="5")
    await ada.slash(on.channel, "quota set", member=on.alice, unit="images", amount="5")
    await ada.slash(on.channel, "quota reset", member=on.alice)
    await ada.slash(on.channel, "quota block", member=on.alice)

    assert await changes(on) == ["grant", "set", "reset", "block"]
    assert len(await rows(on.rig.store, "SELECT * FROM grants")) == 1


@pytest.mark.parametrize(("verb", "said"), [("overview", "too busy"), ("set_rule", "check `/quota show`")])
async def test_a_hanging_database_is_answered_with_an_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, said: str
) -> None:
    async def hangs(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(timeouts, "QUERY_TIMEOUT", 0.05)
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, ada = guild.add_channel("pictures"), on.discord.add_member("ada", guild, permissions=MANAGE_GUILD)
        monkeypatch.setattr(on.rig.services.quotas, verb, hangs)
        asked = await ada.slash(channel, "quota set", unit="images", amount="5", member=ada)
        answer = await asked.acked(within=2.5)

        assert answer.ephemeral
        assert answer.message is not None
        assert said in answer.message.text


async def test_requests_to_discord_match_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, ada = guild.add_channel("pictures"), on.discord.add_member("ada", guild, permissions=MANAGE_GUILD)
        role = guild.add_role("Artists")
        bob = on.discord.add_member("bob", guild)
        weekly = {"unit": "images", "amount": "5", "per": "week"}
        for command, given in (
            ("set", {**weekly, "role": role}), ("grant", {"member": bob, "amount": "5"}), ("show", {}),
            ("block", {"channel": channel}), ("show", {"member": bob}), ("clear", {"role": role}),
        ):  # fmt: skip
            answer = await (await ada.slash(channel, f"quota {command}", **given)).acked(within=2.5)
            assert answer.ephemeral
        completed = await ada.complete(channel, "quota unblock", option="blocked", typed="pic")

        assert (await completed.acked(within=2.5)).choices == [
            {"name": "#pictures", "value": f"channel:{channel.id}"}
        ]  # fmt: skip
        (listed,) = [each for each in on.discord.commands[None] if each["name"] == "quota"]
        (units,) = [each["choices"] for each in listed["options"][1]["options"] if each["name"] == "unit"]
        assert units[0]["name_localizations"]["de"] == "Bilder"
        assert int(listed["default_member_permissions"]) == MANAGE_GUILD
        assert answer.message is not None
        pressed = await (await ada.click(answer.message, "q1:nowhere", force=True)).acked(within=2.5)
        assert pressed.ephemeral
        assert check_schema(on.discord.requests) == []
        assert on.discord.violations == []
        with pytest.raises(PermissionError):
            await bob.slash(channel, "quota show")
        refused = await (await bob.slash(channel, "quota show", force=True)).acked(within=2.5)
        assert refused.message is not None
        assert "Manage Server" in refused.message.text


@on_stage()
async def test_nobody_is_pinged(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="5", reason=f"<@{on.bob.id}> @everyone")

    sent = [each for each in on.env.http_requests if each.method == "POST" and "callback" in each.path]
    assert sent
    for each in sent:
        assert each.json["data"]["allowed_mentions"]["parse"] == []


# --- completion


@on_stage(limits=QUERY_TIMEOUT)
async def test_amounts_are_completed_with_the_current_limit(on: Stage) -> None:
    ada = admin(on)
    first = next(iter((await offered(on, ada, "set", "amount", unit="micro_usd", per="day", member=on.alice)).items()))
    await ada.slash(on.channel, "quota set", unit="images", amount="33", member=on.alice)
    choices = await offered(on, ada, "set", "amount", unit="images", member=on.alice)

    assert first == ("$1.00 (current)", "1.00")
    assert next(iter(choices.items())) == ("33 (current)", "33")
    assert choices["no limit"] == "none"
    typed = await offered(on, ada, "set", "amount", "7", unit="micro_usd", per="day", member=on.alice)
    assert next(iter(typed.items())) == ("$7.00", "7")
    assert await offered(on, ada, "set", "amount", "-1", unit="images") != {}


@on_stage()
async def test_expiries_are_completed(on: Stage) -> None:
    choices = await offered(on, admin(on), "grant", "expires", member=on.alice, amount="5")

    assert choices["7 days"] == "7d"
    assert choices["never"] == "never"
    assert any(each.startswith("end of the month (2") for each in choices)
