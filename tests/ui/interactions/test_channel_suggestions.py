"""A refusal for a channel names a channel where the request would be accepted and the member may write."""

import itertools
from typing import Any

import discord
import pytest

from bot.core.quota import Block, Holder, Rule, Unit
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By
from tests.ui.stage import Stage, on_stage, text

NUMBERS = itertools.count(1)
CLOSED = discord.PermissionOverwrite(view_channel=False)


def by_admin(on: Stage) -> By:
    return By(id=str(next(NUMBERS)), server=on.guild.id, actor=1, at=on.rig.time.now)


async def server_settings(on: Stage, **wanted: Any) -> None:
    await on.rig.services.quotas.change_server_settings(by_admin(on), lambda _: ServerSettings(**wanted), body={})


async def refused(on: Stage, **options: Any) -> str:
    shown = await on.alice.slash(on.channel, "imagine", prompt="a lighthouse", **options)
    assert shown.ephemeral
    assert await on.jobs() == 0
    return text(shown)


@on_stage()
async def test_the_channels_that_an_admin_opened_are_named(on: Stage) -> None:
    art = on.guild.create_text_channel("art")
    on.guild.create_text_channel("talk")
    await server_settings(on, allowed=(art.id,))

    assert f"Use <#{art.id}>." in await refused(on)


@on_stage()
async def test_a_channel_is_found_where_an_admin_named_none(on: Stage) -> None:
    art = on.guild.create_text_channel("art")
    await server_settings(on, denied=(on.channel.id,))

    assert f"Use <#{art.id}>." in await refused(on)


@on_stage()
async def test_without_a_known_channel_none_is_named(on: Stage) -> None:
    await server_settings(on, denied=(on.channel.id,))

    assert "Use another channel. A server admin can change this with `/settings`." in await refused(on)


@on_stage()
async def test_a_channel_that_was_deleted_or_is_hidden_from_the_member_is_not_named(on: Stage) -> None:
    hidden = on.guild.create_text_channel("staff", overwrites={on.guild.default_role: CLOSED})
    art = on.guild.create_text_channel("art")
    await server_settings(on, allowed=(4711, hidden.id, art.id))

    told = await refused(on)

    assert f"Use <#{art.id}>." in told
    assert str(hidden.id) not in told
    assert "4711" not in told


@on_stage()
async def test_a_blocked_channel_names_one_that_is_not(on: Stage) -> None:
    other, art = on.guild.create_text_channel("other"), on.guild.create_text_channel("art")
    for each in (on.channel, other):
        await on.rig.services.quotas.block(by_admin(on), Block(Holder.CHANNEL, each.id))

    told = await refused(on)

    assert f"Pictures are blocked in this channel. Use <#{art.id}>." in told


@on_stage()
async def test_a_channels_own_limit_names_a_channel_that_has_none(on: Stage) -> None:
    tight, art = on.guild.create_text_channel("tight"), on.guild.create_text_channel("art")
    for each in (on.channel, tight):
        rule = Rule(Holder.CHANNEL, each.id, Unit.IMAGES, Window.WEEK, 1)
        await on.rig.services.quotas.set_rule(by_admin(on), rule)

    told = await refused(on, count=2)

    assert "This channel's limit is 1 picture per week, with 1 picture left." in told
    assert f"This limit doesn't apply in <#{art.id}>." in told


@pytest.mark.parametrize("options", [{"resolution": "4K"}, {"count": 4}])
@on_stage()
async def test_a_channel_with_a_ceiling_names_one_with_a_higher_one(on: Stage, options: dict[str, Any]) -> None:
    art = on.guild.create_text_channel("art")
    await server_settings(on, caps={on.channel.id: ChannelCeiling(resolution="2K", count=2)})

    assert f"You can get more in <#{art.id}>." in await refused(on, **options)


@on_stage()
async def test_a_refusal_that_is_not_about_a_channel_names_none(on: Stage) -> None:
    on.guild.create_text_channel("art")
    await on.rig.services.quotas.block(by_admin(on), Block(Holder.USER, on.alice.id))

    assert "<#" not in await refused(on)


@on_stage()
async def test_without_the_database_a_refusal_names_no_channel(on: Stage) -> None:
    await server_settings(on, denied=(on.channel.id,))

    async def broken(*_: object, **__: object) -> None:
        raise OSError("disk")

    on.rig.services.quotas.overview = broken  # type: ignore[method-assign, assignment]

    assert "Use another channel." in await refused(on)
