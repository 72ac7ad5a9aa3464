"""40 clients that request /metrics or /healthz continuously: how fast are interactions acknowledged meanwhile?

The bot is a process of its own, the clients are another; Discord and a member who keeps asking for /usage run here,
all on 127.0.0.1. In `busy` a process that only burns as much processor stands for the clients.
"""

import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from bot.sandbox.service import Pace
from tests.scenarios.harness import Scene, scene

ASKED, CLIENTS = 150, 40
EVERY = 0.01  # seconds between an acknowledged /usage and the next
BURN = ["-c", "print('up', flush=True)\nwhile True: pass"]


def main() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[dict[str, Any]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with scene(folder, pace=Pace(0, 0, None), web__port=port) as bot:
        await _phase(bot, "warm", [])
        return [
            *await _phase(bot, "quiet", []),
            *await _phase(bot, "busy", BURN),
            *await _phase(bot, "metrics", _clients(port, "/metrics")),
            *await _phase(bot, "healthz", _clients(port, "/healthz")),
        ]


def _clients(port: int, path: str) -> list[str]:
    return ["-m", "bench.web", f"http://127.0.0.1:{port}{path}"]


async def _phase(bot: Scene, name: str, beside: list[str]) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(sys.executable, *(beside or ["-c", "print()"]), stdout=-1)
    assert process.stdout is not None
    await process.stdout.readline()  # they have begun
    acks = []
    for _ in range(ASKED):
        asked = await bot.bob.slash(bot.channel, "usage")
        acks.append((await asked.acked()).ms)
        await asyncio.sleep(EVERY)
    if process.returncode is None:
        process.terminate()
    said = (await process.stdout.read()).decode()
    await process.wait()
    parts = quantiles(acks, n=100, method="inclusive")
    rows = [_row(f"{name}_ack_p50", parts[49], "ms"), _row(f"{name}_ack_p99", parts[98], "ms")]
    rows.append(_row(f"{name}_ack_max", max(acks), "ms"))
    return [*rows, _row(f"{name}_answers", json.loads(said), "/s")] if said.strip() else rows


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 2), "unit": unit}


# --- the clients


async def ask(url: str) -> None:
    """Request *url* on CLIENTS connections until the process is terminated, then print the answers per second."""
    loop, parts, answers = asyncio.get_running_loop(), urlsplit(url), 0
    request = f"GET {parts.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    async def client() -> None:
        nonlocal answers
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while True:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            answers += 1

    asking = asyncio.gather(*(client() for _ in range(CLIENTS)))
    loop.add_signal_handler(15, asking.cancel)
    began = loop.time()
    print("up", flush=True)
    try:
        await asking
    except asyncio.CancelledError:
        print(answers / (loop.time() - began))


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1]))
