"""`/settings`: changes by admins, and their effect on requests."""

from typing import Any

import discord

from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.store.quotas import By
from bot.store.reports import Reports
from tests.ui.stage import Stage, on_stage, text

MANAGER = discord.Permissions(
    manage_guild=True, view_channel=True, send_messages=True, use_application_commands=True, attach_files=True
)


def admin(on: Stage, *, name: str = "carol") -> Any:
    role = on.guild.create_role(f"{name}'s", permissions=MANAGER)
    return on.guild.add_member(on.env.create_user(name), roles=[role])


async def server_settings(on: Stage) -> ServerSettings:
    return await on.rig.store.server_settings(on.guild.id)


async def settings_history(on: Stage) -> list[dict[str, Any]]:
    """The settings' entries in the history, newest first."""
    found = await Reports(on.rig.store.database).changes(on.guild.id, limit=50)
    return [dict(each.body) for each, _ in found if each.action == "settings"]


# --- channels


@on_stage()
async def test_once_a_channel_is_allowed_the_others_are_refused_and_name_it(on: Stage) -> None:
    carol, art = admin(on), on.guild.create_text_channel("art")

    shown = await carol.slash(on.channel, "settings channels allow", channel=art)
    refused = await on.alice.slash(on.channel, "imagine", prompt="x")
    _, job = await _imagine_in(on, art)

    assert shown.ephemeral
    assert f"only in <#{art.id}>" in text(shown)
    assert refused.ephemeral
    assert f"<#{art.id}>" in text(refused)
    assert job.place.channel_id == art.id
    assert await settings_history(on) == [{"setting": "channels.allow", "channel": art.id}]


@on_stage()
async def test_a_denied_channel_refuses_requests_and_allowing_it_again_closes_no_other(on: Stage) -> None:
    carol, art = admin(on), on.guild.create_text_channel("art")

    denied = await carol.slash(on.channel, "settings channels deny", channel=art)
    refused = await on.alice.slash(art, "imagine", prompt="x")
    again = await carol.slash(on.channel, "settings channels allow", channel=art)

    assert f"Pictures are disabled in <#{art.id}>" in text(denied)
    assert refused.ephemeral
    assert await on.jobs() == 0
    assert "every channel" in text(again)
    assert await server_settings(on) == ServerSettings()


@on_stage()
async def test_denying_the_only_allowed_channel_opens_no_other_and_says_that_none_is_left(on: Stage) -> None:
    carol = admin(on)
    await carol.slash(on.channel, "settings channels allow", channel=on.channel)

    shown = await carol.slash(on.channel, "settings channels deny", channel=on.channel)

    assert "Pictures can't be made in any channel" in text(shown)
    assert not (await server_settings(on)).allows((on.channel.id,))
    assert not (await server_settings(on)).allows((1,))


@on_stage()
async def test_denying_every_channel_of_a_server_says_that_none_is_left(on: Stage) -> None:
    carol = admin(on)
    channels = list(on.guild.channels.values())

    answers = [await carol.slash(on.channel, "settings channels deny", channel=each) for each in channels]

    assert ["Pictures can't be made in any channel" in text(each) for each in answers] == [False] * (
        len(channels) - 1
    ) + [True]


@on_stage()
async def test_clearing_removes_one_channel_or_all_from_every_list(on: Stage) -> None:
    carol, art = admin(on), on.guild.create_text_channel("art")
    for each in (on.channel, art):
        await carol.slash(on.channel, "settings channels allow", channel=each)
        await carol.slash(on.channel, "settings channels limit", channel=each, max_resolution="1K")

    await carol.slash(on.channel, "settings channels clear", listed_channel=str(art.id))
    one = await server_settings(on)
    await carol.slash(on.channel, "settings channels clear")

    assert (one.allowed, set(one.caps)) == ((on.channel.id,), {on.channel.id})
    assert await server_settings(on) == ServerSettings()


