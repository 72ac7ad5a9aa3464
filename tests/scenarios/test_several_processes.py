"""Several processes of the bot on one PostgreSQL: stopped, killed, frozen and cut off, they do each thing once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bot.sandbox.service import Pace
from tests.discord.interactions import Interaction
from tests.postgres import cut
from tests.replication import Server
from tests.scenarios.cluster import Cluster, cluster
from tests.scenarios.conftest import GATEWAY
from tests.scenarios.gate import gate_to
from tests.scenarios.harness import NO_LIMITS, SOON, shows

pytestmark = GATEWAY
LEASE = 30.0  # seconds, bot.store.processes
SLOW = Pace(queue_s=0.0, run_s=6.0, slots=None)
SLOTS = {"runcomfy__max_in_flight": 20}


@pytest.fixture
async def on(tmp_path: Path, postgres_url: str) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, postgres_url, pace=SLOW, **NO_LIMITS, **SLOTS) as found:
        yield found


async def holder(on: Cluster) -> dict[str, int]:
    """How many unfinished jobs each process holds, by name."""
    rows = await on.rows("SELECT worker, count(*) FROM jobs WHERE ended_at IS NULL GROUP BY worker")
    names = {number: name for name, number in on.numbers.items()}
    return {names.get(worker, "nobody"): count for worker, count in rows}


async def eight_running(on: Cluster, *, first: bool = True) -> list[Interaction]:
    """Start two workers (the first one unless it runs), then a gateway, and run eight jobs."""
    if first:
        await on.start("first", "worker")
    await on.start("second", "worker")
    await on.start("gateway", "gateway,keeper,web")
    asked = [await on.scene.asks(on.scene.alice, f"picture {n}") for n in range(8)]
    await on.until(lambda rows: rows == [(8,)], "SELECT count(*) FROM jobs WHERE state = 'running'")
    return asked


def posted(on: Cluster, *, since: int) -> list[object]:
    """The messages that were sent to the members' channel after so many requests to Discord."""
    path = f"/channels/{on.scene.channel.id}/messages"
    return [each for each in on.scene.discord.requests[since:] if each.method == "POST" and each.path == path]


async def test_jobs_are_spread_over_workers_and_handed_over_at_once_by_one_that_is_told_to_stop(on: Cluster) -> None:
    asked = await eight_running(on)
    assert await holder(on) == {"first": 4, "second": 4}

    began = time.monotonic()
    stopping = asyncio.create_task(on.processes["first"].stop())
    await on.until(lambda rows: len(rows) == 1, "SELECT DISTINCT worker FROM jobs WHERE ended_at IS NULL")
    assert time.monotonic() - began < 2
    assert await stopping == 0
    for each in asked:
        await each.until(shows("Done"), within=SOON)
    await on.at_rest()
    assert len(on.scene.host.accepted) == 8
    assert len(on.scene.channel.messages) == 8


@pytest.mark.prove
async def test_a_killed_worker_is_relieved_within_a_lease_and_a_second(on: Cluster) -> None:
    asked = await eight_running(on)
    began = time.monotonic()
    await on.processes["first"].kill()
    of_first = "SELECT count(*) FROM jobs WHERE worker = $1"
    await on.until(lambda rows: rows == [(0,)], of_first, on.numbers["first"], within=LEASE + SOON)
    assert time.monotonic() - began < LEASE + 2
    for each in asked:
        await each.until(shows("Done"), within=SOON)
    await on.at_rest()
    assert len(on.scene.host.accepted) == 8


@pytest.mark.prove
async def test_a_worker_frozen_past_its_lease_does_nothing_twice_when_it_goes_on(on: Cluster) -> None:
    asked = await eight_running(on)
    frozen = on.processes["first"]
    assert frozen.process is not None
    frozen.process.send_signal(signal.SIGSTOP)
    for each in asked:
        await each.until(shows("Done"), within=LEASE + SOON)
    await on.at_rest()
    rows = "SELECT id, state, version, worker FROM jobs WHERE id <= $1 ORDER BY id"
    before = await on.rows(rows, "Z")
    sent = len(on.scene.discord.requests)

    frozen.process.send_signal(signal.SIGCONT)
    seen = "SELECT 1 FROM processes WHERE seen_at > $1"
    await on.until(lambda rows: len(rows) == 3, seen, int(time.time() * 1000), within=SOON)
    late = await on.scene.asks(on.scene.bob, "afterwards")
    await late.until(shows("Done"), within=SOON)
    await on.at_rest()

    assert await on.rows(rows, before[-1][0]) == before
    assert len(on.scene.host.accepted) == 9
    assert all(shows("Done")(on.scene.card(each)) for each in asked)
    assert posted(on, since=sent) == []


