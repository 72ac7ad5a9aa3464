"""Cards within Discord's rate limits: of a route, by its headers, and of the bot's token."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from hypothesis import given
from hypothesis import strategies as st

from bot.core.budgets import Pace, Slot
from bot.core.cards import Card, Reply, ReplyPath
from bot.core.errors import RateLimitReached
from bot.core.jobs import State
from bot.store.budgets import Budget, Budgets
from bot.ui.transport.messenger import DiscordMessenger
from bot.ui.transport.rate_limits import TOKEN_REQUESTS, WAITING_TOKEN_REQUESTS, RateLimits, route_of
from tests.discord import rate_limits
from tests.discord.rest_proxy import RestProxy
from tests.ui.transport.test_sockets import SOON, Scene, acknowledged, connected

ROUTE = "PATCH channels 6 messages"


def headers(left: int, seconds: float) -> dict[str, str]:
    return {"X-RateLimit-Remaining": str(left), "X-RateLimit-Reset-After": str(seconds)}


class Clock:
    """Time that passes as soon as every task waits for it."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken := asyncio.Event()))
        await woken.wait()

    async def run(self) -> None:
        while True:
            for _ in range(9):
                await asyncio.sleep(0)
            if not self._sleepers:
                return
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()


@pytest.mark.parametrize(
    ("left", "seconds", "waiting", "final"),
    [(5, 4.0, 0.0, 0.0), (3, 4.0, 0.0, 0.0), (2, 4.0, 4.0, 0.0), (1, 4.0, 4.0, 0.0), (1, 0.5, 0.5, 0.5),
     (0, 4.0, 4.0, 4.0)],
)  # fmt: skip
def test_the_last_requests_of_a_window_are_kept_for_final_cards(
    left: int, seconds: float, waiting: float, final: float
) -> None:
    clock = Clock()
    limits = RateLimits(now=clock)
    limits.note(ROUTE, headers(left, seconds))

    assert (limits.delay(ROUTE, final=False), limits.delay(ROUTE, final=True)) == (waiting, final)
    assert limits.delay("PATCH channels 7 messages", final=False) == 0.0
    clock.now += seconds
    assert limits.delay(ROUTE, final=False) == 0.0


def test_requests_without_a_response_count_as_used_and_late_responses_do_not_give_them_back() -> None:
    clock = Clock()
    limits = RateLimits(now=clock)
    limits.note(ROUTE, headers(4, 4.0))
    with limits.sending(ROUTE), limits.sending(ROUTE):
        assert limits.delay(ROUTE, final=False) == 4.0
        limits.note(ROUTE, headers(2, 3.9))
        limits.note(ROUTE, headers(3, 3.9))
    assert limits.delay(ROUTE, final=False) > 0
    clock.now += 3.8
    limits.note(ROUTE, headers(4, 5.0))  # of the next window
    assert limits.delay(ROUTE, final=False) == 0.0


def test_a_route_is_without_message_ids_and_others_have_none() -> None:
    hook = "/api/v10/webhooks/42/a=token/messages/77"
    assert route_of("PATCH", hook) == "PATCH webhooks 42 a=token messages"
    assert route_of("POST", "/api/v10/channels/6/messages") == "POST channels 6 messages"
    assert route_of("PATCH", "/api/v10/channels/6") != route_of("PATCH", "/api/v10/channels/6/messages/7")
    assert route_of("POST", "/api/v10/interactions/1/token/callback") is None