@on_stage()
async def test_a_deleted_channel_is_shown_as_such_and_can_be_cleared_through_completion(on: Stage) -> None:
    carol, art = admin(on), on.guild.create_text_channel("art")
    await carol.slash(on.channel, "settings channels allow", channel=art)
    on.env.backend.delete_channel(art.id)
    await on.env.settle()

    listed = await carol.slash(on.channel, "settings channels list")
    offered = await carol.autocomplete(on.channel, "settings channels clear", "listed_channel", "")
    await carol.slash(on.channel, "settings channels clear", listed_channel=offered[0]["value"])

    assert "a deleted channel" in text(listed)
    assert "Pictures can't be made in any channel" in text(listed)
    assert [each["value"] for each in offered] == [str(art.id)]
    assert await server_settings(on) == ServerSettings()


# --- ceilings


@on_stage()
async def test_ceilings_are_set_per_channel_and_omitted_ones_do_not_change(on: Stage) -> None:
    carol = admin(on)

    await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_resolution="1k")
    both = await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_count="2")
    capped = await server_settings(on)
    refused = await on.alice.slash(on.channel, "imagine", prompt="x", count=3)
    await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_count="none")
    lifted = await server_settings(on)
    await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_resolution="none")

    assert "up to 1K · 2 pictures at a time" in text(both)
    assert capped.caps == {on.channel.id: ChannelCeiling(resolution="1K", count=2)}
    assert refused.ephemeral
    assert lifted.caps == {on.channel.id: ChannelCeiling(resolution="1K")}
    assert await server_settings(on) == ServerSettings()


@on_stage()
async def test_ceilings_that_no_model_has_are_refused_with_valid_choices(on: Stage) -> None:
    carol = admin(on)

    wrong = await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_resolution="9K")
    many = await carol.slash(on.channel, "settings channels limit", channel=on.channel, max_count="5")
    nothing = await carol.slash(on.channel, "settings channels limit", channel=on.channel)
    offered = await carol.autocomplete(on.channel, "settings channels limit", "max_resolution", "")

    assert "4K" in text(wrong)
    assert "1 to 4" in text(many)
    assert "max_count" in text(nothing)
    assert [each["value"] for each in offered] == ["0.5K", "1K", "2K", "4K", "none"]
    assert await server_settings(on) == ServerSettings()


# --- models


@on_stage()
async def test_a_denied_model_is_refused_until_it_is_allowed_again(on: Stage) -> None:
    carol = admin(on)

    offered = await carol.autocomplete(on.channel, "settings models deny", "model", "pro")
    await carol.slash(on.channel, "settings models deny", model=offered[0]["value"])
    refused = await on.alice.slash(on.channel, "imagine", prompt="x", model="nano-banana-pro")
    listed = await carol.slash(on.channel, "settings models list")
    hidden = await carol.autocomplete(on.channel, "settings models allow", "model", "")
    await carol.slash(on.channel, "settings models allow", model=hidden[0]["name"])
    _, job = await on.imagine(model="nano-banana-pro")

    assert refused.ephemeral
    assert "Disabled: Nano Banana Pro" in text(listed)
    assert [each["value"] for each in hidden] == ["nano-banana-pro"]
    assert job.request.model == "nano-banana-pro"


@on_stage()
async def test_the_last_model_of_a_command_cannot_be_denied(on: Stage) -> None:
    carol, models = admin(on), list(on.rig.services.catalog.models)

    answers = [await carol.slash(on.channel, "settings models deny", model=each) for each in models]

    assert "last model" in text(answers[-1])
    assert (await server_settings(on)).models == tuple(models[:-1])
    assert len(await settings_history(on)) == len(models) - 1


