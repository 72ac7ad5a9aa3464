"""The interactions endpoint over real sockets: what is passed on, and how everything else is refused."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.web import interactions
from bot.web.interactions import BODY_LIMIT, MAX_CLOCK_DIFFERENCE, PATH, Interactions, problem_of
from tests.discord.endpoint import Endpoint
from tests.discord.rules import Json
from tests.web.test_server import served

NOW = 1_790_000_000  # seconds
COMMAND: Json = {"id": "1", "type": 2, "data": {"name": "usage"}}
BODY = json.dumps(COMMAND).encode()
DISCORD, STRANGER = (Endpoint(lambda: NOW, violations=[]) for _ in range(2))
KEY = bytes.fromhex(DISCORD.verify_key)


@dataclass
class Site:
    url: str
    received: list[Mapping[str, Any]]
    http: aiohttp.ClientSession

    async def post(self, body: bytes = BODY, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer; signs the body if *headers* is None."""
        signed = DISCORD.sign(body) if headers is None else headers
        async with self.http.post(f"{self.url}{PATH}", data=io.BytesIO(body), headers=signed) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def site(*, key: bytes | None = KEY, read_timeout: float = 2.5) -> AsyncIterator[Site]:
    received: list[Mapping[str, Any]] = []

    async def receive(payload: Mapping[str, Any]) -> None:
        received.append(payload)

    endpoint = Interactions(receive, public_key=lambda: key, clock=lambda: NOW * 1000, read_timeout=read_timeout)
    app = web.Application()
    app.router.add_post(PATH, endpoint.post)
    async with served(app) as url, aiohttp.ClientSession() as http:
        yield Site(url, received, http)


async def test_an_interaction_is_passed_on_and_answered_without_a_body() -> None:
    async with site() as on:
        assert await on.post() == (202, "")
        assert on.received == [COMMAND]


async def test_discord_saves_the_address() -> None:
    discord = Endpoint(lambda: NOW, violations=[])
    async with site(key=bytes.fromhex(discord.verify_key)) as on:
        await discord.use(f"{on.url}{PATH}")
        assert on.received == []
    await discord.close()


def _changed(headers: dict[str, str], **changes: str) -> dict[str, str]:
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


SIGNED = DISCORD.sign(BODY)
REFUSED: dict[str, tuple[bytes, dict[str, str]]] = {
    "signed by somebody else": (BODY, STRANGER.sign(BODY)),
    "another body": (BODY + b" ", SIGNED),
    "another time": (BODY, _changed(SIGNED, X_Signature_Timestamp=str(NOW + 1))),
    "no headers": (BODY, {}),
    "no time": (BODY, {"X-Signature-Ed25519": SIGNED["X-Signature-Ed25519"]}),
    "no signature": (BODY, {"X-Signature-Timestamp": str(NOW)}),
    "not hexadecimal": (BODY, _changed(SIGNED, X_Signature_Ed25519="x" * 128)),
    "a short signature": (BODY, _changed(SIGNED, X_Signature_Ed25519=SIGNED["X-Signature-Ed25519"][:-2])),
    "a long signature": (BODY, _changed(SIGNED, X_Signature_Ed25519=SIGNED["X-Signature-Ed25519"] + "00")),
    "stale": (BODY, DISCORD.sign(BODY, at=NOW - MAX_CLOCK_DIFFERENCE - 1)),
    "from the future": (BODY, DISCORD.sign(BODY, at=NOW + MAX_CLOCK_DIFFERENCE + 1)),
    "nothing at all": (b"", {}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_discord_has_not_signed_now_is_refused_without_an_explanation(case: str) -> None:
    body, headers = REFUSED[case]
    async with site() as on:
        assert await on.post(body, headers) == (401, "")
        assert on.received == []


@pytest.mark.parametrize("case", REFUSED)
def test_the_signature_is_verified_whatever_else_is_wrong(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[int] = []  # lengths of the messages
    verify = interactions._holds

    def holds(key: bytes, message: bytes, *, signature: bytes) -> bool:
        verified.append(len(message))
        return verify(key, message, signature=signature)

    monkeypatch.setattr(interactions, "_holds", holds)
    body, headers = REFUSED[case]

    assert problem_of(headers, body, key=KEY, now=NOW) in ("signature", "time")

    assert verified == [len(headers.get("X-Signature-Timestamp", "")) + len(body)]


@pytest.mark.parametrize("time", ["", "-1", "1.7e9", "٣", "9" * 13, "9" * 5000, "nan"])
def test_a_signed_time_that_is_no_time_is_refused(time: str) -> None:
    signature = DISCORD._key.sign(time.encode() + BODY).signature.hex()
    headers = {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": time}
    assert problem_of(headers, BODY, key=KEY, now=NOW) == "time"


@pytest.mark.parametrize("difference", [-MAX_CLOCK_DIFFERENCE, MAX_CLOCK_DIFFERENCE])
def test_clocks_may_differ_by_minutes(difference: int) -> None:
    assert problem_of(DISCORD.sign(BODY, at=NOW + difference), BODY, key=KEY, now=NOW) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
async def test_a_signed_body_that_is_no_object_is_refused(body: bytes) -> None:
    async with site() as on:
        assert (await on.post(body))[0] == 400
        assert on.received == []


async def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    async with site() as on:
        largest = json.dumps({**COMMAND, "more": "x" * (BODY_LIMIT - 100)}).encode()
        assert (await on.post(largest))[0] == 202
        assert (await on.post(b"x" * (BODY_LIMIT + 1)))[0] == 413


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    async with site(read_timeout=0.05) as on, asyncio.timeout(5):
        host, port = on.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_before_the_login_nothing_can_be_verified() -> None:
    async with site(key=None) as on:
        assert await on.post() == (503, "the bot has not logged in to Discord yet\n")
