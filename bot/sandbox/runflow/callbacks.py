"""Sends callbacks when runs of the emulated Runflow end: signature, retries, delivery history.

Sources: docs.runflow.io/concepts/callbacks and /guides/verify-callback-signatures. The signature's key is the whole
secret, `whsec_` included; there are at most three attempts, and only a missing answer or a 5xx is retried.
"""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp

from bot.core.references import is_loopback
from bot.sandbox.control import Controls
from bot.sandbox.faults import CALLBACK, Fault
from bot.sandbox.responses import FaultedCall
from bot.sandbox.runflow.answers import iso
from bot.sandbox.runflow.runs import FlowRun, uuid7
from bot.sandbox.runs import Run, utc_ms

RETRY_DELAYS = (1.0, 2.0)  # seconds before the second and the third attempt
TIMEOUT = 10.0  # seconds for an answer
BuildPayload = Callable[[FlowRun, FaultedCall], Awaitable[dict[str, Any]]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attempt:
    status_code: int | None
    response_body: str | None
    response_time_ms: int
    error_message: str | None

    @property
    def should_retry(self) -> bool:
        return self.status_code is None or self.status_code >= 500


@dataclass(slots=True)
class Delivery:
    """One callback and its attempts; without any, it was never sent."""

    run_id: str
    url: str
    payload: dict[str, Any]
    id: str = field(default_factory=uuid7)
    request_id: str = field(default_factory=lambda: str(uuid4()))
    created_at: int = field(default_factory=utc_ms)
    next_attempt_at: int | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        return bool(self.attempts) and 200 <= (self.attempts[-1].status_code or 0) < 300

    def as_json(self) -> dict[str, Any]:
        ids = {"id": self.id, "run_id": self.run_id, "url": self.url, "request_id": self.request_id}
        return ids | {
            "event": self.payload["event"],
            "payload": self.payload,
            "delivered": self.delivered,
            "attempt_count": len(self.attempts),
            "max_attempts": 1 + len(RETRY_DELAYS),
            "next_attempt_at": iso(self.next_attempt_at),
            "created_at": iso(self.created_at),
            "attempts": [asdict(each) for each in self.attempts],
        }


class Callbacks:
    """Sends callbacks. *secrets*: the first one signs; without any, callbacks are unsigned. *sleep*: waits seconds."""

    def __init__(
        self, controls: Controls, *, build_payload: BuildPayload, secrets: Sequence[str], sleep: Sleep
    ) -> None:
        self.secrets = list(secrets)
        self.deliveries: list[Delivery] = []
        self._controls = controls
        self._build_payload = build_payload
        self._sleep = sleep
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._postponed: list[FlowRun] = []  # runs that ended while the service was stopped
        self._http: aiohttp.ClientSession | None = None
        controls.queue.changed = self._woken.set
        controls.queue.ended = self._ended

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        self._http = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        self._watching = asyncio.create_task(self._watch())
        while self._postponed:
            self._ended(self._postponed.pop(0))

    async def stop(self) -> None:
        tasks = [*self._tasks, *([self._watching] if self._watching else [])]
        self._watching = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def settled(self) -> None:
        """Wait until all callbacks are sent."""
        self._controls.queue.settle()
        while self._tasks:
            await asyncio.gather(*self._tasks)
            await asyncio.sleep(0)  # lets finished tasks remove themselves

    async def send(
        self, run_id: str, faults: Iterable[Fault] = (), *, url: str | None = None, event: str | None = None
    ) -> list[Delivery]:
        """Call back about a run now, whatever its state; `KeyError` for no run, `ValueError` for no address."""
        run = self._controls.runs[run_id]
        if not isinstance(run, FlowRun):
            raise ValueError("RunComfy calls nobody back")  # noqa: TRY004 - as wrong as no address
        return await self._send(run, FaultedCall(faults), url=url, event=event)

    async def _send(
        self, run: FlowRun, met: FaultedCall, *, url: str | None = None, event: str | None = None
    ) -> list[Delivery]:
        address = url or run.callback_url
        if not address:
            raise ValueError("the run has no callback_url")
        payload = await self._build_payload(run, met)
        payload["event"] = event or payload["event"]
        if "callback:unknown_run" in met:
            payload["run_id"] = uuid7()
        if "callback:late" in met:
            await self._sleep(met.number("callback:late", "seconds", 30.0))
        times = int(met.number("callback:repeat", "n", 5)) if "callback:repeat" in met else 1
        sent = [Delivery(run.id, address, payload) for _ in range(times)]
        for each in sent:
            self.deliveries.append(each)
            if "callback:lost" not in met:
                await self._deliver(each, met, done=run.callback_done)
        return sent

    async def _watch(self) -> None:
        """End runs when they are due, without a request that reads them."""
        while True:
            self._woken.clear()
            self._controls.queue.settle()
            seconds = self._controls.queue.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds is None else max(seconds, 0.001)):
                    await self._woken.wait()

    def _ended(self, run: Run) -> None:
        if not isinstance(run, FlowRun) or run.callback_url is None:
            return
        if self._watching is None:
            self._postponed.append(run)
            return
        task = asyncio.create_task(self._call_back(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_back(self, run: FlowRun) -> None:
        met = FaultedCall(self._controls.faults.take("callback", run.about, host=run.host, among=CALLBACK))
        met.add(run.faults.take("callback", [""], among=CALLBACK))
        try:
            await self._send(run, met)
        finally:
            run.callback_done.set()

    async def _deliver(self, delivery: Delivery, met: FaultedCall, *, done: asyncio.Event) -> None:
        body, headers = self._encode(delivery, met)
        for pause in (*RETRY_DELAYS, None):
            delivery.next_attempt_at = None
            attempt = await self._attempt(delivery.url, body, headers=headers)
            delivery.attempts.append(attempt)
            done.set()
            if not attempt.should_retry or pause is None:
                return
            delivery.next_attempt_at = utc_ms() + round(pause * 1000)
            await self._sleep(pause)

    def _encode(self, delivery: Delivery, met: FaultedCall) -> tuple[bytes, dict[str, str]]:
        """Return the body and headers to send."""
        body = json.dumps(delivery.payload, separators=(",", ":"), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Runflow-Request-Id": delivery.request_id}
        signature = self._signature(body, met)
        if signature and "callback:unsigned" not in met:
            headers["Runflow-Signature"] = signature.upper() if "callback:upper_case" in met else signature
        if "callback:reserialised" in met:
            body = json.dumps(delivery.payload, indent=1).encode()
        return body, headers

    def _signature(self, body: bytes, met: FaultedCall) -> str | None:
        secrets = self.secrets[1:] if "callback:second_secret" in met else self.secrets
        if "callback:bad_signature" in met:
            secrets = ["whsec_of_nobody"]
        return sign(body, secret=secrets[0]) if secrets else None

    async def _attempt(self, url: str, body: bytes, *, headers: dict[str, str]) -> Attempt:
        began = time.monotonic()
        status, text, error = None, None, None
        try:
            if not is_loopback(urlsplit(url).hostname or ""):
                raise ValueError("the local image service calls this machine only")  # noqa: TRY301 - like any bad address
            assert self._http is not None
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status, text = response.status, (await response.content.read(1000)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            error = f"{type(exc).__name__}: {exc}"
        return Attempt(status, text, round((time.monotonic() - began) * 1000), error)


def sign(body: bytes, *, secret: str) -> str:
    """Return the hex HMAC-SHA256 of *body*, the value of `Runflow-Signature`."""
    return hmac.new(secret.encode(), body, "sha256").hexdigest()