@on_stage()
async def test_a_model_that_its_provider_removed_is_not_listed_and_does_not_count_as_available(on: Stage) -> None:
    for model in ("text-to-image", "edit"):
        await on.rig.services.availability.mark_route_gone("runcomfy", f"google/nano-banana/pro/{model}")
    carol = admin(on)

    choices = await carol.autocomplete(on.channel, "settings models deny", "model", "")
    listed = await carol.slash(on.channel, "settings models list")
    last = await carol.slash(on.channel, "settings models deny", model="nano-banana-2")

    assert [each["value"] for each in choices] == ["nano-banana-2"]
    assert "Nano Banana Pro" not in text(listed)
    assert "last model" in text(last)


@on_stage()
async def test_a_model_that_does_not_exist_is_refused_with_those_that_do(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "settings models deny", model="dall-e")

    assert "Nano Banana 2" in text(shown)


# --- time zone and alerts


@on_stage()
async def test_the_time_zone_is_found_by_what_is_typed_and_windows_follow_it(on: Stage) -> None:
    carol = admin(on)

    offered = await carol.autocomplete(on.channel, "settings timezone", "timezone", "tokyo")
    without_input = await carol.autocomplete(on.channel, "settings timezone", "timezone", "")
    many = await carol.autocomplete(on.channel, "settings timezone", "timezone", "a")
    shown = await carol.slash(on.channel, "settings timezone", timezone=offered[0]["value"])
    wrong = await carol.slash(on.channel, "settings timezone", timezone="Mars/Olympus")

    assert [each["value"] for each in offered] == ["Asia/Tokyo"]
    assert without_input[0]["value"] == "UTC"
    assert len(many) == 25
    assert "Asia/Tokyo" in text(shown)
    assert "Mars/Olympus" in text(wrong)
    assert (await server_settings(on)).timezone == "Asia/Tokyo"
    assert await settings_history(on) == [{"setting": "timezone", "timezone": "Asia/Tokyo", "before": "UTC"}]


@on_stage()
async def test_alerts_go_to_a_channel_and_no_channel_turns_them_off(on: Stage) -> None:
    carol = admin(on)

    chosen = await carol.slash(on.channel, "settings alerts", alerts_channel=on.channel)
    on_now = (await server_settings(on)).alerts
    off = await carol.slash(on.channel, "settings alerts")

    assert f"<#{on.channel.id}>" in text(chosen)
    assert "can't post" not in text(chosen)
    assert on_now == on.channel.id
    assert "turned off" in text(off)
    assert (await server_settings(on)).alerts is None


@on_stage()
async def test_an_admin_is_warned_of_an_alerts_channel_in_which_the_bot_may_not_write(on: Stage) -> None:
    carol = admin(on)
    closed = on.guild.create_text_channel(
        "closed", overwrites={on.guild.default_role: discord.PermissionOverwrite(send_messages=False)}
    )

    shown = await carol.slash(on.channel, "settings alerts", alerts_channel=closed)

    assert "can't post" in text(shown)
    assert (await server_settings(on)).alerts == closed.id


# --- all settings


@on_stage()
async def test_a_hanging_database_is_reported_in_time(on: Stage) -> None:
    carol = admin(on)

    async def hanging(*_: object, **__: object) -> ServerSettings:
        raise TimeoutError

    on.rig.services.quotas.change_server_settings = hanging  # type: ignore[method-assign]
    unsure = await carol.slash(on.channel, "settings channels deny", channel=on.channel)
    on.rig.services.store.server_settings = hanging  # type: ignore[method-assign]
    busy = await carol.slash(on.channel, "settings show")

    assert "may have been made" in text(unsure)
    assert "busy" in text(busy)
    assert all(each.ephemeral for each in (unsure, busy))


@on_stage()
async def test_show_lists_all_settings_and_setting_the_same_value_changes_nothing(on: Stage) -> None:
    carol = admin(on)
    await carol.slash(on.channel, "settings timezone", timezone="europe/berlin")

    same = await carol.slash(on.channel, "settings timezone", timezone="Europe/Berlin")
    shown = await carol.slash(on.channel, "settings show")

    assert "nothing changed" in text(same)
    assert len(await settings_history(on)) == 1
    for each in ("Europe/Berlin", "every channel", "Nano Banana 2", "are off"):
        assert each in text(shown)


