"""Many invalid callbacks over real sockets: they use no memory, and a valid one is still processed."""

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bot.core.jobs import State
from bot.web.listener import LINGER_TIME
from tests.kit import Rig, rig
from tests.web.test_callbacks import JOB, LINKS, payload, submitted, web_server

FORGED, AT_ONCE = 10_000, 8
SLOW = 200


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, host="runflow", callback_url=lambda job: LINKS(job.id)) as found:
        yield found


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


def forge(port: int, request: bytes, *, times: int) -> None:
    """Send *request* repeatedly, each on its own connection, as fast as it is rejected."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(request)
            assert line.recv(64).startswith(b"HTTP/1.1 401 ")


@asynccontextmanager
async def held(port: int, begun: bytes, *, times: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that send some bytes and then nothing."""
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(begun)
            readers.append(reader)
        yield readers


def blocks() -> int:
    """The number of memory blocks that the interpreter has allocated."""
    gc.collect()
    return sys.getallocatedblocks()


BEGUN = {
    "silent": b"",
    "within the first line": b"POST / HT",
    "within the head": head("/healthz")[:-2],
    "within the body": head(LINKS(JOB).removeprefix("https://darkroom.example"), "Content-Length: 9"),
}


def series(app: Rig) -> list[str]:
    """Names and labels of all counters."""
    return [each.rpartition(" ")[0] for each in app.metrics.text({}).decode().splitlines()]


@pytest.mark.prove
async def test_ten_thousand_bad_signatures_leave_nothing_in_memory(app: Rig) -> None:
    async with web_server(app) as at:
        job_id = await submitted(app)
        body = payload() + b" " * 1024
        bad = head(at.path(job_id), f"Content-Length: {len(body)}", f"Runflow-Signature: {'0' * 64}") + body
        await asyncio.to_thread(forge, at.port, bad, times=200)  # whatever is made once is made
        before, kinds, asked = blocks(), series(app), app.provider.asked

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(asyncio.to_thread(forge, at.port, bad, times=FORGED // AT_ONCE))

        assert blocks() - before < FORGED / 10
        assert series(app) == kinds
        assert (app.provider.asked, app.services.wakeups.called_back, app.services.wakeups.jobs) == (
            asked,
            set(),
            set(),
        )
        app.provider.sees = [app.ready()]
        assert await at.calls(job_id) == 200
        await app.turn()
        assert (await app.job(job_id)).state is State.SUCCEEDED
        assert at.outcomes == {"signature": FORGED + 200, "rung": 1}


async def test_slow_bodies_do_not_delay_a_valid_callback(app: Rig) -> None:
    async with web_server(app) as at:
        job_id = await submitted(app)
        async with held(at.port, head(at.path(job_id), "Content-Length: 100") + b"{", times=SLOW):
            async with asyncio.timeout(2):
                assert await at.calls(job_id) == 200
            assert at.outcomes == {"rung": 1}
            assert len(at.listener.connections()) == SLOW + 1, "and they are let be for the time they have"


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN.keys())
async def test_above_the_limit_the_oldest_connections_are_closed(app: Rig, begun: bytes) -> None:
    async with web_server(app, max_connections=20) as at:
        job_id = await submitted(app)
        async with held(at.port, begun, times=60) as readers:
            for each in readers[:40]:
                async with asyncio.timeout(5):
                    assert await each.read() == b""
            assert len(at.listener.connections()) == 20
            assert await at.calls(job_id) == 200
            assert len(at.listener.connections()) == 20
            assert not any(each.at_eof() for each in readers[41:])


async def test_an_unwanted_body_is_read_only_briefly(app: Rig) -> None:
    async with (
        web_server(app) as at,
        held(at.port, head("/callbacks/runflow/x", "Content-Length: 100"), times=1) as (reader,),
    ):
        async with asyncio.timeout(4 * LINGER_TIME):
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")


async def test_a_connection_closed_in_the_middle_of_a_request_logs_no_traceback(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with web_server(app, max_connections=20) as at:
        job_id = await submitted(app)
        with ExitStack() as stack:
            there = [stack.enter_context(socket.create_connection(("127.0.0.1", at.port))) for _ in range(20)]
            async with asyncio.timeout(5):
                while len(at.listener.connections()) < 20:  # noqa: ASYNC110 - the listener tells nobody
                    await asyncio.sleep(0)
            for each in there:
                each.sendall(head(at.path(job_id), "Content-Length: 9"))
                stack.enter_context(socket.create_connection(("127.0.0.1", at.port)))
            assert await at.calls(job_id) == 200
        assert not [each for each in caplog.records if each.exc_info]
