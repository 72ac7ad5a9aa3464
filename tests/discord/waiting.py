"""Waiting for a condition that is checked after every notified change, without polling."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Changes:
    """A source of changes. `until` checks at once and after every `notify`, so it does not miss a short-lived state."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def notify(self) -> None:
        for entry in tuple(self._waiting):
            check, found = entry
            if not found.done():
                _look(check, found)
            if found.done():
                self._waiting.remove(entry)

    async def until(self, check: Callable[[], T | None], *, within: float, seen: Callable[[], object]) -> T:
        """The first true value of *check*; `TimeoutError` with the result of *seen* after *within* real seconds."""
        found: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        entry = (check, found)
        self._waiting.append(entry)
        _look(check, found)
        try:
            async with asyncio.timeout(within):
                return await found
        except TimeoutError:
            raise TimeoutError(f"not within {within} s; last seen: {seen()}") from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)


def _look(check: Callable[[], Any], found: asyncio.Future[Any]) -> None:
    try:
        value = check()
    except Exception as error:  # noqa: BLE001 - an error of a test's predicate is raised in the waiting test
        found.set_exception(error)
    else:
        if value:
            found.set_result(value)
