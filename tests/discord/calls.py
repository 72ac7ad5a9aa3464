"""Requests of the bot: reading, recording, and the check of mentions, which never refuses a request."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from tests.discord.cdn import Upload
from tests.discord.rules import Json, mentions_are_off
from tests.discord.world import World


@dataclass(slots=True)
class Recorded:
    """A recorded request. *path* is without the API's base; *status* is None until it is answered."""

    route: str
    method: str
    path: str
    json: Any
    files: Sequence[Upload]
    at: float
    query: Mapping[str, str]
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the handlers see it; *size* is of the whole body in bytes."""

    params: Mapping[str, str]
    query: Mapping[str, str]
    json: Any
    files: Sequence[Upload]
    size: int
    authorization: str
    what: str  # method and path, for violations

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in {"1", "true"}


async def read(request: web.Request) -> tuple[Any, list[Upload], int]:
    """The JSON, the files in order, and the size of the body in bytes."""
    if request.content_type == "multipart/form-data":
        return await _read_parts(request)
    raw = await request.read()
    return (json.loads(raw) if raw else None), [], len(raw)


async def _read_parts(request: web.Request) -> tuple[Any, list[Upload], int]:
    body: Any = None
    size = 0
    files: dict[int, Upload] = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        data = bytes(await part.read())
        size += len(data)
        if part.name == "payload_json":
            body = json.loads(data)
        elif part.name is not None:
            index = int(part.name.removeprefix("files[").removesuffix("]"))
            files[index] = Upload(part.filename or "unknown", data)
        await asyncio.sleep(0)  # lets other tasks run during a large upload
    return body, [files[n] for n in sorted(files)], size


def note_mentions(world: World, call: Call, body: Json) -> None:
    """Record a violation if a message may mention people: Discord accepts that, but the bot must never do it."""
    if not mentions_are_off(body):
        world.violations.append(f"{call.what}: allowed_mentions is {body.get('allowed_mentions')!r}")
