"""Downloads reference pictures, draws the results of runs, and serves them."""

import asyncio
import base64
import binascii
import struct
import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from bot.core.references import is_loopback
from bot.sandbox import drawing
from bot.sandbox.responses import HTML, FaultedCall, send_endless, send_half, send_slowly
from bot.sandbox.runs import Run

MAX_REFERENCE = 50 * 1024 * 1024  # bytes; the maximum that RunComfy recommends
MAX_CACHED = 64  # drawn files kept in memory; others are drawn again


class Files:
    """Draws pictures in threads, at the first request for each."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._threads: ThreadPoolExecutor | None = None
        self._references: dict[str, asyncio.Task[tuple[bytes, ...]]] = {}
        self._drawn: OrderedDict[tuple[str, int], asyncio.Task[bytes]] = OrderedDict()
        self._http: aiohttp.ClientSession | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        self._stopping.clear()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="drawing")
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), trust_env=False)

    async def stop(self) -> None:
        self._stopping.set()
        tasks = [*self._references.values(), *self._drawn.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drawn.clear()
        self._references = {key: task for key, task in self._references.items() if not task.cancelled()}
        if self._http is not None:
            await self._http.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def prefetch(self, run: Run) -> None:
        """Start the download of the references of *run*, unless it was started before."""
        if run.asked.value("image_urls") and run.id not in self._references:
            self._references[run.id] = asyncio.create_task(self._fetch_all(run))

    async def reference_error(self, run: Run) -> str | None:
        """Return why the references of *run* cannot be used, None if they can."""
        try:
            await self._references_of(run)
        except drawing.Unreadable as exc:
            return str(exc)
        return None

    async def answer(self, run: Run, index: int, *, met: FaultedCall, request: web.Request) -> web.StreamResponse:
        """Send the picture, or what the faults replace it with."""
        kind = f"image/{run.asked.output_format}"
        if "file:404" in met:
            return web.Response(status=404, text="no such file")
        if "file:endless" in met:
            return await send_endless(request, kind=kind, stopping=self._stopping)
        if "file:html" in met or "file:lying_type" in met:
            return web.Response(body=HTML, content_type="text/html" if "file:html" in met else kind)
        raw, kind = await self._bytes(run, index, met=met, kind=kind)
        if "file:truncated" in met:
            return await send_half(request, raw, kind=kind)
        if "file:slow" in met:
            return await send_slowly(request, raw, kind=kind, seconds=met.number("file:slow", "seconds", 2.0))
        return web.Response(body=raw, content_type=kind)

    async def _bytes(self, run: Run, index: int, *, met: FaultedCall, kind: str) -> tuple[bytes, str]:
        loop = asyncio.get_running_loop()
        if "file:empty" in met:
            return b"", kind
        if "file:bomb" in met:
            return _bomb(60_000), "image/png"
        if "file:huge" in met:
            size = met.number("file:huge", "mb", 12.0)
            return await loop.run_in_executor(self._threads, drawing.noise, size), "image/png"
        return await self._picture(run, index), kind

    async def _picture(self, run: Run, index: int) -> bytes:
        key = (run.id, index)
        if key not in self._drawn:
            self._drawn[key] = asyncio.create_task(self._draw(run, index))
        while len(self._drawn) > MAX_CACHED and next(iter(self._drawn.values())).done():
            self._drawn.popitem(last=False)
        # shielded: a client that disconnects must not cancel a drawing that another one waits for
        return await asyncio.shield(self._drawn[key])

    async def _draw(self, run: Run, index: int) -> bytes:
        asked = run.asked
        order = drawing.DrawRequest(
            prompt=asked.prompt,
            model=run.entry.name,
            resolution=asked.value("resolution"),
            aspect_ratio=asked.value("aspect_ratio"),
            format=asked.output_format,
            seed=asked.value("seed"),
            number=index + 1,
            count=run.count,
            salt="" if asked.value("seed") is not None else run.id,
            references=await self._references_of(run),
            scale=self._scale,
        )
        return await asyncio.get_running_loop().run_in_executor(self._threads, drawing.draw, order)

    async def _references_of(self, run: Run) -> tuple[bytes, ...]:
        self.prefetch(run)  # again, if the service was stopped in between
        task = self._references.get(run.id)
        return await asyncio.shield(task) if task else ()

    async def _fetch_all(self, run: Run) -> tuple[bytes, ...]:
        fetched = []
        for number, url in enumerate(run.asked.value("image_urls")):
            try:
                raw = _inline(url) if url.startswith("data:") else await self._fetch(url)
                await asyncio.get_running_loop().run_in_executor(self._threads, drawing.check_reference, raw)
            except (drawing.Unreadable, aiohttp.ClientError, TimeoutError, ValueError) as exc:
                raise drawing.Unreadable(f"Failed to download image_urls[{number}]: {exc}") from exc
            fetched.append(raw)
        return tuple(fetched)

    async def _fetch(self, url: str) -> bytes:
        """Download without token or cookies, from loopback only: the sandbox makes no external requests."""
        if not is_loopback(urlsplit(url).hostname or ""):
            raise drawing.Unreadable("the local image service fetches from this machine only")
        assert self._http is not None
        async with self._http.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise drawing.Unreadable(f"HTTP {response.status}")
            raw = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                raw += chunk
                if len(raw) > MAX_REFERENCE:
                    raise drawing.Unreadable("larger than 50 MB")
        return bytes(raw)


def _inline(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error as exc:
        raise drawing.Unreadable("not base64") from exc


def _bomb(side: int) -> bytes:
    """Return a PNG of about a hundred bytes whose header announces *side* x *side* pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(4096))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
