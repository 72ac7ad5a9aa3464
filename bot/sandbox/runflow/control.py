"""HTTP routes that list, send and configure callbacks of the emulated Runflow."""

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.sandbox.faults import CALLBACK, Fault
from bot.sandbox.runflow.callbacks import Callbacks


class CallbackRequest(BaseModel):
    """A callback to send now; additional fields are parameters of the fault."""

    model_config = ConfigDict(extra="allow", strict=True)

    run: str
    fault: str | None = None
    url: str | None = None
    event: str | None = None

    def faults(self) -> list[Fault]:
        if self.fault is None:
            return []
        name = self.fault if self.fault in CALLBACK else f"callback:{self.fault}"
        return [Fault("callback", name, **(self.model_extra or {}))]


class Secrets(BaseModel):
    model_config = ConfigDict(strict=True)

    secrets: list[str] = Field(max_length=2)


def callback_routes(callbacks: Callbacks) -> list[web.RouteDef]:
    async def show(_request: web.Request) -> web.Response:
        return web.json_response([each.as_json() for each in callbacks.deliveries])

    async def send(request: web.Request) -> web.Response:
        try:
            wanted = CallbackRequest.model_validate_json(await request.read())
            sent = await callbacks.send(wanted.run, wanted.faults(), url=wanted.url, event=wanted.event)
        except KeyError as exc:
            return _unusable(f"no run {exc}")
        except (ValidationError, ValueError, TypeError) as exc:
            return _unusable(str(exc))
        return web.json_response([each.as_json() for each in sent])

    async def set_secrets(request: web.Request) -> web.Response:
        try:
            callbacks.secrets = Secrets.model_validate_json(await request.read()).secrets
        except ValidationError as exc:
            return _unusable(str(exc))
        return web.json_response({"secrets": len(callbacks.secrets)})

    return [
        web.get("/_sandbox/callbacks", show),
        web.post("/_sandbox/callbacks", send),
        web.put("/_sandbox/secrets", set_secrets),
    ]


def _unusable(text: Any) -> web.Response:
    return web.json_response({"error": str(text)}, status=400)
