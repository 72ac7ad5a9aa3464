"""Identifies at the gateway: at most one in five seconds in each bucket, over all processes."""

import asyncio
import itertools
from collections import defaultdict

from bot.ui.transport.identify import PACE, IdentifyTurns
from tests.ui.transport.test_limiter import Server
from tests.ui.transport.test_rate_limits import Clock
from tests.ui.transport.test_shared_channels import Shared


async def test_shards_of_two_processes_identify_five_seconds_apart_in_each_bucket() -> None:
    clock, servers = Clock(), dict[str, Server]()
    times: dict[int, list[float]] = defaultdict(list)

    async def identify(turns: IdentifyTurns, shard_id: int) -> None:
        await turns.identify_turn(shard_id, max_concurrency=2)
        times[shard_id % 2].append(clock.now)

    async with asyncio.TaskGroup() as group:
        for process in range(2):
            turns = IdentifyTurns(Shared(clock, servers), now=clock, sleep=clock.sleep)
            for n in range(4):
                group.create_task(identify(turns, 2 * n + process))
                group.create_task(identify(turns, 2 * n + 1 - process))
        await asyncio.sleep(0)
        group.create_task(clock.run())

    assert sorted(times) == [0, 1]
    for each in times.values():
        assert len(each) == 8
        assert each[0] - 100 < 0.1
        assert all(5 < later - at < 2 * PACE.gap for at, later in itertools.pairwise(each))
