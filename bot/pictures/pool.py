"""Process pool that decodes, encodes and draws pictures without blocking the event loop.

Each worker is an executor with one process, so a picture that crashes its process or exceeds the timeout affects no
other picture. Spawned workers import the program's main module again, so that module may only contain definitions
unless it is `__main__`.
"""

import asyncio
import functools
import logging
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TypeVar

from bot.pictures import chart, convert, fit, guard
from bot.pictures.byte_budget import ByteBudget
from bot.pictures.chart import Chart
from bot.pictures.convert import Converted
from bot.pictures.fit import Fitted
from bot.pictures.guard import Checked
from bot.pictures.header import is_light, may_have_alpha, size_of
from bot.pictures.sniff import sniff

log = logging.getLogger(__name__)
T = TypeVar("T")

# Of a worker, in bytes: the program takes 0.4 GB of it, the largest picture 0.5 GB (`make bench NAME=pictures`).
ADDRESS_SPACE = 1_280 * 1024 * 1024
MEMORY = 800_000_000  # bytes of pictures in all workers: the largest one, or many small ones
# Bytes of memory for each pixel, from the same benchmark: to decode it, to convert it, and to encode it again.
DECODED, DECODED_WEBP = 10, 22
CONVERTED, CONVERTED_LIGHT = 13, 8
FITTED, FITTED_WITH_ALPHA = 16, 45


class PicturePool:
    """Runs `check`, `check_reference`, `convert`, `fit` and `draw` in worker processes.

    All but `draw` raise `BadPicture`. All raise `TimeoutError` if a worker takes longer than *timeout* seconds
    (*check_timeout* for checks; waiting for a worker does not count), `MemoryError` if a worker's memory is not enough,
    `BrokenProcessPool` if the picture crashed two processes, and `RuntimeError` after `aclose`.
    Pictures take about *budget* bytes of the workers' memory at most; further calls wait. Calls of `fit` and
    `convert`, which take seconds for a large picture, leave one of several workers to the others.
    """

    def __init__(
        self, *, workers: int = 2, budget: int = MEMORY, timeout: float = 60.0, check_timeout: float = 20.0
    ) -> None:
        self._workers = [_Worker() for _ in range(workers)]
        self._idle: asyncio.LifoQueue[_Worker] = (
            asyncio.LifoQueue()
        )  # last in, first out: prefers a process that is already started
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._slow = asyncio.Semaphore(max(1, workers - 1))
        self._budget = ByteBudget(budget)
        self._timeout = timeout
        self._check_timeout = check_timeout
        self._closed = False

    async def check(self, data: bytes) -> Checked:
        call = functools.partial(guard.check, data)
        return await self._run(call, size=memory_of(data), timeout_s=self._check_timeout)

    async def check_reference(self, data: bytes, *, max_pixels: int) -> Checked:
        call = functools.partial(guard.check_reference, data, max_pixels=max_pixels)
        return await self._run(call, size=memory_of(data), timeout_s=self._check_timeout)

    async def fit(self, data: bytes, *, max_bytes: int, xmp: bytes) -> Fitted | None:
        call = functools.partial(fit.fit, data, max_bytes=max_bytes, xmp=xmp)
        async with self._slow:
            return await self._run(call, size=memory_of(data, fits=True))

    async def convert(self, data: bytes, *, max_pixels: int, max_bytes: int) -> Converted:
        call = functools.partial(convert.convert, data, max_pixels=max_pixels, max_bytes=max_bytes)
        async with self._slow:
            return await self._run(call, size=memory_to_convert(data))

    async def draw(self, days: Chart) -> bytes:
        """Return a PNG. The first call in a process is slower, because it imports matplotlib."""
        return await self._run(functools.partial(chart.draw, days), size=chart.WIDTH * chart.HEIGHT * 4)

    async def aclose(self) -> None:
        """Kill every process, including busy ones."""
        self._closed = True
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _run(self, call: Callable[[], T], *, size: int, timeout_s: float | None = None) -> T:
        async with self._budget.hold(size):
            worker = await self._idle.get()
            try:
                return await self._run_with_retry(worker, call, timeout_s=timeout_s or self._timeout)
            finally:
                self._idle.put_nowait(worker)

    async def _run_with_retry(self, worker: "_Worker", call: Callable[[], T], *, timeout_s: float) -> T:
        """Run *call*, once more if its process dies: that may not be the picture's fault."""
        self._require_open()
        try:
            return await worker.run(call, timeout_s=timeout_s)
        except BrokenProcessPool:
            self._require_open()
            log.warning("A picture process died and is replaced", extra={"event": "picture_worker_died"})
            return await worker.run(call, timeout_s=timeout_s)
        except TimeoutError:
            log.warning("A picture took too long and its process was ended", extra={"event": "picture_timed_out"})
            raise

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("the picture pool is closed")


class _Worker:
    """One process, started at first use and again after it has ended."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        try:
            return await self._wait(call, timeout_s)
        except (TimeoutError, asyncio.CancelledError, BrokenProcessPool):
            await self.stop()  # a busy process can only be killed
            raise

    async def stop(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # The public method kill_workers() is new in Python 3.14.
        for process in list((executor._processes or {}).values()):  # noqa: SLF001
            process.kill()
        await asyncio.to_thread(executor.shutdown)

    async def _wait(self, call: Callable[[], T], timeout_s: float) -> T:
        if self._executor is None:
            self._executor = _executor()
        running = asyncio.wrap_future(self._executor.submit(call))
        running.add_done_callback(asyncio.Future.exception)  # marks its error as retrieved if the caller has gone
        # Not asyncio.timeout: it would cancel the executor's own future, and an executor that breaks with a
        # cancelled future loses its thread to an InvalidStateError.
        done, _ = await asyncio.wait([running], timeout=timeout_s)
        if not done:
            raise TimeoutError
        return running.result()


def memory_of(data: bytes, *, fits: bool = False) -> int:
    """About how many bytes of memory a worker needs to check a picture, or (*fits*) to make it smaller."""
    head = data[: guard.HEAD_SIZE]
    kind = sniff(head) or ""
    width, height = size_of(head, kind) or (0, 0)
    per_pixel = DECODED_WEBP if kind == "webp" else DECODED
    if fits:
        per_pixel = max(per_pixel, FITTED_WITH_ALPHA if may_have_alpha(head, kind) else FITTED)
    return 2 * len(data) + width * height * per_pixel


def memory_to_convert(data: bytes) -> int:
    """About how many bytes of memory a worker needs to convert a picture; as for the largest if its size is unknown."""
    head = data[: guard.HEAD_SIZE]
    kind = sniff(head) or ""
    width, height = size_of(data, kind) or (guard.SOURCE_PIXELS, 1)
    per_pixel = CONVERTED_LIGHT if is_light(head, kind) else DECODED_WEBP if kind == "webp" else CONVERTED
    return 2 * len(data) + width * height * per_pixel


def _executor() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_initialize)


def _initialize() -> None:
    """Set up a worker: ignore Ctrl-C, which the parent handles, and end at once on SIGTERM."""
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _limit_memory() -> None:
    """Limit the worker's address space, so that a picture that needs too much memory fails with `MemoryError`."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    with suppress(ValueError, OSError):  # macOS defines this limit, but may reject it
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _end_with_parent() -> None:
    """End when the parent does: one killed by SIGKILL closes nothing, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
