"""Providers in every condition, for tests of all of them: recorded answers, and the local image service."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from bot.providers.base import Provider
from bot.providers.http import Client, Timeouts, client
from bot.providers.runcomfy.client import RunComfy
from bot.providers.runflow.client import Runflow
from bot.sandbox.service import Fault, ImageService, Pace
from tests.providers import test_runcomfy, test_runflow
from tests.providers.raw_server import Act, close, hang, in_turn, reset, send, serving
from tests.providers.recorded import NOW, says

JOB, OTHER_JOB = test_runflow.JOB, "01KAJ3T5V7XW9Z1B3D5F7H9K1N"
KEY = "rf_live_s3cret"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
BROKEN: Mapping[str, Act] = {  # after the request was read in full
    "reset": reset,
    "closed": close,
    "silent": hang,
    "headers, then reset": send(ANSWER, then=reset),
    "half an answer, then closed": send(ANSWER + b'{"id": "0199e2a4", "request_id": "0199', then=close),
    "half an answer, then silent": send(ANSWER + b'{"id": "0199e2a4", "request_id": "0199', then=hang),
    "rubbish": send(b"rubbish\r\n\r\n", then=close),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A client of a provider in some condition."""

    provider: Provider
    route: str
    run_id: str  # of the run in this condition, or of the next submit
    paid: Callable[[], int]  # how many requests for a run were made
    taken: Callable[[], list[str]] | None = None  # the runs that the host has, if it truly has any


class Host(Protocol):
    """A source of providers in *conditions*."""

    @property
    def conditions(self) -> Collection[str]: ...

    def __call__(self, condition: str) -> AbstractAsyncContextManager[Stage]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    build: Callable[[Client], Provider]
    route: str
    run_id: str


COMFY = Kind(
    "runcomfy", lambda http: RunComfy(http, now=lambda: NOW), "google/nano-banana-2/text-to-image", test_runcomfy.RUN
)
FLOW = Kind("runflow", lambda http: Runflow(http, now=lambda: NOW), "google/nano-banana-2", test_runflow.RUN)


@asynccontextmanager
async def connected(kind: Kind, url: str) -> AsyncIterator[Provider]:
    provider = kind.build(client(url, KEY, timeouts=Timeouts(connect=1.0, read=0.5, submit_read=0.5)))
    try:
        async with asyncio.timeout(5):
            yield provider
    finally:
        await provider.aclose()


