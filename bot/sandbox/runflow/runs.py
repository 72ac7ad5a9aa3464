"""Runs of the emulated Runflow, and the signing of their picture URLs."""

import asyncio
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID, uuid4

from bot.sandbox.responses import FaultedCall
from bot.sandbox.runs import Run

TTL = 900.0  # seconds that a signed URL is valid; Runflow does not document its value


@dataclass(slots=True, eq=False)
class FlowRun(Run):
    """One accepted run. *version*: how often its URLs were signed; versions up to *expired* are no longer valid."""

    client_ref: str | None = None
    metadata: dict[str, Any] | None = None
    callback_url: str | None = None
    request_id: str = field(default_factory=lambda: str(uuid4()))
    version: int = 0
    expired: int = -1
    callback_done: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set when its callback was attempted or will not be sent
    host: ClassVar[str] = "runflow"

    @property
    def about(self) -> tuple[str, ...]:
        return (self.prompt, self.id, self.client_ref or "")

    @property
    def references(self) -> tuple[str, ...]:
        job_id = (self.metadata or {}).get("job_id")
        return tuple(str(each) for each in (self.client_ref, job_id) if each is not None)

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(f"/storage/{self.id}/{index + 1}.{self.asked.output_format}" for index in range(self.count))

    def delivered(self, met: FaultedCall) -> int:
        """Return how many of the pictures are delivered."""
        name = next((each for each in ("partial", "fewer_images") if each in met), None)
        return self.count if name is None else min(self.count, int(met.number(name, "n", max(1, self.count - 1))))

    def summary(self) -> dict[str, Any]:
        fields = {"client_ref": self.client_ref, "metadata": self.metadata, "callback_url": self.callback_url}
        return {**Run.summary(self), **fields}


class Signer:
    """Signs paths of pictures for TTL seconds. *now*: the service's clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = secrets.token_bytes(32)

    def sign(self, path: str, *, version: int) -> str:
        expires = str(round(self._now() + TTL))
        return f"{path}?v={version}&expires={expires}&signature={self._signature(path, str(version), expires)}"

    def version(self, path: str, query: Mapping[str, str]) -> int | None:
        """Return the version in a signed URL, None if its signature is wrong or expired."""
        version, expires = query.get("v", ""), query.get("expires", "")
        given = query.get("signature", "").encode()
        if not hmac.compare_digest(self._signature(path, version, expires).encode(), given):
            return None
        return int(version) if self._now() <= float(expires) else None

    def _signature(self, path: str, version: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}\n{version}\n{expires}".encode(), "sha256").hexdigest()


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562), which sorts by time, as Runflow's ids do."""
    ms = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    rest = bytearray(os.urandom(10))
    rest[0] = rest[0] & 0x0F | 0x70
    rest[2] = rest[2] & 0x3F | 0x80
    return str(UUID(bytes=ms + bytes(rest)))
