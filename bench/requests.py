"""CPU of a status request through the product's client, against a bare aiohttp GET with JSON on the same server.

The server is a process of its own on 127.0.0.1. Both are measured in turns, five times; the rows are medians.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import aiohttp

from bot.providers import http
from bot.providers.runcomfy.client import RunComfy

ROUNDS, REQUESTS = 5, 3_000
BODY = json.dumps({"request_id": "r-1", "status": "in_progress", "queue_position": None}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class _Server(asyncio.Protocol):
    """Answers every request, however it arrives, with the same body."""

    connections = 0

    def connection_made(self, transport: Any) -> None:
        type(self).connections += 1
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        requests = self._buffer.count(b"\r\n\r\n")
        if requests:
            self._buffer = self._buffer[self._buffer.rindex(b"\r\n\r\n") + 4 :]
            self._transport.write((HEAD + BODY) * requests)


def _serve(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(pipe.recv):
            pipe.send(_Server.connections)

    asyncio.run(run())


def main() -> list[dict[str, Any]]:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        return asyncio.run(_measure(f"http://127.0.0.1:{ours.recv()}", ours))
    finally:
        server.terminate()
        server.join()


async def _measure(url: str, pipe: Connection) -> list[dict[str, Any]]:
    rows = []
    async with http.client(url, "token") as client, aiohttp.ClientSession() as session:
        provider = RunComfy(client)

        async def poll() -> None:
            await provider.observe("r-1")

        async def get() -> None:
            async with session.get(f"{url}/v1/requests/r-1/status") as response:
                json.loads(await response.read())

        for at_once in (1, 16, 50):
            taken: dict[str, list[float]] = {"ours": [], "aiohttp": []}
            for _ in range(ROUNDS):
                taken["aiohttp"].append(await _cpu(get, at_once))
                taken["ours"].append(await _cpu(poll, at_once))
            mine, bare = median(taken["ours"]), median(taken["aiohttp"])
            rows += [
                _row(f"us_ours_{at_once}", mine, "us"),
                _row(f"us_aiohttp_{at_once}", bare, "us"),
                _row(f"ours_over_aiohttp_{at_once}", mine / bare, ""),
            ]
        before = await _connections(pipe)
        async with http.client(url, "token") as again:
            provider = RunComfy(again)
            await _cpu(poll, 50)
            opened = await _connections(pipe) - before
    rows.append(_row("connections_per_request_50", opened / REQUESTS, ""))
    return rows


async def _connections(pipe: Connection) -> int:
    pipe.send(True)
    found: int = await asyncio.to_thread(pipe.recv)
    return found


async def _cpu(request: Callable[[], Awaitable[None]], at_once: int) -> float:
    """Microseconds of CPU for each of many requests, *at_once* at a time."""

    async def several() -> None:
        for _ in range(REQUESTS // at_once):
            await request()

    began = time.process_time()
    await asyncio.gather(*(several() for _ in range(at_once)))
    return 1e6 * (time.process_time() - began) / (REQUESTS // at_once * at_once)


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit}
