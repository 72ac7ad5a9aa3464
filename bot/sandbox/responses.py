"""HTTP answers of the local image service: complete, truncated, slow, endless or none at all."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from aiohttp import web

from bot.sandbox.faults import AFTER, INSTEAD, Fault

HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
DROPPED = 999  # placeholder status of a response that is never sent
INSTEAD_NAMES = {each.split(":<")[0] for each in INSTEAD}
CRASHED = "Generation failed: the worker stopped unexpectedly."
REFUSED = "The request was blocked by the safety policy: prohibited content."


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer: the HTTP status and the body."""

    status: int
    body: Any


class FaultedCall:
    """The faults of one call, by name (the first of each name counts), and what the call leaves for the log."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._all = list(faults)
        self.run_id: str | None = None  # the run that was accepted
        self.note = ""

    def add(self, faults: Iterable[Fault]) -> None:
        self._all += faults

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._all)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> Fault | None:
        return next((each for each in self._all if each.name == name), None)

    def number(self, name: str, param: str, default: float) -> float:
        fault = self.get(name)
        return float(fault.params.get(param, default)) if fault else default

    @property
    def instead(self) -> Fault | None:
        return next((each for each in self._all if each.name in INSTEAD_NAMES), None)

    @property
    def accepted(self) -> bool:
        return bool(self.instead and self.instead.params.get("accepted"))

    @property
    def run_faults(self) -> list[Fault]:
        return [each for each in self._all if each.describes_run()]

    async def wait(self, stopping: asyncio.Event) -> None:
        if "latency" in self:
            await pause(self.number("latency", "seconds", 1.0), stopping)


async def pause(seconds: float, stopping: asyncio.Event) -> None:
    """Wait, at most until the service stops."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


def drop(request: web.Request) -> web.Response:
    """Reset the connection (RST, not FIN) without an answer."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:  # a linger time of 0 makes close() send a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=DROPPED)


async def instead(
    fault: Fault, request: web.Request, *, stopping: asyncio.Event, envelope: Callable[[Fault], Answer]
) -> web.StreamResponse:
    """Send *fault* in place of the answer; *envelope* builds the provider's error body."""
    match fault.name:
        case "reset":
            return drop(request)
        case "hang":
            await stopping.wait()
            return drop(request)
        case "html_502":
            return web.Response(status=502, body=HTML, content_type="text/html")
        case _:
            return as_response(envelope(fault), headers=_headers(fault))


async def send_with_faults(
    answer: Answer, met: FaultedCall, request: web.Request, *, id_key: str, earlier: str | None
) -> web.StreamResponse:
    """Send the answer, changed by the faults after the work. *id_key*: the key that holds the run's id."""
    names = {each.name for each in met if each.name in AFTER}
    if "accepted_then_lost" in names:
        return drop(request)
    body = answer.body
    if "no_request_id" in names:
        body = {key: value for key, value in body.items() if key != id_key}
    if "same_id" in names and earlier:
        body = {**body, id_key: earlier}
    raw = json.dumps(body).encode()
    if "truncated" in names:
        return await send_half(request, raw, kind="application/json", status=answer.status)
    if "sliced" in names:
        seconds = met.number("sliced", "seconds", 0.2)
        return await send_slowly(request, raw, kind="application/json", status=answer.status, seconds=seconds)
    response = as_response(Answer(answer.status, body))
    if "wrong_type" in names:
        response.content_type = "text/plain"
    if "time_skew" in names:
        response.headers["Date"] = formatdate(time.time() + met.number("time_skew", "seconds", 3600.0), usegmt=True)
    return response


async def send_half(request: web.Request, raw: bytes, *, kind: str, status: int = 200) -> web.StreamResponse:
    """Send send_half of the announced length, then close the connection."""
    response = web.StreamResponse(status=status, headers={"Content-Type": kind, "Content-Length": str(len(raw))})
    await response.prepare(request)
    await response.write(raw[: len(raw) // 2])
    if request.transport is not None:
        request.transport.close()  # not a reset: that could discard the send_half that was sent
    return response


async def send_slowly(
    request: web.Request, raw: bytes, *, kind: str, status: int = 200, seconds: float, pieces: int = 20
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={"Content-Type": kind, "Content-Length": str(len(raw))})
    await response.prepare(request)
    step = max(1, -(-len(raw) // pieces))
    with contextlib.suppress(ConnectionError):  # the client may close early
        for start in range(0, len(raw), step):
            await response.write(raw[start : start + step])
            await asyncio.sleep(seconds / pieces)
    return response


async def send_endless(request: web.Request, *, kind: str, stopping: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while not stopping.is_set():
            await response.write(bytes(65_536))
            await asyncio.sleep(0)
    if request.transport is not None:
        request.transport.abort()
    return response


def as_response(answer: Answer, *, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(answer.body, status=answer.status, headers=headers)


def _headers(fault: Fault) -> dict[str, str]:
    given: dict[str, Any] = dict(fault.params.get("headers", {}))
    if "retry_after" in fault.params:
        given["Retry-After"] = fault.params["retry_after"]
    return {str(key): str(value) for key, value in given.items()}