def nobody() -> str:
    """A URL without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# --- recorded answers: for each condition the cases to answer with in order; the last one is repeated

COMFY_SAYS: Mapping[str, tuple[str, ...]] = {
    "takes it": ("submit_taken",),
    "takes it without an id": ("submit_without_request_id",),
    "200 html": ("submit_200_html",),
    "200 cut short": ("submit_200_truncated",),
    "302": ("submit_302",),
    "500": ("submit_500",),
    "500 that names the balance": ("submit_500_names_balance",),
    "502 html": ("submit_502_html",),
    "503 html": ("submit_503_html",),
    "503 of a gateway": ("submit_503_gateway",),
    "503 of its own": ("submit_503_own",),
    "504": ("submit_504",),
    "408": ("submit_408",),
    "429": ("submit_429",),
    "429 with Retry-After": ("submit_429_retry_after",),
    "401": ("submit_401",),
    "402": ("submit_402",),
    "403": ("submit_403",),
    "403 of a firewall": ("submit_403_firewall",),
    "no such model": ("submit_404",),
    "bad request": ("submit_400_plain",),
    "bad input": ("submit_422_enum",),
    "bad input, echoed": ("submit_422_echo",),
    "against the rules": ("submit_422_content",),
    "queued": ("status_in_queue_no_place",),
    "running": ("status_in_progress",),
    "a new word": ("status_unknown_word",),
    "ready": ("status_completed", "result_image"),
    "failed": ("status_completed", "result_failed_text"),
    "refused": ("status_completed", "result_failed_safety"),
    "nothing to show": ("status_completed", "result_images_empty"),
    "cancelled": ("status_cancelled", "result_cancelled"),
    "cancelled, one l": ("status_canceled", "result_canceled"),
    "unknown run": ("status_404",),
    "unknown run, seen once": ("status_404",) * 5 + ("status_in_progress", "status_404"),
    "404 html": ("status_404_html",),
    "unreadable": ("status_200_html",),
    "down": ("status_502_html",),
    "throttling": ("status_429",),
    "token revoked": ("status_401",),
    "balance spent": ("status_402",),
    "cancels": ("cancel_202_cancelled",),
    "model": ("model",),
}
FLOW_SAYS: Mapping[str, tuple[str, ...]] = {
    "takes it": ("submit_created",),
    "takes it without an id": ("submit_without_id",),
    "200 html": ("submit_200_html",),
    "200 cut short": ("submit_200_truncated",),
    "302": ("submit_302",),
    "500": ("submit_500",),
    "500 that names the balance": ("submit_500_names_balance",),
    "502 html": ("submit_502_html",),
    "503 html": ("submit_503_html",),
    "503 of a gateway": ("submit_503_gateway",),
    "503 of its own": ("submit_503_model_unavailable",),
    "504": ("submit_504",),
    "408": ("submit_408",),
    "429": ("submit_429",),
    "429 with Retry-After": ("submit_429_retry_after",),
    "401": ("submit_401",),
    "402": ("submit_402",),
    "403": ("submit_403",),
    "403 of a firewall": ("submit_403_firewall",),
    "no such model": ("submit_404",),
    "bad request": ("submit_400",),
    "bad input": ("submit_422_enum",),
    "bad input, echoed": ("submit_422_echo",),
    "against the rules": ("submit_422_content",),
    "queued": ("run_queued",),
    "running": ("run_running",),
    "a new word": ("run_unknown_word",),
    "ready": ("run_succeeded",),
    "failed": ("run_failed",),
    "refused": ("run_failed_safety",),
    "nothing to show": ("run_outputs_empty",),
    "cancelled": ("run_cancelled",),
    "cancelled, one l": ("run_canceled",),
    "unknown run": ("run_404",),
    "unknown run, seen once": ("run_404",) * 5 + ("run_running", "run_404"),
    "404 html": ("run_404_html",),
    "unreadable": ("run_200_html",),
    "down": ("run_502_html",),
    "throttling": ("run_429",),
    "token revoked": ("run_401",),
    "balance spent": ("run_402",),
    "cancels": ("run_queued",),
    "a run of ours": ("search_one",),
    "runs of others": ("search_of_others",),
    "model": ("model",),
}


class Recorded:
    def __init__(self, kind: Kind, cases: Mapping[str, tuple[str, ...]]) -> None:
        self.kind = kind
        self.cases = cases
        self.conditions = {"nobody there", "reset before reading", *BROKEN, *cases}

    @asynccontextmanager
    async def __call__(self, condition: str) -> AsyncIterator[Stage]:
        async with serving(self._act(condition), at_once=condition == "reset before reading") as server:
            url = nobody() if condition == "nobody there" else server.url
            async with connected(self.kind, url) as provider:
                yield Stage(
                    provider,
                    self.kind.route,
                    self.kind.run_id,
                    lambda: sum(each.method == "POST" for each in server.got),
                )

    def _act(self, condition: str) -> Act:
        if condition not in self.cases:
            return BROKEN.get(condition, reset)
        return in_turn(*(says(self.kind.name, case) for case in self.cases[condition]))


# --- the local image service

SUBMITS: Mapping[str, Fault | None] = {  # nothing was ordered yet
    "takes it": None,
    "no such model": None,
    "model": None,
    "nobody there": None,
    "reset before reading": Fault("any", "reset_before_read", times=None),
    "reset": Fault("any", "reset", times=None),
    "silent": Fault("any", "hang", times=None),
    "taken, then reset": Fault("submit", "accepted_then_lost"),
    "taken, half an answer": Fault("submit", "truncated"),
    "taken, then 502": Fault("submit", "html_502", accepted=True),
    "takes it without an id": Fault("submit", "no_request_id"),
    "500": Fault("submit", "status:500"),
    "502 html": Fault("submit", "html_502"),
    "503 of its own": Fault("submit", "envelope_503", retry_after="5"),
    "503 of a gateway": Fault("submit", "status:503", body={"message": "no healthy upstream"}),
    "429": Fault("submit", "429"),
    "429 with Retry-After": Fault("submit", "429", retry_after="17"),
    "401": Fault("submit", "status:401"),
    "402": Fault("submit", "status:402"),
    "403": Fault("submit", "status:403", body={"message": "not allowed"}),
    "bad request": Fault("submit", "status:400", body={"message": "no such field"}),
    "bad input": Fault("submit", "status:422"),
}
POLLS: Mapping[str, Fault | None] = {  # after a run of ours was taken
    "queued": Fault("submit", "stuck_queue"),
    "running": None,
    "a new word": Fault("submit", "unknown_status:warming_up", n=9),
    "ready": None,
    "failed": Fault("submit", "fail"),
    "refused": Fault("submit", "refuse"),
    "nothing to show": Fault("submit", "empty_output"),
    "cancelled": None,
    "unknown run": Fault("submit", "lost"),
    "a run of ours": None,
    "runs of others": None,
    "cancels": Fault("submit", "stuck_queue"),
    "down": Fault("any", "html_502", times=None),
    "throttling": Fault("any", "429", times=None),
    "token revoked": Fault("any", "status:401", times=None),
    "balance spent": Fault("any", "status:402", times=None),
}


class Served:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.conditions = {*SUBMITS, *POLLS}

    @asynccontextmanager
    async def __call__(self, condition: str) -> AsyncIterator[Stage]:
        async with ImageService(pace=Pace(queue_s=0, run_s=0, slots=None)).running() as service:
            url = service.url if self.kind is COMFY else service.runflow_url
            async with connected(self.kind, nobody() if condition == "nobody there" else url) as provider:
                run_id = await self._ordered(service, provider, condition=condition) if condition in POLLS else ""
                before = len(service.log)
                if (fault := {**SUBMITS, **POLLS}[condition]) and (condition in SUBMITS or fault.op == "any"):
                    service.faults.replace([fault])
                yield Stage(
                    provider,
                    "google/never-was" if condition == "no such model" else self.kind.route,
                    run_id,
                    lambda: sum(each.op == "submit" for each in service.log[before:]),
                    lambda: service.accepted,
                )

    async def _ordered(self, service: ImageService, provider: Provider, *, condition: str) -> str:
        fault = POLLS[condition]
        service.faults.replace([fault] if fault and fault.op == "submit" else [])
        service.hold = condition in ("running", "cancelled")
        job_id = OTHER_JOB if condition == "runs of others" else JOB
        run_id = await provider.submit(self.kind.route, {"prompt": "a fox"}, job_id=job_id)
        if service.hold:
            service.advance(run_id, "in_progress" if condition == "running" else "cancelled")
        return run_id


HOSTS: Mapping[str, Host] = {
    "runcomfy recorded": Recorded(COMFY, COMFY_SAYS),
    "runflow recorded": Recorded(FLOW, FLOW_SAYS),
    "runcomfy served": Served(COMFY),
    "runflow served": Served(FLOW),
}
