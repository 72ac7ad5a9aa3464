"""Where commands work, joining a server, and messages to the operator."""

import logging
from typing import Any

import pytest
from simcord.results import ResponseMessage

from bot.core.quota import Limits
from bot.store.database import Tx
from bot.ui.transport.operator_channel import OperatorChannel
from tests.ui.stage import Stage, on_stage, text

# --- places


@on_stage(guilds=())
async def test_a_server_that_is_not_open_refuses_requests(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "imagine", prompt="x")

    assert refused.ephemeral
    assert str(on.guild.id) in text(refused)
    assert await on.jobs() == 0


@on_stage(guilds=())
async def test_a_server_of_the_applications_owner_is_open_from_the_start(on: Stage) -> None:
    on.client.access.set_owners([on.guild.owner.id])

    _, job = await on.imagine()

    assert job.acked_at is not None


@on_stage(guilds=())
async def test_an_open_server_is_known_without_the_cache(on: Stage) -> None:
    on.client.access.set_owners([on.guild.owner.id])
    guild = on.client.get_guild(on.guild.id)
    assert guild is not None
    guild.owner_id = None

    _, job = await on.imagine()

    assert job.acked_at is not None


@on_stage()
async def test_direct_messages_make_pictures_once_every_server_is_open(on: Stage) -> None:
    user = on.env.create_user("carol")

    shown = await user.slash("imagine", prompt="a lighthouse")

    job = await on.newest()
    assert (job.place.guild_id, job.acked_at) == (None, on.rig.time.now)
    reply = (await on.record(job.id)).reply
    assert (reply.bot_can_edit, reply.bot_can_post) == (True, True)
    assert not shown.ephemeral


@on_stage(limits=Limits(direct_day_images=1))
async def test_outside_of_servers_only_the_operator_can_raise_a_limit(on: Stage) -> None:
    carol = on.env.create_user("carol")

    refused = await carol.slash("imagine", prompt="two lighthouses", count=2)

    assert "Your limit is 1 picture per day, and you have 1 picture left." in text(refused)
    assert text(refused).endswith("Only the bot's operator can change this.")


@on_stage(guilds=("1",))
async def test_direct_messages_are_closed_while_servers_are(on: Stage) -> None:
    refused = await on.env.create_user("carol").slash("imagine", prompt="x")

    assert refused.ephemeral
    assert await on.jobs() == 0


# --- connecting


@on_stage()
async def test_commands_are_sent_to_discord_only_when_they_changed(on: Stage) -> None:
    def sent() -> int:
        return len([each for each in on.env.http_requests if each.method == "PUT" and "commands" in each.path])

    before = sent()

    assert await on.client.sync() is False
    assert sent() == before
    assert await on.client.sync(force=True) is True
    assert sent() == before + 1


@on_stage()
async def test_a_new_server_is_welcomed_once_in_the_operators_channel_if_it_has_it(on: Stage) -> None:
    guild = on.client.get_guild(on.guild.id)
    assert guild is not None
    on.client._log_channel = on.channel.id
    await on.rig.store.database.write(_forget_notes)

    await on.client.on_guild_join(guild)
    await on.client.on_guild_join(guild)

    (message,) = on.channel.history()
    assert "/imagine" in text(ResponseMessage(on.env, on.env.backend.get_message(on.channel.id, message.id)))


@on_stage(guilds=())
async def test_any_other_server_is_welcomed_through_its_owner(on: Stage) -> None:
    guild = on.client.get_guild(on.guild.id)
    assert guild is not None

    await on.client.on_guild_join(guild)

    channel = on.guild.owner.dm_channel
    (message,) = channel.history(viewer=on.guild.owner)
    assert str(on.guild.id) in text(ResponseMessage(on.env, on.env.backend.get_message(channel.id, message.id)))


@on_stage()
async def test_the_channel_for_the_operator_gets_the_sentence(on: Stage) -> None:
    channel = OperatorChannel(on.client, on.client.texts, limits=on.client.rate_limits, channel_id=on.channel.id)
    await channel.notify("operator.balance", {"provider": "RunComfy"})

    assert "RunComfy" in text(_last(on))


@on_stage()
async def test_messages_from_before_the_connection_are_posted_once_connected(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = OperatorChannel(on.client, on.client.texts, limits=on.client.rate_limits, channel_id=on.channel.id)
    with monkeypatch.context() as patch:
        patch.setattr(on.client._connection, "user", None)
        await channel.notify("operator.balance", {"provider": "RunComfy"})
        assert on.channel.history() == []

    for _ in range(2):
        await channel.on_ready()
    assert len(on.channel.history()) == 1
    assert "RunComfy" in text(_last(on))


@on_stage()
async def test_an_operator_who_cannot_be_reached_raises_nothing(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await OperatorChannel(on.client, on.client.texts, limits=on.client.rate_limits, channel_id=0).notify(
            "operator.down", {"provider": "RunComfy"}
        )
        await OperatorChannel(on.client, on.client.texts, limits=on.client.rate_limits, channel_id=12).notify(
            "operator.down", {"provider": "RunComfy"}
        )

    assert sum("RunComfy" in each.getMessage() for each in caplog.records) == 2


async def _forget_notes(tx: Tx) -> None:
    await tx.run("DELETE FROM notes")


def _last(on: Stage) -> Any:
    message = on.channel.last_message
    return ResponseMessage(on.env, on.env.backend.get_message(on.channel.id, message.id))
