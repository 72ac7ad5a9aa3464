import asyncio

from bot.pictures.byte_budget import ByteBudget

TIMEOUT = 20  # seconds until a test that hangs says so


async def test_bytes_beyond_the_budget_wait_their_turn() -> None:
    budget, order, release = ByteBudget(100), list[str](), asyncio.Event()

    async def use(name: str, size: int, *, until: asyncio.Event | None = None) -> None:
        async with budget.hold(size):
            order.append(name)
            if until is not None:
                await until.wait()

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        for name, size in (("first", 60), ("larger than all", 500), ("small", 10), ("nothing", 0)):
            group.create_task(use(name, size, until=release if name == "first" else None))
        await asyncio.sleep(0)
        assert order == ["first", "nothing"]
        release.set()
    assert order == ["first", "nothing", "larger than all", "small"]
    assert budget._free == 100


async def test_giving_up_the_wait_for_bytes_lets_the_next_one_through() -> None:
    budget = ByteBudget(100)
    async with budget.hold(60):
        large = asyncio.create_task(budget.hold(100).__aenter__())
        small = asyncio.create_task(budget.hold(40).__aenter__())
        await asyncio.sleep(0)

        large.cancel()

        async with asyncio.timeout(TIMEOUT):
            await small
        assert budget._free == 0