async def paced(requests: Sequence[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """When requests that arrive at these times are sent; True for a final card."""
    clock = Clock()
    limits, sent = RateLimits(now=clock, sleep=clock.sleep), []

    async def request(at: float, *, final: bool) -> None:
        await clock.sleep(at)
        await limits.wait_for_token(final=final)
        sent.append((clock.now, final))

    async with asyncio.TaskGroup() as group:
        for at, final in requests:
            group.create_task(request(at, final=final))
        group.create_task(clock.run())
    return sent


@given(st.lists(st.tuples(st.floats(0, 1.5), st.booleans()), max_size=150))
def test_the_bots_token_is_never_used_faster_than_it_may_be(requests: list[tuple[float, bool]]) -> None:
    sent = asyncio.run(paced(requests))

    assert len(sent) == len(requests)
    for times, limit in (
        ([at for at, _ in sent], TOKEN_REQUESTS),
        ([at for at, final in sent if not final], WAITING_TOKEN_REQUESTS),
    ):
        assert all(later - at > 1 - 1e-6 for at, later in zip(times, times[limit:], strict=False))


async def test_final_cards_pass_others_in_the_pace_of_the_bots_token() -> None:
    sent = await paced([(0.0, False)] * 90 + [(1.0, True)] * 20)

    assert max(at for at, final in sent if final) - 101.0 < 21 / TOKEN_REQUESTS + 0.05


async def test_requests_that_have_not_waited_count_and_those_without_the_token_do_not() -> None:
    counted = list[str]()

    class Counting(Budgets):
        def budget(self, name: str, pace: Pace) -> Budget:
            budget = super().budget(name, replace(pace, gap=0.0))

            class Counted:
                async def take(self, units: int) -> Sequence[Slot]:
                    counted.append(name)
                    return await budget.take(units)

            return Counted()

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    limits = RateLimits(Counting())
    async with RawTestServer(answer) as server, aiohttp.ClientSession(trace_configs=[limits.trace()]) as session:

        async def request(**headers: str) -> None:
            async with session.get(server.make_url("/"), headers=headers):
                pass

        await request()
        assert counted == []
        await limits.wait_for_token(final=True)
        await request(Authorization="Bot t")
        assert counted == ["discord:token"]
        await request(Authorization="Bot t")  # repeated by discord.py, after a 429
        await asyncio.sleep(0)
        assert counted == ["discord:token"] * 2


async def test_behind_a_rest_proxy_no_request_waits_for_the_token() -> None:
    clock = Clock()
    limits = RateLimits(rest_proxy=True, now=clock, sleep=clock.sleep)
    for final in [True, False] * 200:
        await limits.wait_for_token(final=final)


# --- over real sockets


async def test_a_rest_proxy_keeps_the_limits_of_all_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch) as on, RestProxy(on.discord.api_base) as proxy:
        card, reply = await shown(on)
        channels = [next(iter(on.discord.guilds.values())).add_channel(f"c{n}") for n in range(60)]
        on.discord.limits = rate_limits.RateLimits({"create_message": 1.0})
        monkeypatch.setattr(discord.http.Route, "BASE", proxy.api_base)
        limits = RateLimits(rest_proxy=True)
        messenger = DiscordMessenger(on.client, on.client.texts, limits=limits, clock=on.rig.time)
        ended = replace(card, job=replace(card.job, state=State.CANCELLED, ended_at=on.rig.time.now))

        async def send(channel_id: int) -> None:
            elsewhere = replace(reply, channel_id=channel_id, message_id=None)
            while True:
                try:
                    await messenger.send(ended, elsewhere, path=ReplyPath.POST, uploads=())
                except RateLimitReached as exc:
                    await asyncio.sleep(exc.retry_after)
                else:
                    return

        async with asyncio.TaskGroup() as group:
            for each in [*channels, *channels[:1] * 11]:
                group.create_task(send(each.id))

        posts = [each.status for each in on.discord.requests if each.route == "create_message"]
        assert posts == [200] * 71
        assert proxy.forwarded == 71
        assert on.discord.violations == []


async def shown(on: Scene) -> tuple[Card, Reply]:
    guild = on.discord.add_guild("Own")
    channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
    await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
    record = await on.rig.store.job_record((await acknowledged(on)).id)
    assert record is not None
    return await on.rig.services.jobs.card_of(record), record.reply


@pytest.mark.parametrize(("path", "route"), [(ReplyPath.TOKEN, "edit_by_token"), (ReplyPath.CHANNEL, "edit_message")])
async def test_a_final_card_finds_a_request_after_many_others_and_returns_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: ReplyPath, route: str
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        card, reply = await shown(on)
        on.discord.limits = rate_limits.RateLimits({route: 30.0})
        for place in range(2, 20):
            if on.messenger.delay(reply, path=path, final=False) == 0:
                await on.messenger.send(replace(card, queue_position=place), reply, path=path, uploads=())

        assert on.messenger.delay(reply, path=path, final=True) == 0
        ended = replace(card, job=replace(card.job, state=State.CANCELLED))
        began = time.monotonic()
        await on.messenger.send(ended, reply, path=path, uploads=())
        assert time.monotonic() - began < SOON
        assert on.discord.violations == []
        edits = [each.status for each in on.discord.requests if each.route == route]
        assert edits == [200] * 4


async def test_many_final_cards_in_one_channel_neither_exceed_its_limit_nor_wait_in_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, durations = 0.9, list[float]()
    async with connected(tmp_path, monkeypatch) as on:
        card, reply = await shown(on)
        on.discord.limits = rate_limits.RateLimits({"edit_message": window})

        async def send() -> None:
            ended = replace(card, job=replace(card.job, state=State.CANCELLED))
            while True:
                began = time.monotonic()
                try:
                    await on.messenger.send(ended, reply, path=ReplyPath.CHANNEL, uploads=())
                except RateLimitReached as exc:
                    await asyncio.sleep(exc.retry_after)
                else:
                    durations.append(time.monotonic() - began)
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(send())
        assert on.discord.violations == []
        assert max(durations) < window / 2


async def test_many_cards_at_once_by_the_bots_token_meet_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        card, reply = await shown(on)
        channels = [next(iter(on.discord.guilds.values())).add_channel(f"c{n}") for n in range(70)]
        on.discord.limits = rate_limits.RateLimits({"create_message": 5.0})
        ended = replace(card, job=replace(card.job, state=State.CANCELLED, ended_at=on.rig.time.now))
        async with asyncio.TaskGroup() as group:
            for each in channels:
                elsewhere = replace(reply, channel_id=each.id, message_id=None)
                group.create_task(on.messenger.send(ended, elsewhere, path=ReplyPath.POST, uploads=()))

        posts = [each.status for each in on.discord.requests if each.route == "create_message"]
        assert posts == [200] * 70


async def test_a_card_that_the_message_shows_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        card, reply = await shown(on)
        clicked = replace(reply, token="of-a-click")
        on.discord.by_token["of-a-click"] = on.discord.by_token[reply.token or ""]
        ended = replace(card, job=replace(card.job, state=State.CANCELLED))

        for each, by in (
            (card, reply),
            (card, reply),
            (card, clicked),
            (card, clicked),
            (ended, reply),
            (card, clicked),
        ):
            await on.messenger.send(each, by, path=ReplyPath.TOKEN, uploads=())
        assert len([each for each in on.discord.requests if each.route == "edit_by_token"]) == 4
