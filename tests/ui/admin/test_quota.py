"""Commands of `/quota`: what they write and reply, and refusals that write nothing."""

from types import SimpleNamespace
from typing import Any

import pytest
from discord import ChannelType

from bot.core.quota import Holder, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By
from bot.ui.admin.quota_targets import target_of
from tests.store.ledger_model import rows
from tests.ui.admin.quotas import DAY, QUERY_TIMEOUT, admin, changes, limits, offered, raw, untouched
from tests.ui.stage import Stage, on_stage, text

# --- set


@on_stage(limits=QUERY_TIMEOUT)
async def test_setting_a_members_limit_shows_all_limits_that_apply(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "quota set", unit="images", amount="25", member=on.alice)

    assert shown.ephemeral
    assert await limits(on) == [(on.guild.id, "user", on.alice.id, "images", "day", 25)]
    assert await changes(on) == ["set"]
    told = text(shown)
    assert f"<@{on.alice.id}>" in told
    assert "pictures per day: 10 (default) → **25**" in told
    assert "✏️ **pictures per day** · set for this member" in told
    assert "0 of 25 · 25 left" in told
    assert "**spending per day** · bot default" in told  # the limit that still applies
    assert "$0.00 of $1.00" in told


@on_stage(limits=QUERY_TIMEOUT)
async def test_changing_a_limit_shows_the_old_and_the_new_value(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota set", unit="micro_usd", amount="$2.50", per="week", channel=on.channel)

    shown = await ada.slash(on.channel, "quota set", unit="micro_usd", amount="none", per="week", channel=on.channel)

    assert await limits(on) == [(on.guild.id, "channel", on.channel.id, "micro_usd", "week", None)]
    assert "spending per week: $2.50 → **no limit**" in text(shown)
    assert f"<#{on.channel.id}>" in text(shown)


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_limit_above_others_says_that_it_has_no_effect_and_which_one_is_reached_first(on: Stage) -> None:
    cap = Rule(Holder.CAP, 0, Unit.MICRO_USD, Window.MONTH, 5_000_000)
    await on.rig.services.quotas.set_rule(By("cli-1", on.guild.id, 0, on.rig.time.now), cap)

    shown = await admin(on).slash(on.channel, "quota set", unit="micro_usd", amount="100", per="month")

    assert (on.guild.id, "guild", 0, "micro_usd", "month", 100_000_000) in await limits(on)
    assert "has no effect" in text(shown)
    assert "reached first: **$5.00 per month** (set by the operator for this server)." in text(shown)
    assert "At about $0.08 per picture (Nano Banana 2), $5.00 per month is enough for 62 pictures." in text(shown)
    assert "whole bot" not in text(shown)  # $50.00 a month is reached later


@on_stage(limits=QUERY_TIMEOUT)
async def test_the_roles_of_a_member_decide_which_limit_is_reached_first(on: Stage) -> None:
    ada, patrons = admin(on), on.guild.create_role("Patrons")
    carol = on.guild.add_member(on.env.create_user("carol"), roles=[patrons])
    await ada.slash(on.channel, "quota set", unit="micro_usd", amount="2", role=patrons)

    of_alice = await ada.slash(on.channel, "quota set", unit="images", amount="24", member=on.alice)
    of_carol = await ada.slash(on.channel, "quota set", unit="images", amount="25", member=carol)
    higher = await ada.slash(on.channel, "quota set", unit="images", amount="26", member=carol)

    assert "**$1.00 per day** (bot default)" in text(of_alice)
    assert "⚠️" not in text(of_carol)
    assert f"**$2.00 per day** (from <@&{patrons.id}>)" in text(higher)


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_limit_says_which_older_ones_it_deprives_of_effect(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota set", unit="micro_usd", amount="3", per="week", member=on.alice)

    shown = await ada.slash(on.channel, "quota set", unit="images", amount="5", member=on.alice)
    await ada.slash(on.channel, "settings models deny", model="nano-banana-2")
    dearer = await ada.slash(on.channel, "quota set", unit="images", amount="5", member=on.alice)

    assert "so another one no longer has any effect: **$3.00 per week** (set for this member)." in text(shown)
    assert "$3.00 per week is enough for 37 pictures." in text(shown)
    assert "has any effect: **$1.00 per day** (bot default)." in text(dearer)  # 6 pictures, and 20 for $3.00
    assert "At about $0.15 per picture (Nano Banana Pro), $1.00 per day is enough for 6 pictures." in text(dearer)


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_role_with_its_rules_is_explained(on: Stage) -> None:
    role = on.guild.create_role("Artists")

    shown = await admin(on).slash(on.channel, "quota set", unit="jobs", amount="3", role=role)

    assert await limits(on) == [(on.guild.id, "role", role.id, "jobs", "now", 3)]
    assert f"<@&{role.id}>" in text(shown)
    assert "active jobs: 5 (default) → **3**" in text(shown)
    assert "With several roles, the highest limit applies" in text(shown)


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_new_limit_applies_at_once(on: Stage) -> None:
    await admin(on).slash(on.channel, "quota set", unit="images", amount="2", member=on.alice)

    refused = await on.alice.slash(on.channel, "imagine", prompt="x", count=3)

    assert refused.ephemeral
    assert await on.jobs() == 0


@pytest.mark.parametrize("amount", ["-1", "-0.5", "2.5", "9999999", "lots", "NaN", "", "1e30"])
@on_stage()
async def test_an_invalid_amount_writes_nothing(on: Stage, amount: str) -> None:
    shown = await admin(on).slash(on.channel, "quota set", unit="images", amount=amount or " ", member=on.alice)

    assert shown.ephemeral
    assert "reference" not in text(shown)
    assert await untouched(on)


@on_stage()
async def test_two_targets_at_once_are_refused(on: Stage) -> None:
    for command, given in (("set", {"unit": "images", "amount": "5"}), ("show", {}), ("clear", {}), ("block", {})):
        shown = await admin(on).slash(
            on.channel, f"quota {command}", member=on.alice, channel=on.channel, **given
        )  # fmt: skip
        assert "Choose only one of" in text(shown)

    assert await untouched(on)


@on_stage()
async def test_a_member_who_left_gets_no_bonus(on: Stage) -> None:
    carol = on.env.create_user("carol")
    ada = admin(on)
    for command, given in (
        ("set", {"unit": "images", "amount": "5"}), ("grant", {"amount": "5"}), ("reset", {}), ("block", {})
    ):  # fmt: skip
        shown = await ada.slash(on.channel, f"quota {command}", member=carol, **given)
        assert "has left the server" in text(shown)

    assert await untouched(on)


@on_stage()
async def test_a_deleted_role_or_channel_gets_a_clear_sentence_and_nothing_is_written(on: Stage) -> None:
    ada = admin(on)
    number = ("unit", 3, "images"), ("amount", 3, "5")
    for option, kind in (("role", 8), ("channel", 7), ("member", 6)):
        for name, given in (("set", number), ("block", ())):
            shown = await raw(on, ada, name, *given, (option, kind, "123456789012345678"))
            assert shown.ephemeral
            assert "so nothing was changed" in text(shown)

    assert await untouched(on)


@on_stage()
async def test_a_category_is_refused_as_a_channel(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "quota block", channel=on.guild.create_category("all"))

    assert "Categories" in text(shown)
    assert await untouched(on)


def test_a_thread_counts_as_its_channel() -> None:
    given = {
        "member": None,
        "role": None,
        "channel": SimpleNamespace(id=5, parent_id=4, type=ChannelType.public_thread),
    }
    act: Any = SimpleNamespace(given=given, server=1)

    assert (target_of(act).holder, target_of(act).subject) == (Holder.CHANNEL, 4)


# --- show


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_member_is_shown_with_usage_and_the_source_of_each_limit(on: Stage) -> None:
    ada, artists = admin(on), on.guild.create_role("Artists")
    carol = on.guild.add_member(on.env.create_user("carol"), roles=[artists])
    await ada.slash(on.channel, "quota set", unit="images", amount="30", role=artists)
    await ada.slash(on.channel, "quota set", unit="micro_usd", amount="5", member=carol)
    await ada.slash(on.channel, "quota grant", member=carol, amount="7", expires="2d", reason="contest")
    await ada.slash(on.channel, "quota block", role=artists)
    await on.imagine(count=3)

    shown = text(await ada.slash(on.channel, "quota show", member=carol))
    of_alice = text(await ada.slash(on.channel, "quota show", member=on.alice))

    assert f"**pictures per day** · from <@&{artists.id}>\n`░░░░░░░░░░` 0 of 30 · 30 left · resets <t:" in shown
    assert "**spending per day** · set for this member" in shown
    assert f"7 pictures · expires <t:{(on.rig.time.now + 2 * DAY) // 1000}:R>" in shown
    assert f"🚫 <@&{artists.id}> is blocked" in shown
    assert "3 of 10 · 7 left" in of_alice
    assert "bot default" in of_alice
    assert "blocked" not in of_alice


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_channel_is_shown_with_its_usage_and_its_ceilings(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota set", unit="images", amount="4", per="total", channel=on.channel)
    await on.imagine(count=4)
    settings = By("x", on.guild.id, 1, on.rig.time.now)
    server_settings = ServerSettings.model_validate({"caps": {on.channel.id: {"resolution": "1K", "count": 2}}})
    await on.rig.services.quotas.change_server_settings(settings, lambda _: server_settings, body={})

    shown = text(await ada.slash(on.channel, "quota show", channel=on.channel))

    assert "`██████████` 4 of 4 · 0 left" in shown
    assert "Resolution: up to 1K" in shown
    assert "At a time: up to 2 pictures" in shown


@on_stage(limits=QUERY_TIMEOUT)
async def test_the_servers_overview_shows_everything_that_is_set_in_it(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota set", unit="images", amount="100", per="week")
    await ada.slash(on.channel, "quota set", unit="images", amount="30", member=on.alice)
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="7")
    await ada.slash(on.channel, "quota block", member=on.bob)
    await on.imagine(count=2)

    shown = await ada.slash(on.channel, "quota show")

    assert shown.ephemeral
    told = text(shown)
    assert "2 of 100 · 98 left" in told
    assert f"<@{on.alice.id}> · pictures per day: **30**" in told
    assert f"<@{on.bob.id}>" in told
    assert "have 1 bonus left" in told
    assert "Time zone: UTC" in told
    assert "everywhere" not in told  # the operator's limit over all servers is not shown


@on_stage(limits=QUERY_TIMEOUT)
async def test_usage_in_another_server_is_not_shown(on: Stage) -> None:
    elsewhere = on.env.create_guild("Elsewhere")
    there, alice = elsewhere.create_text_channel("there"), elsewhere.add_member(on.env.create_user("alice2"))
    eve = admin(on, elsewhere)
    await eve.slash(there, "quota set", unit="images", amount="4", member=alice)
    await eve.slash(there, "quota block", channel=there)
    await on.imagine(count=3)

    here, seen = await admin(on).slash(on.channel, "quota show"), await eve.slash(there, "quota show")

    assert str(alice.id) not in text(here)
    assert str(there.id) not in text(here)
    assert "0 of 50" in text(seen)
    assert "1 of 50" in text(here)


# --- clear


@on_stage(limits=QUERY_TIMEOUT)
async def test_all_limits_of_a_member_are_cleared_together(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota set", unit="images", amount="30", member=on.alice)
    await ada.slash(on.channel, "quota set", unit="jobs", amount="1", member=on.alice)
    await ada.slash(on.channel, "quota set", unit="jobs", amount="2", member=on.bob)

    shown = await ada.slash(on.channel, "quota clear", member=on.alice)

    assert await limits(on) == [(on.guild.id, "user", on.bob.id, "jobs", "now", 2)]
    assert "pictures per day: 30 → **not set**" in text(shown)
    assert "0 of 10 · 10 left" in text(shown)  # the limit now


@on_stage()
async def test_limits_of_deleted_roles_and_channels_are_offered_and_can_be_cleared(on: Stage) -> None:
    ada = admin(on)
    by = By("1", on.guild.id, 1, on.rig.time.now)
    await on.rig.services.quotas.set_rule(by, Rule(Holder.ROLE, 77, Unit.IMAGES, Window.DAY, 9))
    await ada.slash(on.channel, "quota set", unit="jobs", amount="2", channel=on.channel)

    choices = await offered(on, ada, "clear", "limit")
    shown = await ada.slash(on.channel, "quota clear", limit=choices["role 77 · pictures per day: 9"])

    assert choices["#pictures · active jobs: 2"] == f"channel:{on.channel.id}:jobs:now"
    assert "pictures per day: 9 → **not set**" in text(shown)
    assert [each[1] for each in await limits(on)] == ["channel"]
    assert await offered(on, ada, "clear", "limit", member=on.alice) == {}


@on_stage()
async def test_rules_of_another_server_or_of_the_operator_cannot_be_cleared(on: Stage) -> None:
    elsewhere = on.env.create_guild("Elsewhere")
    quotas, now = on.rig.services.quotas, on.rig.time.now
    await quotas.set_rule(By("1", elsewhere.id, 1, now), Rule(Holder.USER, on.alice.id, Unit.IMAGES, Window.DAY, 9))
    await quotas.set_rule(By("2", on.guild.id, 0, now), Rule(Holder.CAP, 0, Unit.IMAGES, Window.DAY, 9))
    before, ada = await limits(on), admin(on)

    for value in (
        f"user:{on.alice.id}:images:day",
        "cap:0:images:day",
        "host:0:jobs:now",
        "bonus:1",
        "x",
        "user::",
        ":",
    ):
        shown = await ada.slash(on.channel, "quota clear", limit=value)
        assert shown.ephemeral
        assert "reference" not in text(shown)
    await ada.slash(on.channel, "quota clear")

    assert await limits(on) == before
    assert await changes(on) == ["set", "set"]
    assert await offered(on, ada, "clear", "limit") == {}
    assert "set for this member" not in text(await ada.slash(on.channel, "quota show", member=on.alice))


@on_stage()
async def test_a_bonus_can_be_revoked_only_in_its_own_server(on: Stage) -> None:
    elsewhere = on.env.create_guild("Elsewhere")
    other_channel = elsewhere.create_text_channel("there")
    ada, eve = admin(on), admin(on, elsewhere)
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="7")
    (choice,) = [value for value in (await offered(on, ada, "clear", "limit")).values() if value.startswith("bonus")]

    foreign = await eve.slash(other_channel, "quota clear", limit=choice)
    wrong = await ada.slash(on.channel, "quota clear", limit=choice, member=on.bob)
    assert "isn't one of the choices" in text(foreign)
    assert "isn't one of the choices" in text(wrong)
    assert await changes(on) == ["grant"]
    shown = await ada.slash(on.channel, "quota clear", limit=choice)

    assert "Bonus removed: 7 pictures" in text(shown)
    assert (await rows(on.rig.store, "SELECT remaining FROM grants"))[0]["remaining"] == 0
    assert await changes(on) == ["grant", "revoke"]


# --- grant and reset


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_bonus_is_given_with_its_end_and_reason(on: Stage) -> None:
    ada = admin(on)
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="3")

    shown = await ada.slash(
        on.channel, "quota grant", member=on.alice, amount="2.5", unit="micro_usd", expires="12h", reason="*well* done"
    )

    assert "Bonus: **$2.50 · expires <t:" in text(shown)
    assert "Reason: \\*well\\* done" in text(shown)
    assert "3 pictures · doesn't expire" in text(shown)
    found = await rows(on.rig.store, "SELECT unit, remaining, expires_at FROM grants ORDER BY id")
    assert [(each["unit"], each["remaining"], each["expires_at"]) for each in found] == [
        ("images", 3, None),
        ("micro_usd", 2_500_000, on.rig.time.now + DAY // 2),
    ]


@pytest.mark.parametrize(
    "given",
    [{"amount": "0"}, {"amount": "-3"}, {"amount": "none"}, {"amount": "1.5"}, {"amount": "5", "expires": "2020-01-01"},
     {"amount": "5", "expires": "99999d"}, {"amount": "5", "expires": "soon"}],
)  # fmt: skip
@on_stage()
async def test_an_invalid_bonus_writes_nothing(on: Stage, given: dict[str, str]) -> None:
    if given.get("expires") == "soon" and not on.client.texts.for_locale("en").knows("error.period.day"):
        pytest.skip("its sentence comes with the reports")

    shown = await admin(on).slash(on.channel, "quota grant", member=on.alice, **given)

    assert shown.ephemeral
    assert "reference" not in text(shown)
    assert await untouched(on)


@on_stage(limits=QUERY_TIMEOUT)
async def test_a_reset_clears_the_usage_and_says_how_much_it_was(on: Stage) -> None:
    ada = admin(on)
    _, job = await on.imagine(count=4)
    await on.finish(job, pictures=4)
    await on.imagine(count=1)

    shown = text(await ada.slash(on.channel, "quota reset", member=on.alice))
    again = text(await ada.slash(on.channel, "quota reset", member=on.alice))

    assert "Usage removed: **4 pictures" in shown
    assert "1 of 10 · 9 left" in shown  # the active job still counts
    assert "There was no usage to reset." in again


@on_stage()
async def test_a_reset_without_a_target_is_refused(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "quota reset")

    assert "Only the bot's operator" in text(shown)
    assert await untouched(on)
