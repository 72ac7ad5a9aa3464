"""Floods the callback addresses from a process of its own, as its argument says.

It prints, as JSON, how each kind of callback was answered and how long the answers took.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PADDING = b" " * 1024  # a body that is read and hashed for nothing
GIGABYTE, CHUNK = 1 << 30, 16 * 1024  # bytes
BYTE_EVERY = 0.5  # seconds
GOOD_EVERY = 0.05  # seconds from the answer to a good callback until the next
TIMEOUT = 30.0  # seconds until a client without an answer gives up


@dataclass(slots=True)
class Came:
    statuses: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    seconds: float = 0.0


Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Flood:
    """*addresses* by run, all of them existing; *kinds*: number of requests of each kind, and how many at once."""

    def __init__(self, *, addresses: dict[str, str], kinds: dict[str, tuple[int, int]], secret: str) -> None:
        self._port = urlsplit(next(iter(addresses.values()))).port
        paths = {run_id: urlsplit(each).path for run_id, each in addresses.items()}
        self._paths = itertools.cycle(paths.values())
        self._good_ones = itertools.cycle([_good(path, run_id, secret=secret) for run_id, path in paths.items()])
        self._kinds = kinds
        self._over = asyncio.Event()
        self.came = {kind: Came() for kind in (*kinds, "good")}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._all("good", itertools.repeat(1), at_once=1))]
            if "silent" in self._kinds:
                times, at_once = self._kinds["silent"]
                beside.append(group.create_task(self._all("silent", range(times), at_once=at_once)))
            bad = [
                group.create_task(self._all(kind, range(times), at_once=at_once))
                for kind, (times, at_once) in self._kinds.items()
                if kind != "silent"
            ]
            await asyncio.wait(bad)
            self._over.set()

    async def _all(self, kind: str, times: Any, *, at_once: int) -> None:
        turns, began = iter(times), time.monotonic()
        await asyncio.gather(*(self._in_turn(kind, turns) for _ in range(at_once)))
        self.came[kind].seconds = time.monotonic() - began

    async def _in_turn(self, kind: str, turns: Iterator[int]) -> None:
        send: Send = getattr(self, f"_{kind}")
        for _ in turns:
            if self._over.is_set():
                return
            began = time.perf_counter()
            status = await self._one(send)
            self.came[kind].statuses["held" if kind == "silent" and self._over.is_set() else status] += 1
            self.came[kind].ms.append((time.perf_counter() - began) * 1000)
            if kind == "good":
                await asyncio.sleep(GOOD_EVERY)

    async def _one(self, send: Send) -> str:
        """One connection, one request and its answer; stops sending once answered."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                sending = asyncio.ensure_future(send(writer))
                try:
                    line = await reader.readline()
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
            return line.split()[1].decode() if line else "closed"
        except TimeoutError:
            return "kept_waiting"
        except OSError:
            return "reset"
        finally:
            if writer is not None:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    # --- requests

    async def _good(self, writer: asyncio.StreamWriter) -> None:
        writer.write(next(self._good_ones))

    async def _forged(self, writer: asyncio.StreamWriter) -> None:
        signature = f"Runflow-Signature: {'0' * 64}"
        writer.write(_head(next(self._paths), f"Content-Length: {len(PADDING)}", signature) + PADDING)

    async def _slow(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(next(self._paths), "Content-Length: 1000"))
        while True:
            writer.write(b" ")
            await asyncio.sleep(BYTE_EVERY)

    async def _large(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(next(self._paths), f"Content-Length: {GIGABYTE}"))
        while True:
            writer.write(bytes(CHUNK))
            await writer.drain()

    async def _chunked(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(next(self._paths), "Transfer-Encoding: chunked"))
        while True:
            writer.write(b"%x\r\n%b\r\n" % (CHUNK, bytes(CHUNK)))
            await writer.drain()

    async def _silent(self, writer: asyncio.StreamWriter) -> None:
        """Send nothing until the flood is over."""
        await self._over.wait()
        writer.close()


def _good(path: str, run_id: str, *, secret: str) -> bytes:
    body = json.dumps({"event": "run.completed", "run_id": run_id}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return _head(path, f"Content-Length: {len(body)}", f"Runflow-Signature: {signature}") + body


def _head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", "")).encode()


async def main(told: dict[str, Any]) -> str:
    flood = Flood(**told)
    await flood.run()
    return json.dumps(
        {kind: {"statuses": came.statuses, "ms": came.ms, "seconds": came.seconds} for kind, came in flood.came.items()}
    )


if __name__ == "__main__":
    print(asyncio.run(main(json.loads(sys.argv[1]))))
