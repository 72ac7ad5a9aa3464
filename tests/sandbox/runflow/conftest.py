from collections.abc import AsyncIterator

import pytest

from tests.sandbox.runflow.test_callbacks import Scene, scene


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
async def world(slept: list[float]) -> AsyncIterator[Scene]:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with scene(sleep=sleep) as world:
        yield world
