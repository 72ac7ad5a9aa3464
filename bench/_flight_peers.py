"""Pollers as three SDKs of image services have them: a task for each job that asks at a fixed interval over httpx.

Only the intervals and the structure are those of fal_client, replicate and openai; the requests are the same as ours.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import httpx

INTERVALS = {"fal": 0.1, "replicate": 0.5, "openai": 1.0}  # seconds


async def _job(client: httpx.AsyncClient, url: str, start: float, duration: float, interval: float) -> float:
    await asyncio.sleep(start)
    answer = await client.post(f"{url}/v1/models/x", json={"prompt": f"peer {duration}"})
    run, ends = answer.json()["request_id"], time.time() + duration
    while True:
        status = (await client.get(f"{url}/v1/requests/{run}/status")).json()["status"]
        if status == "completed":
            await client.get(f"{url}/v1/requests/{run}/result")
            return time.time() - ends
        await asyncio.sleep(interval)


def _measure(pipe: Connection, url: str, interval: float, jobs: Sequence[tuple[float, float]], limit: float) -> None:
    async def run() -> tuple[list[float], float]:
        began = time.process_time()
        async with httpx.AsyncClient(timeout=60) as client:
            tasks = [asyncio.create_task(_job(client, url, start, duration, interval)) for start, duration in jobs]
            done, late = await asyncio.wait(tasks, timeout=limit)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        delays = [each.result() for each in done if each.exception() is None]
        return delays, time.process_time() - began

    pipe.send(asyncio.run(run()))


async def measure(
    url: str, name: str, jobs: Sequence[tuple[float, float]], *, limit: float
) -> tuple[list[float], float]:
    """The delays of those jobs that were seen within *limit* seconds, and the seconds of CPU of all.

    *jobs*: when each starts, and how long its run takes, in seconds.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_measure, args=(theirs, url, INTERVALS[name], jobs, limit), daemon=True
    )
    process.start()
    try:
        found: tuple[list[float], float] = await asyncio.to_thread(ours.recv)
        return found
    finally:
        process.join()
