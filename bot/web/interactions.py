"""Receives Discord's interactions over HTTP: nothing of a request is parsed before its signature holds."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from bot.core.clock import Clock
from bot.web.bodies import BadBody, read_body
from bot.web.refusals import Refusals

log = logging.getLogger(__name__)

PATH = "/interactions"
PING = 1  # both the type of Discord's question and that of the answer
BODY_LIMIT = 512 * 1024  # bytes; more than a form with five full fields and the largest message that it belongs to
READ_TIMEOUT = 2.5  # seconds for a whole body; Discord waits three for the answer
MAX_CLOCK_DIFFERENCE = 300  # seconds between a signature's time and ours
SIGNATURE_LENGTH = 64  # bytes
# Takes the place of a signature of another length. Its first half is a point of the curve (the base point), because
# libsodium rejects others without verifying anything.
PLACEHOLDER = b"\x58" + b"\x66" * 31 + bytes(32)
STATUS = {"too_large": 413, "slow": 408, "broken": 400, "signature": 401, "time": 401, "json": 400}
NOT_LOGGED_IN = "the bot has not logged in to Discord yet\n"

Receive = Callable[[Mapping[str, Any]], Awaitable[None]]


class Interactions:
    """The endpoint. Discord asks it with PING, and tests it regularly with signatures that do not hold."""

    def __init__(
        self,
        receive: Receive,
        *,
        public_key: Callable[[], bytes | None],
        clock: Clock,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        """*receive* takes an authentic interaction, and returns before it is answered.

        *public_key* returns the application's key (32 bytes), None before the login.
        """
        self._receive = receive
        self._public_key = public_key
        self._clock = clock
        self._read_timeout = read_timeout
        self._refusals = Refusals(
            log, "A request to the interactions endpoint was refused", event="interaction_refused", status=STATUS
        )

    async def post(self, request: web.Request) -> web.Response:
        """Answer PING, and 202 to an interaction: what the member sees is sent separately, to Discord's API."""
        if (key := self._public_key()) is None:
            return web.Response(status=503, text=NOT_LOGGED_IN)
        try:
            body = await read_body(request, limit=BODY_LIMIT, seconds=self._read_timeout)
        except BadBody as exc:
            return self._refusals.answer(exc.problem)
        if (problem := problem_of(request.headers, body, key=key, now=self._clock() // 1000)) is not None:
            return self._refusals.answer(problem)
        try:
            payload = json.loads(body)
        except ValueError:
            return self._refusals.answer("json")
        if not isinstance(payload, dict):
            return self._refusals.answer("json")
        if payload.get("type") == PING:
            return web.json_response({"type": PING})
        await self._receive(payload)
        return web.Response(status=202)


def problem_of(headers: Mapping[str, str], body: bytes, *, key: bytes, now: int) -> str | None:
    """Return why a request is not from Discord, now (seconds in UTC): `signature` or `time`; None if it is.

    The signature is verified whatever else is wrong, so that a refusal takes equally long for every reason. Source:
    Discord's docs, "Setting Up an Endpoint".
    """
    time = headers.get("X-Signature-Timestamp", "")
    signature = _signature(headers.get("X-Signature-Ed25519", ""))
    is_signed = _holds(key, time.encode(errors="replace") + body, signature=signature or PLACEHOLDER)
    if signature is None or not is_signed:
        return "signature"
    is_time = time.isascii() and time.isdecimal() and len(time) <= 12
    return None if is_time and abs(now - int(time)) <= MAX_CLOCK_DIFFERENCE else "time"


def _signature(text: str) -> bytes | None:
    try:
        signature = bytes.fromhex(text)
    except ValueError:
        return None
    return signature if len(signature) == SIGNATURE_LENGTH else None


def _holds(key: bytes, message: bytes, *, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except BadSignatureError:
        return False
    return True
