"""Inspection and control of the local image service: in process, over HTTP and by a file of faults."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from aiohttp import web

from bot.sandbox.faults import Faults, load_faults, parse_faults
from bot.sandbox.runs import Pace, Run, RunQueue, RunState


@dataclass(slots=True)
class Call:
    """One call. *at*: seconds on the service's clock; *status*: None until answered, and if dropped.

    *note*: what the caller did although it must never do it; "" if nothing.
    """

    op: str
    method: str
    path: str
    run_id: str | None
    at: float
    status: int | None = None
    authorized: bool = False  # whether the call carried a bearer token
    host: str = "runcomfy"
    note: str = ""


class Controls:
    def __init__(self, queue: RunQueue, *, faults_file: Path | None) -> None:
        self.runs: dict[str, Run] = {}
        self.log: list[Call] = []
        self.faults = Faults()
        self.queue = queue
        self._faults_file, self._read_at = faults_file, 0

    @property
    def accepted(self) -> list[str]:
        return list(self.runs)

    def ordered(self, reference: str) -> list[Run]:
        """Return the runs accepted with that caller's reference (RunComfy accepts none)."""
        return [each for each in self.runs.values() if reference in each.references]

    @property
    def hold(self) -> bool:
        """Whether the queue's clock is stopped, so that no run advances by itself."""
        return self.queue.hold

    @hold.setter
    def hold(self, wanted: bool) -> None:
        self.queue.hold = wanted

    @property
    def pace(self) -> Pace:
        return self.queue.pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self.queue.settle()
        self.queue.pace = pace

    def advance(self, run_id: str, state: RunState) -> None:
        """Set a run's state. Raises `KeyError` for an unknown run, `ValueError` for an unknown state."""
        if state not in get_args(RunState):
            raise ValueError(f"no state {state!r}: one of {', '.join(get_args(RunState))}")
        run = self.runs[run_id]
        self.queue.settle()
        self.queue.move(run, state)

    def reread_faults(self) -> None:
        """Read the file of faults if it has changed; an unreadable one changes nothing."""
        path = self._faults_file
        if path is None or not path.exists():
            return
        try:
            changed_at = path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._read_at = changed_at
                self.faults.replace(load_faults(path))
        except (OSError, ValueError) as exc:
            print(f"image service: faults are unchanged: {exc}", flush=True)

    def control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sandbox/faults", self._show_faults),
            web.put("/_sandbox/faults", self._set_faults),
            web.get("/_sandbox/log", self._show_log),
            web.get("/_sandbox/runs", self._show_runs),
            web.post("/_sandbox/runs/{run_id}/advance", self._advance_one),
            web.put("/_sandbox/pace", self._set_pace),
            web.put("/_sandbox/hold", self._set_hold),
        ]

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response([each.as_json() for each in self.faults])

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults.replace(parse_faults(await request.json()))
        except ValueError as exc:
            return _unusable(exc)
        return await self._show_faults(request)

    async def _show_log(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(each) for each in self.log])

    async def _show_runs(self, _request: web.Request) -> web.Response:
        return web.json_response([each.summary() for each in self.runs.values()])

    async def _advance_one(self, request: web.Request) -> web.Response:
        run_id = request.match_info["run_id"]
        try:
            self.advance(run_id, (await request.json())["state"])
        except (KeyError, TypeError, ValueError) as exc:
            return _unusable(exc)
        return web.json_response(self.runs[run_id].summary())

    async def _set_pace(self, request: web.Request) -> web.Response:
        try:
            raw = await request.json()
            slots = raw.get("slots", self.pace.slots)
            self.pace = Pace(
                queue_s=float(raw.get("queue_s", self.pace.queue_s)),
                run_s=float(raw.get("run_s", self.pace.run_s)),
                slots=None if slots is None else int(slots),
            )
        except (AttributeError, TypeError, ValueError) as exc:
            return _unusable(exc)
        return web.json_response(asdict(self.pace))

    async def _set_hold(self, request: web.Request) -> web.Response:
        try:
            self.hold = bool((await request.json())["hold"])
        except (KeyError, TypeError, ValueError) as exc:
            return _unusable(exc)
        return web.json_response({"hold": self.hold})


def _unusable(exc: Exception) -> web.Response:
    return web.json_response({"error": str(exc) or repr(exc)}, status=400)