@on_stage()
async def test_a_server_sees_and_changes_nothing_of_another(on: Stage) -> None:
    carol = admin(on)
    other = on.env.create_guild("Elsewhere")
    away = other.create_text_channel("away")
    role = other.create_role("admin", permissions=MANAGER)
    dave = other.add_member(on.env.create_user("dave"), roles=[role])
    await carol.slash(on.channel, "settings channels allow", channel=on.channel)
    before = await server_settings(on)

    shown = await dave.slash(away, "settings show")
    offered = await dave.autocomplete(away, "settings channels clear", "listed_channel", "")
    await dave.slash(away, "settings channels clear", listed_channel=str(on.channel.id))
    await dave.slash(away, "settings models deny", model="nano-banana-pro")

    assert str(on.channel.id) not in text(shown)
    assert offered == []
    assert await server_settings(on) == before
    assert (await on.rig.store.server_settings(other.id)).models == ("nano-banana-pro",)


@on_stage()
async def test_the_page_of_a_server_with_very_long_lists_still_fits(on: Stage) -> None:
    carol = admin(on)
    many = ServerSettings(
        allowed=tuple(range(10**17, 10**17 + 500)),
        denied=tuple(range(2 * 10**17, 2 * 10**17 + 500)),
        caps={each: ChannelCeiling(resolution="1K", count=1) for each in range(10**17, 10**17 + 500)},
    )

    await on.rig.services.quotas.change_server_settings(
        By("fill", on.guild.id, 0, on.rig.time.now), lambda _: many, body={"setting": "other"}
    )

    shown = await carol.slash(on.channel, "settings show")

    assert "and 485 more" in text(shown)
    assert len(text(shown)) <= 4000


async def _imagine_in(on: Stage, channel: Any) -> tuple[Any, Any]:
    shown = await on.alice.slash(channel, "imagine", prompt="x")
    return shown, await on.newest()


# --- requests by message


@on_stage(mentions=True)
async def test_a_channel_takes_requests_by_message_from_the_moment_it_is_added_until_it_is_removed(on: Stage) -> None:
    carol, mention = admin(on), on.client.user.mention  # type: ignore[union-attr]

    added = await carol.slash(on.channel, "settings generation add", channel=on.channel)
    await on.alice.send(on.channel, f"{mention} a lighthouse")
    shown = await carol.slash(on.channel, "settings show")
    removed = await carol.slash(on.channel, "settings generation remove", channel=on.channel)
    await on.alice.send(on.channel, f"{mention} a boat")

    assert "turned on" in text(added)
    assert f"Mention the bot to request pictures in <#{on.channel.id}>" in text(shown)
    assert "No channel takes requests by message" in text(removed)
    assert await on.jobs() == 1
    assert await settings_history(on) == [
        {"setting": f"generation.{each}", "channel": on.channel.id} for each in ("remove", "add")
    ]


@on_stage(mentions=True)
async def test_an_added_channel_in_which_the_bot_cannot_post_is_reported_and_deleted_ones_are_dropped(
    on: Stage,
) -> None:
    carol, gone = admin(on), on.guild.create_text_channel("gone")
    await carol.slash(on.channel, "settings generation add", channel=gone)
    on.env.backend.delete_channel(gone.id)
    mute = on.guild.create_text_channel(
        "mute", overwrites={on.guild.default_role: discord.PermissionOverwrite(send_messages=False)}
    )

    shown = await carol.slash(on.channel, "settings generation add", channel=mute)

    assert "can't post in" in text(shown)
    assert (await server_settings(on)).generation == (mute.id,)


@on_stage()
async def test_without_messages_no_channel_can_be_added_for_requests(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "settings generation add", channel=on.channel)

    assert "`discord.mentions`" in text(shown)
    assert (await server_settings(on)).generation == ()