@pytest.mark.prove
async def test_an_interaction_that_two_gateways_receive_is_answered_once(on: Cluster) -> None:
    await on.start("worker", "worker")
    await on.start("one", "gateway")
    await on.start("other", "gateway")
    await on.scene.discord.until(lambda: len(on.scene.discord.gateway.live) == 2, within=SOON)
    asked = [await on.scene.asks(member, f"{n}") for n in range(4) for member in (on.scene.alice, on.scene.bob)]
    for each in asked:
        await each.until(shows("Done"), within=SOON)
    await on.at_rest()
    assert await on.rows("SELECT count(*) FROM jobs") == [(8,)]
    assert len(on.scene.host.accepted) == 8
    assert len(on.scene.channel.messages) == 8


@pytest.mark.prove
async def test_a_rolling_restart_under_load_fails_no_command(on: Cluster) -> None:
    await on.start("worker 0", "worker")
    await on.start("gateway 0", "gateway,web")
    asked: list[Interaction] = []
    going = True

    async def ask() -> None:
        while going:
            asked.append(await on.scene.asks(on.scene.alice, f"picture {len(asked)}"))
            await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    for n in (1, 2):
        await on.start(f"worker {n}", "worker")
        assert await on.processes[f"worker {n - 1}"].stop() == 0
        await on.start(f"gateway {n}", "gateway,web")
        await on.scene.discord.until(lambda: len(on.scene.discord.gateway.live) == 2, within=SOON)
        assert await on.processes[f"gateway {n - 1}"].stop() == 0
    going = False
    await asking
    for each in asked:
        await each.until(shows("Done"), within=2 * SOON)
    await on.at_rest()
    assert len(on.scene.host.accepted) == len(asked) > 20


@pytest.mark.prove
async def test_broken_connections_to_the_database_under_load_lose_nothing(on: Cluster, postgres_url: str) -> None:
    for name in ("first", "second"):
        await on.start(name, "worker")
    await on.start("gateway", "gateway,keeper,web")
    asked: list[Interaction] = []
    for n in range(16):
        asked.append(await on.scene.asks(on.scene.alice, f"picture {n}"))
        if n % 5 == 4:
            await cut(postgres_url)
    for each in asked:
        await each.until(shows("Done"), within=LEASE + SOON)
    await on.at_rest()
    assert len(on.scene.host.accepted) == 16


@pytest.mark.prove
@pytest.mark.parametrize("silently", [True, False])
async def test_a_worker_without_its_database_does_nothing_and_goes_on_when_it_is_back(
    on: Cluster, postgres_url: str, *, silently: bool
) -> None:
    async with gate_to(postgres_url) as gate:
        await on.start("first", "worker", database__url=gate.url)
        asked = await eight_running(on, first=False)
        gate.shut(silently=silently)
        for each in asked:
            await each.until(shows("Done"), within=LEASE + 2 * SOON)
        await on.at_rest()
        before = await on.rows("SELECT id, state, version, worker FROM jobs ORDER BY id")
        assert {worker for *_, worker in before} == {on.numbers["second"]}
        sent = len(on.scene.discord.requests)

        gate.open()
        seen = "SELECT 1 FROM processes WHERE id = $1 AND seen_at > $2"
        await on.until(lambda rows: rows, seen, on.numbers["first"], int(time.time() * 1000), within=2 * SOON)
        assert await on.rows("SELECT id, state, version, worker FROM jobs ORDER BY id") == before
        later: list[Interaction] = []
        async with asyncio.timeout(SOON):  # until the gateway has seen it, too
            while not await on.rows("SELECT 1 FROM jobs WHERE worker = $1", on.numbers["first"]):
                later.append(await on.scene.asks(on.scene.bob, f"later {len(later)}"))
        for each in later:
            await each.until(shows("Done"), within=2 * SOON)
        await on.at_rest()
        assert len(on.scene.host.accepted) == len(asked) + len(later)
        assert posted(on, since=sent) == []


@pytest.mark.prove
async def test_a_database_server_that_restarts_under_load_loses_nothing(tmp_path: Path, own_server: Server) -> None:
    async with cluster(tmp_path, own_server.address, pace=SLOW, **NO_LIMITS, **SLOTS) as on:
        await on.start("first", "worker")
        await on.start("second", "worker")
        await on.start("gateway", "gateway,keeper,web")
        asked: list[Interaction] = []
        for how in ("fast", "immediate"):
            restart = asyncio.create_task(asyncio.to_thread(restarted, own_server, how))
            for n in range(8):
                command = await on.scene.alice.slash(on.scene.channel, "imagine", prompt=f"{how} {n}")
                with suppress(TimeoutError):  # the member sees that nobody has answered
                    asked += [command] if not (await command.acked()).ephemeral else []
            await restart
        late = await on.scene.asks(on.scene.bob, "afterwards")
        for each in (*asked, late):
            await each.until(shows("Done"), within=LEASE + SOON)
        await on.at_rest()
        assert len(on.scene.host.accepted) == len(asked) + 1
        assert len(on.scene.channel.messages) == len(asked) + 1


def restarted(own: Server, how: str) -> None:
    own.stop(how)
    own.start()
