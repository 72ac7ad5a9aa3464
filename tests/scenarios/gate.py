"""A way to a server that can be shut while everything else stays reachable, as when a network is divided."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.jobs.commit_proxy import connect, url_through


@dataclass
class Gate:
    """A TCP proxy to the PostgreSQL at *upstream*. Shut silently, nothing arrives; else connections are refused."""

    upstream: str
    url: str = ""
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _refuses: bool = False
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def shut(self, *, silently: bool) -> None:
        self._open.clear()
        self._refuses = not silently
        if self._refuses:
            for each in self._connections:
                each.cancel()

    def open(self) -> None:
        self._refuses = False
        self._open.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        there, to_server = await connect(self.upstream)
        both = [asyncio.create_task(self._pass(reader, to_server)), asyncio.create_task(self._pass(there, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            to_server.transport.abort()
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)

    async def close(self) -> None:
        for each in tuple(self._connections):
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def gate_to(address: str) -> AsyncIterator[Gate]:
    """An open gate to the database at *address*."""
    gate = Gate(address)
    gate.open()
    server = await asyncio.start_server(gate.accept, "127.0.0.1", 0)
    gate.url = url_through(server, address)
    try:
        yield gate
    finally:
        server.close()
        await gate.close()
