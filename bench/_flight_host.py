"""A RunComfy API that costs little CPU, in a process of its own: submit, status, result, pictures, balance.

Every run ends a set time after its submission: a number of seconds at the end of its prompt, or `HOLD` for never.
"""

import asyncio
import json
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import uvloop
from PIL import Image

HOLD = "hold"
REQUEST = re.compile(rb"(GET|POST) (\S+) HTTP/1\.1\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
IN_PROGRESS, COMPLETED = b'{"status": "in_progress"}', b'{"status": "completed"}'


def _picture() -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(out, "PNG")
    return out.getvalue()


class _State:
    def __init__(self) -> None:
        self.port = 0
        self.ends: dict[str, float] = {}  # run → when it ends (time.time)
        self.prompts: dict[str, str] = {}  # run → prompt
        self.counts: Counter[str] = Counter()  # requests and connections by kind
        self.polled: dict[str, float] = {}  # run → its first poll
        self.per_second: Counter[int] = Counter()  # polls
        self.picture = _picture()

    def stats(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "ends": {self.prompts[run]: end for run, end in self.ends.items()},
            "polled": self.polled,
            "per_second": dict(self.per_second),
        }

    def answer(self, method: bytes, path: str, body: bytes) -> tuple[str, bytes, bytes]:
        """Kind of the request, type and body of the answer."""
        if method == b"POST" and path.startswith("/v1/models/"):
            run, prompt = f"run-{len(self.ends)}", json.loads(body)["prompt"]
            seconds = prompt.rsplit(" ", 1)[-1]
            self.ends[run] = time.time() + (1e9 if seconds == HOLD else float(seconds))
            self.prompts[run] = prompt
            return "submits", b"application/json", json.dumps({"request_id": run}).encode()
        if path.startswith("/v1/requests/"):
            _, _, _, run, what = path.split("?", maxsplit=1)[0].split("/")
            now = time.time()
            if what == "status":
                self.polled.setdefault(run, now)
                self.per_second[int(now)] += 1
                done = now >= self.ends.get(run, 1e12)
                return "polls", b"application/json", COMPLETED if done else IN_PROGRESS
            link = f"http://127.0.0.1:{self.port}/p/{run}.png"
            result = {"status": "completed", "output": {"images": [link]}, "cost": "0.04"}
            return "results", b"application/json", json.dumps(result).encode()
        if path.startswith("/p/"):
            return "pictures", b"image/png", self.picture
        return "others", b"application/json", b'{"base_price_usd": "0.04", "balance_usd": "1000", "status": "ok"}'


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._buffer = b""
        self._used = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[: end + 4]
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(self._buffer) < len(head) + length:
                return
            body, self._buffer = self._buffer[len(head) : len(head) + length], self._buffer[len(head) + length :]
            request = REQUEST.match(head)
            assert request is not None, head
            kind, form, answer = self._state.answer(request[1], request[2].decode(), body)
            self._state.counts[kind] += 1
            if not self._used:
                self._used = True
                self._state.counts[f"connections_{kind}"] += 1
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (form, len(answer), answer)
            )


def _serve(pipe: Connection) -> None:
    async def run() -> None:
        state, loop = _State(), asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0, backlog=1024)
        state.port = server.sockets[0].getsockname()[1]
        pipe.send(state.port)
        while (asked := await asyncio.to_thread(pipe.recv)) is not None:
            if asked == "reset":
                port = state.port
                state.__init__()  # type: ignore[misc]
                state.port = port
            pipe.send(state.stats())

    uvloop.run(run())


class Host:
    """The process, from the one that measures."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    async def stats(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._ask, "stats")

    async def reset(self) -> None:
        await asyncio.to_thread(self._ask, "reset")

    def _ask(self, what: str) -> dict[str, Any]:
        self._pipe.send(what)
        found: dict[str, Any] = self._pipe.recv()
        return found


@contextmanager
def running() -> Iterator[Host]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Host(ours, ours.recv())
    finally:
        process.terminate()
        process.join()
