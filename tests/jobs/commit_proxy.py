"""TCP proxy to PostgreSQL that breaks connections on request: at a COMMIT, or at the answer to one.

A statement that accepts requests counts as a COMMIT: it is a transaction.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, urlsplit

BEGIN, COMMIT = b"BEGIN", b"COMMIT"
QUERY, PARSE, BIND, SYNC = b"Q", b"P", b"B", b"S"
ACCEPT = b"SELECT darkroom_accept("


class Cut(Enum):
    """What happens to a COMMIT before its connection is broken."""

    LOST = "never reaches the server"
    UNANSWERED = "is done, and its answer lost"
    LATE = "reaches the server after the client's connection has broken"
    SILENT = "is done, and the connection stays open without another byte"


@dataclass
class Line:
    """The proxy. *commits* counts the COMMITs of writing transactions so far; an answer to one is delayed by *delay*
    seconds, an answer to a COMMIT of a read-only transaction by *read_delay*."""

    upstream: str
    url: str = ""
    commits: int = 0
    round_trips: int = 0  # requests to the server so far
    delay: float = 0.0
    read_delay: float = 0.0
    seen: asyncio.Event = field(default_factory=asyncio.Event)  # set at every COMMIT
    late: asyncio.Event = field(default_factory=asyncio.Event)  # releases a COMMIT with Cut.LATE
    _cuts: dict[int, Cut] = field(default_factory=dict)

    def cut(self, how: Cut, *, after: int = 0) -> None:
        """Cut the next COMMIT, or the one that comes *after* so many others."""
        self._cuts[self.commits + after + 1] = how

    @property
    def waits_for_cut(self) -> bool:
        return any(number > self.commits for number in self._cuts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to_server = await connect(self.upstream)
        except OSError:
            writer.transport.abort()
            return
        one = _Connection(self, reader, writer, there, to_server)
        back = asyncio.create_task(one.backward())
        try:
            await one.forward()
            if not one.cut:
                to_server.write_eof()
                await back
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            to_server.transport.abort()
            writer.transport.abort()


@dataclass
class _Connection:
    line: Line
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    there: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    cut: Cut | None = None
    reads: bool = False
    accepting: bool = False
    _accepts: set[bytes] = field(default_factory=set)  # names of prepared statements
    committing: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def forward(self) -> None:
        """Forward the client's messages one by one, and cut or delay at a COMMIT."""
        size = await self.reader.readexactly(4)  # the first message has no letter
        self.to_server.write(size + await self.reader.readexactly(int.from_bytes(size) - 4))
        while self.cut is None and (letter := await self.reader.read(1)):
            size = await self.reader.readexactly(4)
            body = await self.reader.readexactly(int.from_bytes(size) - 4)
            self.line.round_trips += letter in (QUERY, SYNC)
            if letter == QUERY and body.startswith(BEGIN):
                self.reads = b"READ ONLY" in body
            if (letter == QUERY and body.startswith(COMMIT)) or self._ends_acceptance(letter, body):
                self.committing = True
                if not self.reads:
                    self.line.commits += 1
                    self.line.seen.set()
                    self.cut = self.line._cuts.pop(self.line.commits, None)
            if self.cut is Cut.LATE:
                self.writer.transport.abort()
                await self.line.late.wait()
            if self.cut is not Cut.LOST:
                self.to_server.write(letter + size + body)
        if self.cut in (Cut.UNANSWERED, Cut.LATE, Cut.SILENT):
            await self.answered.wait()
        if self.cut is Cut.SILENT:
            await self.reader.read()  # until the client gives up

    def _ends_acceptance(self, letter: bytes, body: bytes) -> bool:
        if letter == PARSE and ACCEPT in body:
            self._accepts.add(body.partition(b"\0")[0])
        if letter == BIND:
            self.accepting = body.split(b"\0", 2)[1] in self._accepts
            self.reads = self.reads and not self.accepting
        return letter == SYNC and self.accepting

    async def backward(self) -> None:
        while data := await self.there.read(65536):
            if self.committing:
                await asyncio.sleep(self.line.read_delay if self.reads else self.line.delay)
            self.committing = False
            if self.cut is None:
                self.writer.write(data)
            else:
                self.answered.set()
        if self.cut is None:
            self.writer.write_eof()
        self.answered.set()


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server at *address*, over its Unix socket or TCP."""
    parts = urlsplit(address)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    if folder:
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
    return await asyncio.open_connection(parts.hostname, port)


def url_through(server: asyncio.Server, address: str) -> str:
    """The URL of the database at *address* for clients of the proxy that *server* is."""
    parts = urlsplit(address)
    account = parts.netloc.rpartition("@")[0]
    port = server.sockets[0].getsockname()[1]
    return parts._replace(netloc=f"{account or 'postgres'}@127.0.0.1:{port}", query="sslmode=disable").geturl()


@asynccontextmanager
async def line_to(address: str) -> AsyncIterator[Line]:
    """A proxy to the database at *address*; clients connect to its `url`."""
    line, served = Line(address), set[asyncio.Task[None]]()
    server = await asyncio.start_server(
        lambda *ends: served.add(asyncio.create_task(line.serve(*ends))), "127.0.0.1", 0
    )
    line.url = url_through(server, address)
    try:
        yield line
    finally:
        server.close()
        for each in served:
            each.cancel()
        await asyncio.gather(*served, return_exceptions=True)
