"""Interactions over HTTP with the real client: the same handlers answer, without a gateway and with an empty cache."""

import asyncio
from pathlib import Path

import discord
import pytest

from bot.core.jobs import State
from bot.ui.transport import http_interactions
from bot.ui.transport.gateway import FatalGatewayError, stay_logged_in
from bot.ui.transport.http_interactions import CLAIM_LIFETIME, HttpInteractions, OwnClaims
from tests.discord.cdn import Upload
from tests.discord.client import SmallBot, show
from tests.discord.server import LocalDiscord
from tests.kit import NOON, Time, picture
from tests.store.ledger_model import rows
from tests.ui.transport.test_sockets import SOON, acknowledged, connected

FILE = Upload("a.png", picture())


@pytest.fixture(autouse=True)
def _over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DISCORD__TRANSPORT", "http")


async def test_every_kind_of_interaction_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        on.rig.services.requests._cdn_hosts = (on.discord.cdn_host,)

        command = await alice.slash(channel, "imagine", prompt="a lighthouse")
        assert (await command.acked(within=SOON)).type == 4
        await acknowledged(on)
        typing = await alice.complete(channel, "imagine", option="count", typed="2")
        assert (await typing.acked(within=SOON)).choices
        assert command.message is not None
        button = await alice.click(command.message, label="Cancel")
        await button.acked(within=SOON)
        menu = await alice.menu(channel, "Edit this", channel.post(alice, attachments=[FILE]))
        form = (await menu.acked(within=SOON)).modal
        assert form is not None
        submitted = await alice.submit(form, {"prompt": "at night"})
        assert (await submitted.acked(within=SOON)).message is not None
        uploaded = await alice.slash(channel, "edit", prompt="in snow", image=FILE)
        assert (await uploaded.acked(within=SOON)).type == 4
        private = await alice.slash(channel, "preferences")
        shown = (await private.acked(within=SOON)).message
        assert shown is not None
        assert shown.ephemeral

        made = await rows(on.rig.store, "SELECT state FROM jobs ORDER BY id")
        assert [each["state"] for each in made] == [State.CANCELLED, State.ACCEPTED, State.ACCEPTED]
        assert on.discord.gateway.identifies == 0
        assert on.discord.violations == []


async def test_servers_of_the_applications_owner_are_open_and_others_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        own, other = on.discord.add_guild("Own"), on.discord.add_guild("Other", owner_id=4711)
        alice, bob = on.discord.add_member("alice", own), on.discord.add_member("bob", other)
        channel, closed = own.add_channel("pictures"), other.add_channel("pictures")

        made = await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
        refused = await (await bob.slash(closed, "imagine", prompt="a lighthouse")).acked(within=SOON)
        assert (made.ephemeral, refused.ephemeral) == (False, True)

        own.owner_id = 4711
        on.rig.time.go(11 * 60)
        sold = await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
        assert sold.ephemeral


async def test_an_interaction_that_arrives_twice_is_handled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        asked = await alice.slash(channel, "usage")
        await asked.acked(within=SOON)
        on.discord.send_again(asked)
        await on.discord.endpoint.delivered()
        other = await alice.slash(channel, "usage")
        await other.acked(within=SOON)

        callbacks = [each.path for each in on.discord.requests if each.route == "callback"]
        assert len([each for each in callbacks if f"/{asked.id}/" in each]) == 1
        assert on.discord.violations == []


async def test_a_slow_handler_does_not_delay_the_answer_to_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        on.discord.fault("callback", do="hang")

        asked = await alice.slash(channel, "usage")
        await on.discord.endpoint.delivered()  # returns when the request is answered

        assert asked.first is None
        assert (on.discord.endpoint.refused, on.discord.violations) == (0, [])


async def test_a_generation_channel_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), has_gateway=False) as on:
        guild = on.discord.add_guild("Own")
        channel, operator = guild.add_channel("pictures"), on.discord.operator(guild)

        asked = await operator.slash(channel, "settings generation add", channel=channel)

        refused = (await asked.acked(within=SOON)).message
        assert refused is not None
        assert "receives commands over HTTP only and can't read messages" in refused.text


@pytest.fixture
def monitored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_interactions, "CHECK_INTERVAL", 0.01)


async def checked(server: LocalDiscord) -> None:
    """Wait until the bot has read the answer to a check that begins now: until it asks for the next but one."""
    before = len(server.requests)

    def asked() -> bool:
        return [each.route for each in server.requests[before:]].count("application") >= 3

    await server.until(asked, within=SOON)


async def _new(_: int, *, now: int) -> bool:
    return True


async def _broken(_: int, *, now: int) -> bool:
    raise OSError("the database is away")


async def test_an_interaction_is_handled_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        guild = server.add_guild("Studio")
        channel, alice = guild.add_channel("pictures"), server.add_member("alice", guild)
        bot = SmallBot()
        bot.handle = show
        async with bot:
            await bot.login(server.token)
            asked = await alice.slash(channel, "paint", prompt="a cat")  # sent to nobody

            await HttpInteractions(bot, _broken, clock=Time()).receive(asked.payload())

            assert (await asked.acked(within=SOON)).type == 4


@pytest.mark.usefixtures("monitored")
async def test_the_age_of_discords_last_answer_grows_while_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        bot, closing, time = SmallBot(), asyncio.Event(), Time()
        http = HttpInteractions(bot, _new, clock=time)
        assert (http.public_key(), http.heartbeat_age()) == (None, None)
        life = asyncio.create_task(stay_logged_in(bot, server.token, closing=closing, stay=http.check_until))
        await checked(server)
        assert http.public_key() == bytes.fromhex(server.endpoint.verify_key)
        assert http.heartbeat_age() == 0

        down = server.fault("application", do="code:400:0", times=None)
        await server.until(lambda: down.hits > 1, within=SOON)
        time.go(60)
        assert http.heartbeat_age() == 60
        down.stop()
        await checked(server)
        assert http.heartbeat_age() == 0

        closing.set()
        await life
        assert http.heartbeat_age() is None


@pytest.mark.usefixtures("monitored")
async def test_a_token_that_is_reset_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LocalDiscord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_base)
        bot = SmallBot()
        http = HttpInteractions(bot, _new, clock=Time())
        staying = stay_logged_in(bot, server.token, closing=asyncio.Event(), stay=http.check_until)
        life = asyncio.create_task(staying)
        await checked(server)

        server.token = "another.bot.token"

        with pytest.raises(FatalGatewayError, match="DARKROOM_DISCORD__TOKEN"):
            await life


async def test_the_only_process_knows_which_interactions_it_has_had() -> None:
    claims = OwnClaims()
    assert [await claims.claim(each, now=NOON) for each in (1, 2, 1)] == [True, True, False]
    assert not await claims.claim(1, now=NOON + CLAIM_LIFETIME)
    assert await claims.claim(3, now=NOON + CLAIM_LIFETIME + 1)
    assert await claims.claim(1, now=NOON + CLAIM_LIFETIME + 1)  # forgotten: nothing grows without end
