import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from bot.core.errors import BadPicture
from bot.pictures import guard
from bot.pictures.chart import Chart, Day, draw
from bot.pictures.pool import PicturePool, memory_of, memory_to_convert
from tests.pictures.make import encoded, grain, grid, plain

TIMEOUT = 20  # seconds until a test that hangs says so
FOR_EVER = partial(time.sleep, 600)
PIDFD = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes by Linux' pidfd")


@pytest.fixture
async def pool() -> AsyncIterator[PicturePool]:
    pool = PicturePool()
    yield pool
    await pool.aclose()


async def worker_of(pool: PicturePool) -> int:
    return await pool._run(os.getpid, size=0)


async def ended(pid: int) -> None:
    """Return when process *pid*, which need not be our child, is no more."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, over.set)
    try:
        async with asyncio.timeout(TIMEOUT):
            await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def longest_stall(work: Awaitable[object]) -> float:
    """The largest lag of the event loop in seconds while *work* ran."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - began - 0.005)

    ticker = asyncio.create_task(tick())
    await work
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    return worst


async def test_it_checks_and_fits_in_another_process(pool: PicturePool) -> None:
    data = encoded(grain(256), "png")

    checked = await pool.check(data)
    done = await pool.fit(data, max_bytes=len(data) - 1, xmp=b"")

    assert checked == guard.check(data)
    assert done is not None
    assert (done.type, done.note) == ("webp", "reencoded")
    assert await pool.fit(data, max_bytes=10, xmp=b"") is None
    assert await worker_of(pool) != os.getpid()


async def test_it_checks_references_in_another_process(pool: PicturePool) -> None:
    assert await pool.check_reference(plain(size=(9, 9)), max_pixels=81) == guard.check(plain(size=(9, 9)))
    with pytest.raises(BadPicture) as caught:
        await pool.check_reference(plain(size=(9, 9)), max_pixels=80)

    assert (caught.value.problem, caught.value.width, caught.value.limit) == ("pixels", 9, 80)


