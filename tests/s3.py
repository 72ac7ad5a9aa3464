"""A real S3 server for the tests, `rclone serve s3`, and a line to it that fails on request."""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from bot.files.object_storage import Access, ObjectStorage

BUCKET = "pictures"
KEYS = Access(region="us-east-1", access_key="AKIATESTACCESSKEY", secret_key="test-secret-access-key")


class NoS3(Exception):
    """No server can be started here; the text says why."""


@contextmanager
def server() -> Iterator[Access]:
    """How to reach a server with one empty bucket, which is stopped with the context."""
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
    if rclone is None:
        raise NoS3("there is no rclone in the environment of the tests, which `make` installs where there is a wheel")
    with tempfile.TemporaryDirectory(prefix="s3") as folder:
        (Path(folder) / BUCKET).mkdir()
        command = [rclone, "serve", "s3", "--addr", "127.0.0.1:0", "--config", "", "--auth-key"]
        command += [f"{KEYS.access_key},{KEYS.secret_key}", folder]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stderr is not None
            try:
                lines = iter(process.stderr.readline, "")
                found = next((each for line in lines if (each := re.search(r"\[(http://[^/]+)/\]", line))), None)
                if found is None:
                    raise NoS3("rclone does not start")
                yield replace(KEYS, endpoint=found[1])
            finally:
                process.terminate()


@dataclass
class Line:
    """A proxy to the server, which all tests use. The next requests of any connection meet what is set here."""

    upstream: str
    endpoint: str = ""
    answer: bytes = b""  # sent in place of the server's
    silent: bool = False  # no answer at all
    cut_request: int | None = None  # the connection is reset after so many bytes from the client
    cut_answer: int | None = None  # the same, from the server
    requests: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # set at every request
    url: str = field(default_factory=lambda: f"s3://{BUCKET}/{uuid4().hex}/darkroom")

    @property
    def access(self) -> Access:
        return replace(KEYS, endpoint=self.endpoint)

    def storage(self, *, timeout: float = 60.0) -> ObjectStorage:
        return ObjectStorage(self.url, self.access, timeout=timeout)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.upstream.removeprefix("http://").partition(":")
        try:
            from_server, to_server = await asyncio.open_connection(host, int(port))
            try:
                there = asyncio.create_task(self._forward(reader, to_server, writer))
                back = asyncio.create_task(self._back(from_server, writer))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
                to_server.transport.abort()
        finally:
            writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        seen = 0
        with suppress(OSError):
            while data := await reader.read(65536):
                if re.match(rb"(GET|PUT|HEAD|DELETE|POST) ", data):
                    self.requests += 1
                    self.asked.set()
                seen += len(data)
                if self.cut_request is not None and seen >= self.cut_request:
                    return
                if self.answer:
                    writer.write(self.answer)
                    await writer.drain()
                    await reader.read()  # until the client has the answer and closes
                    return
                if not self.silent:
                    to_server.write(data)
                    await to_server.drain()

    async def _back(self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        with suppress(OSError):
            while data := await from_server.read(65536):
                seen += len(data)
                if self.cut_answer is not None and seen >= self.cut_answer:
                    return
                writer.write(_corrected(data))
                await writer.drain()


@asynccontextmanager
async def line_to(access: Access) -> AsyncIterator[Line]:
    line = Line(access.endpoint)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[asyncio.create_task(line.serve(reader, writer))] = writer

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    line.endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        listening.close()
        await asyncio.sleep(0)  # for connections that are being accepted
        for each in connections.values():
            each.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)


def _corrected(data: bytes) -> bytes:
    """Give a part of a file the status 206, as S3 does; rclone's server has 200 (johannesboyne/gofakes3#121)."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nContent-Range:" in head:
        head = head.replace(b"200 OK", b"206 Partial Content", 1)
    return head + blank + body


def failing(status: str, code: str) -> bytes:
    """An answer of S3 with an error; it quotes what a log must not contain."""
    body = f"<Error><Code>{code}</Code><SignatureProvided>0123456789abcdef</SignatureProvided></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
