"""The client over real sockets: what SimCord does not simulate, and discord.py's own HTTP code."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import discord
import pytest
import yarl
from aiohttp.web import Application as Site

from bot.core.cards import ReplyPath
from bot.core.errors import DeliverLater, MessageGone, PathClosed
from bot.core.jobs import Job, Place
from bot.core.quota import Limits
from bot.ui.build import InterfaceSettings, build
from bot.ui.cards.texts import Texts
from bot.ui.client import DarkroomClient, connect_to
from bot.ui.interactions.access import Access
from bot.ui.interactions.moderators import RemoveFiles
from bot.ui.transport.gateway import stay_logged_in
from bot.ui.transport.http_interactions import HttpInteractions
from bot.ui.transport.messenger import DiscordMessenger
from bot.web.interactions import PATH, Interactions
from tests.discord.server import API, LocalDiscord
from tests.kit import Rig, Time, picture, rig
from tests.ui.cards.drawing import LOCALES
from tests.ui.stage import spend
from tests.web.test_server import served

SOON = 5.0


@dataclass
class Scene:
    discord: LocalDiscord
    rig: Rig
    client: DarkroomClient
    messenger: DiscordMessenger

    async def job(self, number: int = -1) -> Job:
        return await self.rig.job(sorted(await self.rig.store.due_jobs())[number])


@asynccontextmanager
async def connected(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guilds: tuple[str, ...] = (),
    user_install: bool = False,
    proxy: str | None = None,
    names: dict[str, int] | None = None,
    url: str = "",
    limits: Limits | None = None,
    remove_files: RemoveFiles | None = None,
    mentions: bool = False,
    has_gateway: bool = True,
) -> AsyncIterator[Scene]:
    """A connected client. With a *proxy* Discord's name is discord.example, resolved by the proxy's *names*."""
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)
    clock = Time(int(time.time() * 1000))
    async with (
        LocalDiscord(lambda: clock.now / 1000) as server,
        rig(folder, url=url, time=clock, limits=limits) as base,
    ):
        connect_to(server.api_base, server.gateway_url)
        if names is not None:
            names["discord.example"] = int(server.cdn_host.partition(":")[2])
            monkeypatch.setattr(discord.http.Route, "BASE", f"http://discord.example{API}")
            monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", yarl.URL("ws://discord.example/gateway"))
        access = Access(guilds, user_install=user_install)
        texts = Texts(LOCALES, strict=True)
        client = DarkroomClient(texts, access=access, proxy=proxy, mentions=mentions)
        messenger = DiscordMessenger(client, texts, limits=client.rate_limits, clock=base.time)
        build(
            client,
            base.services,
            InterfaceSettings(
                ("RunComfy",), keep_hours=72, keep_days=30, user_install=user_install, has_gateway=has_gateway
            ),
            check_first_bytes=_fine,
            uploads=base.delivery.uploads,
            originals=base.delivery.originals,
            remove_files=remove_files or _fine,
            chart=_drawn,
            balances=dict,
            answer_message=messenger.answer_message,
            metrics=base.metrics,
        )
        join = over_http if os.environ.get("DARKROOM_DISCORD__TRANSPORT") == "http" else over_gateway
        async with join(server, client, base):
            yield Scene(server, base, client, messenger)


@asynccontextmanager
async def over_gateway(server: LocalDiscord, client: DarkroomClient, _: Rig) -> AsyncIterator[None]:
    async with client:
        life = asyncio.create_task(client.start(server.token))
        await server.ready("imagine", "edit", "jobs", "usage", "help", "Edit this")
        yield
    with contextlib.suppress(asyncio.CancelledError):
        await life


@asynccontextmanager
async def over_http(server: LocalDiscord, client: DarkroomClient, base: Rig) -> AsyncIterator[None]:
    """The client logged in, with an endpoint that Discord has saved."""
    http, closing, app = HttpInteractions(client, base.store.claim_delivery, clock=base.time), asyncio.Event(), Site()
    app.router.add_post(PATH, Interactions(http.receive, public_key=http.public_key, clock=base.time).post)
    async with served(app) as url:
        life = asyncio.create_task(stay_logged_in(client, server.token, closing=closing, stay=http.check_until))
        await server.endpoint.use_when_ready(f"{url}{PATH}", within=SOON)
        try:
            yield
        finally:
            closing.set()
            await life


async def _fine(*_: object, **more: object) -> None:
    pass


async def _drawn(_: object) -> bytes:
    return picture()


async def test_the_owner_of_the_application_has_open_servers_and_direct_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        own = on.discord.add_guild("Own")
        other = on.discord.add_guild("Other", owner_id=4711)
        alice, bob = on.discord.add_member("alice", own), on.discord.add_member("bob", other)
        channel, closed = own.add_channel("pictures"), other.add_channel("pictures")

        made = await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
        refused = await (await bob.slash(closed, "imagine", prompt="a lighthouse")).acked(within=SOON)

        assert (made.type, made.ephemeral) == (4, False)
        assert (refused.type, refused.ephemeral) == (4, True)
        assert on.discord.violations == []


async def test_the_age_of_the_last_heartbeat_is_known_while_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        age = on.client.heartbeat_age()
        assert age is not None
        assert 0 <= age < SOON
        client = on.client
    assert client.heartbeat_age() is None


async def test_prices_are_completed_in_the_members_language_and_with_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, hans = guild.add_channel("pictures"), on.discord.add_member("hans", guild, locale="de")
        on.client._connection._guilds.clear()

        typing = await hans.complete(channel, "imagine", option="count", typed="2", resolution="2K")

        (choice,) = (await typing.acked(within=SOON)).choices
        assert choice == {"name": "2 Bilder · etwa 0,24 $ · heute noch 8 Bilder übrig", "value": 2}
        assert on.discord.violations == []


async def test_the_text_of_usage_is_followed_by_a_chart_in_the_same_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        await spend(on.rig, Place(alice.id, channel.id, guild.id), pictures=2)

        asked = await alice.slash(channel, "usage")

        assert (await asked.acked(within=SOON)).ephemeral
        shown = await asked.until(lambda message: bool(message.gallery), within=SOON)
        assert "2 of 10" in shown.text
        assert shown.files() == [picture()]
        assert shown.gallery[0].alt == "Your last 30 days: 2 pictures for $0.16."
        assert on.discord.violations == []


async def test_a_shown_card_is_found_and_edited_by_token_and_by_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
        await asked.acked(within=SOON)
        job = await acknowledged(on)
        record = await on.rig.store.job_record(job.id)
        assert record is not None
        card, reply = await on.rig.services.jobs.card_of(record), record.reply

        assert await on.messenger.find(reply) == (reply.message_id, False)
        for place, way in enumerate((ReplyPath.TOKEN, ReplyPath.CHANNEL), start=2):
            moved = replace(card, queue_position=place)  # a card that is shown already would not be sent
            assert await on.messenger.send(moved, reply, path=way, uploads=()) == reply.message_id
        assert [each.route for each in on.discord.requests][-2:] == ["edit_by_token", "edit_message"]
        posted = await on.messenger.send(card, reply, path=ReplyPath.POST, uploads=())
        assert await on.messenger.send(card, reply, path=ReplyPath.POST, uploads=()) == posted  # the nonce is the job's

        assert asked.message is not None
        await alice.delete(asked.message)
        for way in (ReplyPath.TOKEN, ReplyPath.CHANNEL):
            with pytest.raises(MessageGone):
                await on.messenger.send(card, reply, path=way, uploads=())
        assert on.discord.violations == []


async def test_a_card_whose_response_was_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        on.discord.fault("callback", do="accepted_then_lost", times=None)
        asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
        await asked.acked(within=SOON)

        job = await on.job()
        record = await on.rig.store.job_record(job.id)

        assert record is not None
        assert (job.acked_at, record.reply.message_id) == (None, None)
        assert asked.message is not None
        assert await on.messenger.find(record.reply) == (asked.message.id, False)


async def test_a_command_that_discord_sends_twice_makes_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
        await asked.acked(within=SOON)
        on.discord.send_again(asked)
        other = await alice.slash(channel, "usage")  # events are handled in order, so the second one has been handled
        await other.acked(within=SOON)

        assert len(await on.rig.store.due_jobs()) == 1
        assert on.discord.violations == []


async def test_discord_may_make_a_user_installs_reply_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch, user_install=True) as on:
        guild = on.discord.add_guild("Elsewhere", bot_in=False)
        channel, alice = guild.add_channel("talk"), on.discord.add_member("alice", guild, installed=True)
        asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
        ack = await asked.acked(within=SOON)
        record = await on.rig.store.job_record((await acknowledged(on)).id)

        assert record is not None
        assert record.reply.ephemeral is ack.ephemeral
        assert (record.reply.bot_can_edit, record.reply.bot_can_post) == (False, False)


async def test_a_blocked_address_and_a_broken_connection_are_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
        record = await on.rig.store.job_record((await acknowledged(on)).id)
        assert record is not None
        card, reply = await on.rig.services.jobs.card_of(record), record.reply

        for do, outcome in (("reset", DeliverLater), ("code:401:50027", PathClosed), ("cloudflare", DeliverLater)):
            fault = on.discord.fault("edit_by_token", do=do, retry_after=60)
            with pytest.raises(outcome):
                await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=())
            assert fault.hits == 1
        with pytest.raises(DeliverLater) as caught:
            await on.messenger.send(card, reply, path=ReplyPath.CHANNEL, uploads=())
        assert caught.value.retry_after == 60


async def acknowledged(on: Scene) -> Job:
    """Wait until the newest job's acknowledgement is on disk, and return the job."""
    async with asyncio.timeout(SOON):
        while not (await on.rig.store.due_jobs()) or (await on.job()).acked_at is None:
            await on.rig.services.wakeups.worker.wait()
            on.rig.services.wakeups.worker.clear()
    return await on.job()