async def test_it_converts_in_another_process_which_survives_a_file_that_lies(pool: PicturePool) -> None:
    before = await worker_of(pool)
    data = encoded(grain(128), "heif", tile_size=64)
    limits = {"max_pixels": 1_000_000, "max_bytes": 1_000_000}

    assert (await pool.convert(data, **limits)).type == "jpeg"
    for lying in (grid(data, 60_000), data[: len(data) // 2]):
        with pytest.raises(BadPicture, match="broken"):
            await pool.convert(lying, **limits)
    assert await worker_of(pool) == before


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no such limit")
async def test_a_picture_that_needs_too_much_memory_fails_alone(pool: PicturePool) -> None:
    before = await worker_of(pool)

    with pytest.raises(MemoryError):
        await pool._run(take_two_gigabytes, size=0)

    assert await worker_of(pool) == before
    assert (await pool.check(plain())).type == "png"


async def test_a_check_gets_less_time_than_a_fit(pool: PicturePool) -> None:
    pool._check_timeout = 0.001

    for check in (pool.check(plain()), pool.check_reference(plain(), max_pixels=1)):
        with pytest.raises(TimeoutError):
            await check
    assert await pool.fit(plain(), max_bytes=9_999, xmp=b"") is not None


async def test_it_draws_a_chart_in_another_process(pool: PicturePool) -> None:
    chart = Chart((Day("21 Nov", 2, 80_000),), title="Today", images_label="Pictures", money_label="Spent")

    assert await pool.draw(chart) == draw(chart)


async def test_a_bad_picture_raises_its_error_and_ends_no_process(pool: PicturePool) -> None:
    before = await worker_of(pool)

    with pytest.raises(BadPicture) as caught:
        await pool.check(b"<svg/>")

    assert caught.value.problem == "type"
    assert await worker_of(pool) == before


async def test_no_process_starts_before_it_is_needed(pool: PicturePool) -> None:
    assert pool._workers[0]._executor is None

    await pool.aclose()

    assert pool._workers[0]._executor is None


async def test_a_worker_killed_while_idle_is_replaced(pool: PicturePool) -> None:
    before = await worker_of(pool)
    os.kill(before, signal.SIGKILL)

    assert (await pool.check(plain())).type == "png"
    assert await worker_of(pool) != before


async def test_a_picture_whose_process_dies_gets_a_second_one(pool: PicturePool, tmp_path: Path) -> None:
    assert await pool._run(partial(die_the_first_time, tmp_path / "mark"), size=0) == "done"


async def test_a_picture_that_kills_two_processes_is_given_up_and_the_next_one_works(pool: PicturePool) -> None:
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        await pool._run(partial(os._exit, 3), size=0)

    assert (await pool.check(plain())).type == "png"


async def test_a_call_that_times_out_frees_the_pool(pool: PicturePool) -> None:
    before = await worker_of(pool)
    pool._timeout = 0.05

    with pytest.raises(TimeoutError):
        await pool._run(FOR_EVER, size=0)

    assert not alive(before)
    pool._timeout = TIMEOUT
    assert (await pool.check(plain())).type == "png"


async def test_one_whose_caller_is_gone_frees_the_pool(pool: PicturePool) -> None:
    before = await worker_of(pool)
    task = asyncio.create_task(pool._run(FOR_EVER, size=100))
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not alive(before)
    assert pool._budget._free == pool._budget._limit
    assert (await pool.check(plain())).type == "png"


async def test_one_bad_picture_does_not_affect_others() -> None:
    pool = PicturePool(workers=2)
    try:
        slow = asyncio.create_task(pool._run(partial(time.sleep, 0.3), size=0))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="terminated abruptly"):
            await pool._run(partial(os._exit, 3), size=0)
        await slow
    finally:
        await pool.aclose()


async def test_closing_cancels_running_work_and_refuses_new_work(pool: PicturePool) -> None:
    pid = await worker_of(pool)
    running = asyncio.create_task(pool._run(FOR_EVER, size=0))
    waiting = asyncio.create_task(pool.check(plain()))
    await asyncio.sleep(0)

    async with asyncio.timeout(TIMEOUT):
        await pool.aclose()
        outcomes = await asyncio.gather(running, waiting, return_exceptions=True)

    assert [str(each) for each in outcomes] == ["the picture pool is closed"] * 2
    assert not alive(pid)
    with pytest.raises(RuntimeError, match="closed"):
        await pool.fit(plain(), max_bytes=1, xmp=b"")


async def test_a_check_does_not_wait_for_pictures_that_are_made_smaller(pool: PicturePool) -> None:
    data = encoded(grain(1024), "png", compress_level=1)
    fits = [asyncio.create_task(pool.fit(data, max_bytes=len(data) - 1, xmp=b"")) for _ in range(40)]

    assert (await pool.check(plain())).type == "png"
    assert not all(each.done() for each in fits)

    for each in fits:
        each.cancel()
    await asyncio.wait(fits)


def test_the_memory_that_a_picture_needs_is_estimated_from_its_header() -> None:
    rgb, alpha, webp = (encoded(image, kind) for image, kind in (
        (grain(100), "png"), (grain(100, alpha=True), "png"), (grain(100), "webp"),
    ))  # fmt: skip
    assert [(memory_of(each) - 2 * len(each)) // 10_000 for each in (rgb, alpha, webp)] == [10, 10, 22]
    assert [(memory_of(each, fits=True) - 2 * len(each)) // 10_000 for each in (rgb, alpha, webp)] == [16, 45, 45]
    assert memory_of(b"no picture") == 20
    heic, gif = encoded(grain(100), "heif"), plain("gif", size=(100, 100))
    pictures = (encoded(grain(100), "jpeg"), rgb, alpha, webp, heic, gif)
    converted = [(memory_to_convert(each) - 2 * len(each)) // 10_000 for each in pictures]
    assert converted == [8, 8, 13, 22, 13, 13]
    assert memory_to_convert(heic[:100]) > 600_000_000  # its size is not among the first bytes


async def test_pictures_that_need_too_much_memory_together_are_processed_one_after_another() -> None:
    pool = PicturePool(budget=1_000)
    try:
        first = asyncio.create_task(pool._run(FOR_EVER, size=600))
        second = asyncio.create_task(pool._run(os.getpid, size=600))
        await pool._run(os.getpid, size=0)
        assert not second.done()

        first.cancel()
        async with asyncio.timeout(TIMEOUT):
            await second
    finally:
        await pool.aclose()


async def test_the_event_loop_is_not_blocked_while_a_large_picture_is_fitted(pool: PicturePool) -> None:
    """Inline, the same takes several hundred milliseconds; the best of three keeps a busy machine out of it."""
    data = encoded(grain(2048), "png", compress_level=1)
    await pool.check(data)

    stall = 1.0
    for _ in range(3):
        stall = min(stall, await longest_stall(pool.fit(data, max_bytes=1_000_000, xmp=b"")))
        if stall < 0.1:
            break

    assert stall < 0.1


@PIDFD
async def test_ctrl_c_is_not_the_workers_to_answer_and_sigterm_is(pool: PicturePool) -> None:
    pid = await worker_of(pool)

    os.kill(pid, signal.SIGINT)
    assert await worker_of(pool) == pid

    os.kill(pid, signal.SIGTERM)
    await ended(pid)
    assert await worker_of(pool) != pid


@PIDFD
async def test_killing_the_program_leaves_no_worker_behind() -> None:
    root = Path(__file__).parents[2]
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.pictures.orphan", cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            worker = int(await program.stdout.readline())
    finally:
        program.kill()

    try:
        await ended(worker)
    finally:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        await program.communicate()  # last: it waits for the worker too, which holds the same stdout


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def take_two_gigabytes() -> int:
    return len(bytearray(2 << 30))


def die_the_first_time(mark: Path) -> str:
    if mark.exists():
        return "done"
    mark.touch()
    os._exit(9)
