"""An HTTP proxy on a real socket: it tunnels, passes plain requests on, refuses or cuts, and keeps a list."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Proxy:
    """*names*: the local ports that names lead to. *says*: what every request is answered with instead."""

    names: Mapping[str, int]
    says: bytes | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, _, rest = head.partition("\r\n")
        found = re.fullmatch(r"(\w+) (?:\w+://)?([^/:]+):?(\d*)(/\S*)? HTTP/1.1", first)
        assert found is not None, first
        method, host, _, path = found.groups()
        self.asked.append(f"{method} {host}")
        login = re.search(r"^proxy-authorization: (.*)\r$", rest, re.IGNORECASE | re.MULTILINE)
        self.authorizations.append(login[1] if login else None)
        if self.says is not None:
            writer.write(self.says)
            return
        on_reader, on_writer = await asyncio.open_connection("127.0.0.1", self.names[host])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            on_writer.write(f"{method} {path} HTTP/1.1\r\n{rest}".encode())
        self.writers.append(on_writer)
        await asyncio.gather(_pour(reader, on_writer), _pour(on_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(names: Mapping[str, int], *, says: bytes | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(names, says)
    tasks: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await proxy.serve(reader, writer)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(attend(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in proxy.writers:
            writer.transport.abort()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
