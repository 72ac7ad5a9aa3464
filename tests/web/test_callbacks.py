"""Runflow's callbacks over real sockets: which are accepted, and that they only wake the worker."""

import asyncio
import gzip
import hashlib
import hmac
import json
import logging
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from bot.core.jobs import Job, State
from bot.observability.logging import is_relevant
from bot.store.store import Store
from bot.web.callbacks import BODY_LIMIT, CallbackLinks, Callbacks
from bot.web.listener import MAX_CONNECTIONS, Listener
from bot.web.server import PictureLinks
from tests.kit import Rig, rig
from tests.web.test_server import site

SECRET, OLDER = "whsec_2f6c8f0a1b2c", "whsec_before"
LINKS = CallbackLinks("https://darkroom.example/", secret=b"x" * 32)
JOB = "01KSFAKE000000000000000000"


def payload(run_id: str = "run-1", *, event: str = "run.completed") -> bytes:
    return json.dumps({"event": event, "run_id": run_id, "status": "succeeded"}).encode()


def signature(body: bytes, *, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class WebServer:
    """The bot's web server and a client of it."""

    app: Rig
    port: int
    outcomes: Counter[str]  # of the calls so far
    listener: Listener
    http: aiohttp.ClientSession

    def path(self, job_id: str) -> str:
        return LINKS(job_id).removeprefix("https://darkroom.example")

    async def post(self, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None) -> int:
        """Returns the status; signs the body if *headers* is None."""
        signed = {"Runflow-Signature": signature(body)} if headers is None else headers
        async with self.http.post(f"http://127.0.0.1:{self.port}{path}", data=body, headers=signed) as answer:
            assert await answer.read() == b"" or answer.status == 404
            return answer.status

    async def calls(self, job_id: str, run_id: str = "run-1") -> int:
        return await self.post(self.path(job_id), payload(run_id))

    async def raw(self, head: str, body: bytes = b"") -> bytes:
        """Send bytes that no HTTP client would send; returns the answer's first line."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(head.replace("\n", "\r\n").encode("latin-1") + body)
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line


@asynccontextmanager
async def web_server(
    app: Rig,
    *,
    secrets: Sequence[str] = (SECRET,),
    read_timeout: float = 5.0,
    max_connections: int = MAX_CONNECTIONS,
    store: Store | None = None,
) -> AsyncIterator[WebServer]:
    outcomes: Counter[str] = Counter()

    def count(outcome: str) -> None:
        outcomes[outcome] += 1

    services = replace(app.services, store=store or app.store)
    callbacks = Callbacks(services, links=LINKS, secrets=secrets, count=count, read_timeout=read_timeout)
    listener = Listener(site(app, callbacks=callbacks), max_connections=max_connections)
    _, port = await listener.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            yield WebServer(app, port, outcomes, listener, http)
    finally:
        await listener.close()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, host="runflow", callback_url=lambda job: LINKS(job.id)) as found:
        yield found


@pytest.fixture
async def at(app: Rig) -> AsyncIterator[WebServer]:
    async with web_server(app) as found:
        yield found


class Deaf(Store):
    async def job(self, job_id: str) -> Job | None:
        raise TimeoutError(job_id)


class Overtaken(Store):
    """Reads of a job return its state before the worker's next step."""

    turn: Callable[[], Awaitable[None]] | None = None

    async def job(self, job_id: str) -> Job | None:
        found, turn, self.turn = await super().job(job_id), self.turn, None
        if turn is not None:
            await turn()
        return found


async def submitted(app: Rig) -> str:
    """A running job whose next poll is far away."""
    job_id = await app.imagine()
    await app.turn()
    return job_id


def test_a_callback_url_is_valid_for_its_own_job_only() -> None:
    token = LINKS.token(JOB)
    assert LINKS.job_of(token) == JOB
    assert len(token) == len(JOB) + 1 + 32, "128 bits"
    other = CallbackLinks("https://darkroom.example", secret=b"y" * 32)
    for wrong in (other.token(JOB), token.replace(JOB, JOB[:-1] + "1"), token[:-1], token.upper(), JOB, "", "ü.é"):
        assert LINKS.job_of(wrong) is None
    assert PictureLinks("", secret=b"x" * 32).key(JOB, 1) not in token


async def test_a_callback_causes_a_poll_at_once(at: WebServer) -> None:
    job_id = await submitted(at.app)
    asked = at.app.provider.asked
    at.app.provider.sees = [at.app.ready()]
    await at.app.turn(60)
    assert at.app.provider.asked == asked, "nobody asks before the safety poll"

    assert await at.calls(job_id) == 200
    await at.app.turn()

    assert (await at.app.job(job_id)).state is State.SUCCEEDED
    assert at.app.provider.asked == asked + 1
    assert at.outcomes == {"rung": 1}


async def test_the_content_of_a_callback_is_not_trusted(at: WebServer) -> None:
    job_id = await submitted(at.app)

    assert await at.post(at.path(job_id), payload(event="run.failed")) == 200
    await at.app.turn()

    assert (await at.app.job(job_id)).state is State.QUEUED


async def test_a_replayed_callback_changes_nothing(at: WebServer) -> None:
    job_id = await submitted(at.app)
    at.app.provider.sees = [at.app.ready()]
    await at.calls(job_id)
    await at.app.turn()
    asked, rows = at.app.provider.asked, await at.app.job(job_id)

    for _ in range(5):
        assert await at.calls(job_id) == 200
        await at.app.turn()

    assert (at.app.provider.asked, await at.app.job(job_id)) == (asked, rows)
    assert at.outcomes == {"rung": 1, "late": 5}


async def test_a_forged_callback_is_rejected_and_wakes_no_job(at: WebServer) -> None:
    job_id = await submitted(at.app)
    asked, path, body = at.app.provider.asked, at.path(job_id), payload()
    forged: list[Mapping[str, str]] = [
        {},
        {"Runflow-Signature": signature(body, secret="whsec_of_nobody")},
        {"Runflow-Signature": signature(body).upper()},
        {"Runflow-Signature": signature(body + b" ")},
        {"Runflow-Signature": "é" * 64},
        {"Runflow-Signature": ""},
    ]
    for headers in forged:
        assert await at.post(path, body, headers=headers) == 401
    await at.app.turn()

    assert at.app.provider.asked == asked
    assert at.outcomes == {"unsigned": 1, "signature": 5}


async def test_a_forged_url_is_not_found(at: WebServer) -> None:
    job_id = await submitted(at.app)
    body, path = payload(), at.path(job_id)
    for wrong in (path[:-1] + ("0" if path[-1] != "0" else "1"), path[:-1], "/callbacks/runflow/x", f"{path}é"):
        assert await at.post(wrong, body) == 404
    assert at.outcomes == {"token": 4}


async def test_a_callback_about_another_jobs_run_wakes_no_job(at: WebServer) -> None:
    job_id = await submitted(at.app)
    asked = at.app.provider.asked

    assert await at.calls(job_id, "run-of-another") == 200
    assert await at.post(LINKS(JOB).removeprefix("https://darkroom.example"), payload()) == 200
    await at.app.turn()

    assert at.app.provider.asked == asked
    assert at.outcomes == {"other_run": 1, "unknown_job": 1}


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", payload(event="run.started"), gzip.compress(payload(), mtime=0)])
async def test_a_signed_callback_without_content_is_answered_and_ignored(at: WebServer, body: bytes) -> None:
    job_id = await submitted(at.app)

    assert await at.post(at.path(job_id), body) == 200
    assert at.outcomes == {"ignored": 1}


@pytest.mark.parametrize("secret", [SECRET, OLDER])
async def test_both_secrets_are_valid_during_a_rotation(app: Rig, secret: str) -> None:
    job_id = await submitted(app)
    async with web_server(app, secrets=(SECRET, OLDER)) as at:
        signed = {"Runflow-Signature": signature(payload(), secret=secret)}
        assert await at.post(at.path(job_id), payload(), headers=signed) == 200
    async with web_server(app, secrets=("whsec_the_next",)) as at:
        assert await at.post(at.path(job_id), payload(), headers=signed) == 401


async def test_a_body_is_limited_to_64_kb(at: WebServer) -> None:
    job_id = await submitted(at.app)
    just, over = b" " * (BODY_LIMIT - len(payload())) + payload(), b" " * (BODY_LIMIT + 1)
    assert await at.post(at.path(job_id), just) == 200
    head = f"POST {at.path(job_id)} HTTP/1.1\nHost: x\n"
    assert b" 413 " in await at.raw(f"{head}Content-Length: 1073741824\n\n")
    assert b" 413 " in await at.raw(f"{head}Transfer-Encoding: chunked\n\n{len(over):x}\n", over)
    assert at.outcomes == {"rung": 1, "too_large": 2}


async def test_a_compressed_body_is_not_decompressed(at: WebServer) -> None:
    job_id = await submitted(at.app)
    bomb = gzip.compress(bytes(20_000_000), mtime=0)
    assert len(bomb) < BODY_LIMIT
    tracemalloc.start()
    try:
        status = await at.post(at.path(job_id), bomb, headers={"Content-Encoding": "gzip"})
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == 401
    assert most < 2_000_000


async def test_a_missing_body_times_out(app: Rig) -> None:
    job_id = await submitted(app)
    async with web_server(app, read_timeout=0.05) as at:
        head = f"POST {at.path(job_id)} HTTP/1.1\nHost: x\nContent-Length: 100\n\n"
        assert b" 408 " in await at.raw(head, b"{")
        assert at.outcomes == {"slow": 1}


async def test_a_broken_connection_or_malformed_http_logs_no_traceback(
    at: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await submitted(at.app)
    head = f"POST {at.path(job_id)} HTTP/1.1\nHost: x\n".replace("\n", "\r\n").encode()
    _, writer = await asyncio.open_connection("127.0.0.1", at.port)
    writer.write(head + b"Content-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert b" 400 " in await at.raw(head.decode().replace("\r", "") + "Transfer-Encoding: chunked\n\nzz\n")
    assert await at.calls(job_id) == 200
    assert not [each for each in caplog.records if each.exc_info and is_relevant(each)]


async def test_each_kind_of_rejection_is_logged_once_and_without_a_secret(
    at: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await submitted(at.app)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            await at.post(at.path(job_id), b"canary-body", headers={"Runflow-Signature": "canary"})
        await at.calls(job_id)
    logged = [each for each in caplog.records if each.name == "bot.web.callbacks"]
    assert [(each.getMessage(), each.__dict__["reason"]) for each in logged] == [
        ("A callback was refused", "signature")
    ]
    assert not [each for each in caplog.messages if "canary" in each or LINKS.token(job_id) in each]


async def test_a_callback_during_a_database_outage_still_wakes_the_job(app: Rig) -> None:
    job_id = await submitted(app)
    async with web_server(app, store=Deaf(app.store.database)) as at:
        assert await at.calls(job_id) == 200

        assert app.services.wakeups.jobs == {job_id}
        assert at.outcomes == {"unread": 1}


async def test_a_call_that_a_job_ends_before_is_not_remembered(app: Rig) -> None:
    job_id = await submitted(app)
    app.provider.sees = [app.ready()]
    overtaken = Overtaken(app.store.database)
    overtaken.turn = lambda: app.turn(200)
    async with web_server(app, store=overtaken) as at:
        assert await at.calls(job_id) == 200
        await app.turn()

    assert (await app.job(job_id)).state is State.SUCCEEDED
    assert app.services.wakeups.called_back == set()


async def test_without_callbacks_there_is_no_such_address(app: Rig) -> None:
    assert not [each for each in site(app).router.resources() if "callbacks" in each.canonical]
