"""How the local image service answers, half answers and does not answer at all, over the socket."""

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
DROPPED = 999  # the status of a response that nobody gets to see
INSTEAD_NAMES = {each.split(":<")[0] for each in INSTEAD}
CRASHED = "Generation failed: the worker stopped unexpectedly."
REFUSED = "The request was blocked by the safety policy: prohibited content."


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer: the HTTP status and the body."""

    status: int
    body: Any


class FaultedCall:
    """The faults one call meets, by name; the first of each kind counts. And what its work leaves for the log."""

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
    def traits(self) -> list[Fault]:
        return [each for each in self._all if each.sticks()]

    async def wait(self, stopping: asyncio.Event) -> None:
        if "latency" in self:
            await pause(self.number("latency", "seconds", 1.0), stopping)


async def pause(seconds: float, stopping: asyncio.Event) -> None:
    """Wait, but not past the end of the service."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


def drop(request: web.Request) -> web.Response:
    """End the connection with a reset (RST, not FIN) and no answer."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:  # lingering for zero seconds is what makes it a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=DROPPED)


async def instead(
    fault: Fault, request: web.Request, *, stopping: asyncio.Event, envelope: Callable[[Fault], Answer]
) -> web.StreamResponse:
    """What comes in place of an answer; *envelope*: the host's own way to say that something went wrong."""
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


async def spoil(
    answer: Answer, met: FaultedCall, request: web.Request, *, id_key: str, earlier: str | None
) -> web.StreamResponse:
    """The answer, as the faults that come after the work leave it. *id_key*: where it names the run."""
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
        return await half(request, raw, kind="application/json", status=answer.status)
    if "sliced" in names:
        seconds = met.number("sliced", "seconds", 0.2)
        return await slices(request, raw, kind="application/json", status=answer.status, seconds=seconds)
    response = as_response(Answer(answer.status, body))
    if "wrong_type" in names:
        response.content_type = "text/plain"
    if "time_skew" in names:
        response.headers["Date"] = formatdate(time.time() + met.number("time_skew", "seconds", 3600.0), usegmt=True)
    return response


async def half(request: web.Request, raw: bytes, *, kind: str, status: int = 200) -> web.StreamResponse:
    """Half of what the length promises, then a reset."""
    response = web.StreamResponse(status=status, headers={"Content-Type": kind, "Content-Length": str(len(raw))})
    await response.prepare(request)
    await response.write(raw[: len(raw) // 2])
    if request.transport is not None:
        request.transport.close()  # not a reset: that could overtake the half that was sent
    return response


async def slices(
    request: web.Request, raw: bytes, *, kind: str, status: int = 200, seconds: float, pieces: int = 20
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={"Content-Type": kind, "Content-Length": str(len(raw))})
    await response.prepare(request)
    step = max(1, -(-len(raw) // pieces))
    with contextlib.suppress(ConnectionError):  # the client may have seen enough
        for start in range(0, len(raw), step):
            await response.write(raw[start : start + step])
            await asyncio.sleep(seconds / pieces)
    return response


async def endless(request: web.Request, *, kind: str, stopping: asyncio.Event) -> web.StreamResponse:
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
