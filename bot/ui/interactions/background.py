"""Work of buttons and commands that is finished even if its handler times out, because it writes rows."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Background:
    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await *work* in a task of its own, which goes on if the caller is cancelled."""
        task = self.start(work)
        await asyncio.wait((task,))
        return task.result()

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run *work* in a task of its own."""
        self.tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.debug("A background task failed: %s", exc)
