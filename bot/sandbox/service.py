"""The local image service: RunComfy's and Runflow's APIs on 127.0.0.1, with drawn pictures and faults on request.

It implements the providers' published APIs (submit, status, result, cancel, search, callbacks, catalogue, balance,
files), so that the whole bot can run without an account. Each provider has its own port, because their paths collide
and a token for one must never reach the other. `bot.sandbox.faults.FAULTS` lists all faults with one line each. Other
programs control the service over HTTP at either port, without a token:

====================================  =====================================================================
PUT, GET /_sandbox/faults             a JSON list of faults: {"op": "result", "do": "fail", "times": null}
GET /_sandbox/log, /_sandbox/runs     every call so far; every run with its state
POST /_sandbox/runs/{id}/advance      {"state": "in_progress"}: in_queue, in_progress, completed, cancelled
PUT /_sandbox/pace                    {"queue_s": 0.4, "run_s": 0.8, "slots": 4}
PUT /_sandbox/hold                    {"hold": true}: no run advances by itself
POST, GET /_sandbox/callbacks         {"run": id, "fault": "repeat"}: call back now; every callback so far
PUT /_sandbox/secrets                 {"secrets": ["whsec_..."]}: the one that signs, and a second one
====================================  =====================================================================

Faults can also be read from a file, which is read again whenever it changes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from aiohttp import web

from bot.sandbox.control import Call, Controls
from bot.sandbox.faults import FAULTS, Fault
from bot.sandbox.files import Files
from bot.sandbox.host import Host
from bot.sandbox.runcomfy.api import RunComfy
from bot.sandbox.runflow.api import Runflow
from bot.sandbox.runflow.callbacks import Callbacks
from bot.sandbox.runflow.control import callback_routes
from bot.sandbox.runflow.runs import FlowRun
from bot.sandbox.runs import Pace, Run, RunQueue

__all__ = ["FAULTS", "Call", "Fault", "FlowRun", "ImageService", "Pace", "Run", "serve"]


class ImageService(Controls):
    """The service, its runs and its faults.

    *token*, *runflow_key*: the only credentials accepted; None accepts any (for Runflow, any `rf_live_...`).
    *webhook_secrets*: Runflow signs callbacks with the first, and with the second on request.
    *sleep*: waits between the attempts of a callback. *scale*: size of the drawn pictures relative to the requested
    one, since drawing takes most of the service's time.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        runflow_key: str | None = None,
        webhook_secrets: Sequence[str] = (),
        pace: Pace = Pace(),  # noqa: B008 - frozen
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        faults_file: Path | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__(RunQueue(pace, now), faults_file=faults_file)
        self.url = ""  # RunComfy's
        self.runflow_url = ""
        self._files = Files(scale)
        self._stopping = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._runcomfy = RunComfy(self, self._files, key=token, now=now, stopping=self._stopping)
        self._runflow = Runflow(
            self,
            self._files,
            key=runflow_key,
            now=now,
            stopping=self._stopping,
            secrets=webhook_secrets,
            sleep=sleep,
        )

    @property
    def callbacks(self) -> Callbacks:
        return self._runflow.callbacks

    async def start(self, port: int = 0, host: str = "127.0.0.1", *, runflow_port: int | None = None) -> None:
        """Serve RunComfy on *port* and Runflow on *runflow_port*; None: its previous port, or any free one."""
        self._stopping.clear()
        await self._files.start()
        self.url = await self._serve(self._runcomfy, host, port)
        if runflow_port is None:
            runflow_port = int(self.runflow_url.rpartition(":")[2] or 0) if port else 0
        self.runflow_url = self._runflow.origin = await self._serve(self._runflow, host, runflow_port)
        await self.callbacks.start()

    async def stop(self) -> None:
        self._stopping.set()
        await self.callbacks.stop()
        while self._runners:
            await self._runners.pop().cleanup()
        await self._files.stop()

    @asynccontextmanager
    async def running(
        self, port: int = 0, host: str = "127.0.0.1", *, runflow_port: int | None = None
    ) -> AsyncIterator[Self]:
        try:
            await self.start(port, host, runflow_port=runflow_port)
            yield self
        finally:
            await self.stop()

    async def _serve(self, api: Host, host: str, port: int) -> str:
        app = api.app()
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0, handle_signals=False
        )
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return f"http://{host}:{runner.addresses[0][1]}"

    def control_routes(self) -> list[web.RouteDef]:
        return [*super().control_routes(), *callback_routes(self.callbacks)]


async def serve(port: int, *, faults_file: Path | None, token: str | None) -> None:
    """Run the service until cancelled and print its addresses; Runflow's port is RunComfy's plus one."""
    service = ImageService(token=token, faults_file=faults_file)
    async with service.running(port, runflow_port=port + 1 if port else 0):
        print(f"image service: {service.url}", flush=True)
        print(f"Runflow: {service.runflow_url}", flush=True)
        await asyncio.Event().wait()
