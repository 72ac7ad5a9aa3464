"""Decodes and encodes pictures in processes of their own, so that the event loop never waits for one.

Each worker is an executor of one process: a picture that kills its process, or takes too long, takes no
other picture with it. Spawned workers import the program's main module again, so that module must do
nothing but definitions unless it is `__main__`.
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

from bot.pictures import chart, fit, guard
from bot.pictures.chart import Chart
from bot.pictures.fit import Fitted
from bot.pictures.guard import Checked

log = logging.getLogger(__name__)
T = TypeVar("T")

# Of a worker, in bytes. Its program takes 0.4 GB of that, the largest picture 0.5 GB (`make bench NAME=pictures`).
ADDRESS_SPACE = 1_280 * 1024 * 1024


class PicturePool:
    """`check`, `check_reference`, `fit` and `draw`, off the event loop.

    All but the last raise `BadPicture`; all of them `TimeoutError` when a worker was at it for longer than *timeout*
    seconds (*check_timeout* for checks; time in line does not count); `MemoryError` when it needed more memory than
    a worker gets; `BrokenProcessPool` when two processes died over it; and `RuntimeError` after `aclose`.
    No more than *budget* bytes of pictures are in here at once, the rest wait their turn.
    """

    def __init__(
        self, *, workers: int = 1, budget: int = 256_000_000, timeout: float = 60.0, check_timeout: float = 20.0
    ) -> None:
        self._workers = [_Worker() for _ in range(workers)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()  # the one still warm goes first
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._budget = _Budget(budget)
        self._timeout = timeout
        self._check_timeout = check_timeout
        self._closed = False

    async def check(self, data: bytes) -> Checked:
        call = functools.partial(guard.check, data)
        return await self._run(call, size=len(data), timeout_s=self._check_timeout)

    async def check_reference(self, data: bytes, *, max_pixels: int) -> Checked:
        call = functools.partial(guard.check_reference, data, max_pixels=max_pixels)
        return await self._run(call, size=len(data), timeout_s=self._check_timeout)

    async def fit(self, data: bytes, *, max_bytes: int, xmp: bytes) -> Fitted | None:
        return await self._run(functools.partial(fit.fit, data, max_bytes=max_bytes, xmp=xmp), size=len(data))

    async def draw(self, days: Chart) -> bytes:
        """A PNG; the first one of a process waits for matplotlib to be imported, which only that process does."""
        return await self._run(functools.partial(chart.draw, days), size=chart.WIDTH * chart.HEIGHT * 4)

    async def aclose(self) -> None:
        """End every process, whatever it is doing."""
        self._closed = True
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _run(self, call: Callable[[], T], *, size: int, timeout_s: float | None = None) -> T:
        size = await self._budget.take(size)
        try:
            worker = await self._idle.get()
            try:
                return await self._twice(worker, call, timeout_s=timeout_s or self._timeout)
            finally:
                self._idle.put_nowait(worker)
        finally:
            self._budget.give(size)

    async def _twice(self, worker: "_Worker", call: Callable[[], T], *, timeout_s: float) -> T:
        """A process may die for reasons of its own, so its picture gets a second one."""
        self._refuse_when_closed()
        try:
            return await worker.run(call, timeout_s=timeout_s)
        except BrokenProcessPool:
            self._refuse_when_closed()
            log.warning("A picture process died and is replaced.", extra={"event": "picture_worker_died"})
            return await worker.run(call, timeout_s=timeout_s)
        except TimeoutError:
            log.warning("A picture took too long; its process is ended.", extra={"event": "picture_timed_out"})
            raise

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the picture pool is closed")


class _Worker:
    """One process, started when first needed and again after each end."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        try:
            return await self._wait(call, timeout_s)
        except (TimeoutError, asyncio.CancelledError, BrokenProcessPool):
            await self.stop()  # nothing but killing stops a process at work
            raise

    async def stop(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # The public way, kill_workers(), comes with Python 3.14.
        for process in list((executor._processes or {}).values()):  # noqa: SLF001
            process.kill()
        await asyncio.to_thread(executor.shutdown)

    async def _wait(self, call: Callable[[], T], timeout_s: float) -> T:
        if self._executor is None:
            self._executor = _executor()
        running = asyncio.wrap_future(self._executor.submit(call))
        running.add_done_callback(asyncio.Future.exception)  # seen, even when nobody waits any more
        # Not asyncio.timeout: cancelling would reach the executor's own future, and an executor that breaks
        # with a cancelled future in it loses its thread to an InvalidStateError.
        done, _ = await asyncio.wait([running], timeout=timeout_s)
        if not done:
            raise TimeoutError
        return running.result()


class _Budget:
    """Bytes that may be in the pool at once. First come, first served: a large picture is not overtaken for ever."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, size: int) -> int:
        """Wait for *size* bytes; what was taken is the answer, as one larger than all of it takes all of it."""
        size = min(size, self._limit)
        async with self._line:
            while self._free < size:
                self._freed.clear()
                await self._freed.wait()
            self._free -= size
        return size

    def give(self, size: int) -> None:
        self._free += size
        self._freed.set()


def _executor() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Ctrl-C is for the parent to answer; SIGTERM ends us at once, whatever handler the parent has."""
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _limit_memory() -> None:
    """Let a picture that needs too much memory fail by itself, and not take the machine's."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    with suppress(ValueError, OSError):  # macOS knows the name of this limit, and may not take one
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _end_with_parent() -> None:
    """A parent killed with -9 closes nothing, and its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
