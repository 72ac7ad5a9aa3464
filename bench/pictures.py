"""The largest pictures: how much memory and time does a worker need to check, convert and fit them?

Each is given to a worker of its own, as the bot starts them, address-space limit included. Peaks are the whole
worker's, its program included. Linux only: they are read from /proc.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from bot.core.errors import BadPicture
from bot.core.references import MAX_PIXELS, MAX_SOURCE_BYTES
from bot.pictures.pool import PicturePool
from bot.pictures.provenance import ai_mark
from tests.pictures.make import encoded, grain, many_scans

MAX_UPLOAD = 10 * 1024 * 1024 - 64 * 1024  # Discord's upload limit for most members
MARK = ai_mark("Nano Banana 2", edited=False)
MAX_SENT = 31_457_280  # reference_bytes of the shipped models
PHONE, WEBP, HUGE = (8192, 6144), (5000, 5000), (10_000, 10_000)

Call = Callable[[PicturePool, bytes], Awaitable[object]]


def main() -> list[dict[str, Any]]:
    return asyncio.run(_measure())


async def _measure() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    photo = grain(4096)
    for name, data in _results(photo):
        rows += await _one(f"check_result_{name}", data, lambda pool, data: pool.check(data))
        if len(data) > MAX_UPLOAD:
            rows += await _one(
                f"fit_result_{name}", data, lambda pool, data: pool.fit(data, max_bytes=MAX_UPLOAD, xmp=MARK)
            )
        rows += await _one(
            f"shrink_result_{name}", data, lambda pool, data: pool.fit(data, max_bytes=1_000_000, xmp=MARK)
        )
    for name, data in _references(photo):
        rows += await _one(f"check_reference_{name}", data, _reference)
    for name, data in _sources(photo):
        rows += await _one(f"convert_reference_{name}", data, _converted)
    return rows


def _results(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """4K pictures in each format, as noisy as a photograph, with and without alpha."""
    yield "png", encoded(photo, "png", compress_level=1)
    yield "jpeg", encoded(photo, "jpeg", quality=98, subsampling=0, progressive=True)
    yield "webp", encoded(photo, "webp", lossless=True, quality=0, method=0)
    photo = photo.copy()
    photo.putalpha(photo.getchannel("R"))
    yield "png_alpha", encoded(photo, "png", compress_level=1)


def _references(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """The largest accepted pictures, and rejected ones."""
    large = photo.resize(PHONE)
    yield "png_50mp", encoded(large, "png", compress_level=1)
    yield "jpeg_50mp", encoded(large, "jpeg", quality=85)
    yield "jpeg_50mp_progressive", encoded(large, "jpeg", quality=85, subsampling=0, progressive=True)
    yield "jpeg_50mp_64_scans", many_scans(54, side=7100)
    yield "webp_25mp", encoded(photo.resize(WEBP), "webp", lossless=True, quality=0, method=0)
    yield "webp_80mp", encoded(Image.new("RGB", (8944, 8944)), "webp")
    yield "jpeg_50mp_5000_scans", many_scans(5_000, side=7100)


def _sources(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """The largest pictures that are converted, as noisy as they can be within the largest file that is read."""
    large, smooth = photo.resize(PHONE), photo.resize((1024, 1024)).resize((8064, 6048))
    yield "jpeg_100mp_progressive", encoded(photo.resize(HUGE), "jpeg", quality=85, subsampling=0, progressive=True)
    yield "png_100mp", encoded(photo.resize((1024, 1024)).resize(HUGE), "png")
    yield "gif_50mp", encoded(large.quantize(64), "gif")
    yield "avif_50mp", encoded(large, "avif", speed=10, quality=60)
    yield "heic_50mp", encoded(smooth, "heif", quality=50, tile_size=512)
    smooth.putalpha(smooth.getchannel("R"))
    yield "png_alpha_50mp", encoded(smooth, "png")


async def _converted(pool: PicturePool, data: bytes) -> object:
    assert len(data) <= MAX_SOURCE_BYTES
    return await pool.convert(data, max_pixels=MAX_PIXELS, max_bytes=MAX_SENT)


async def _reference(pool: PicturePool, data: bytes) -> object:
    return await pool.check_reference(data, max_pixels=MAX_PIXELS)


async def _one(name: str, data: bytes, call: Call) -> list[dict[str, Any]]:
    pool = PicturePool(workers=1)
    try:
        await pool._run(_peaks, size=0)  # noqa: SLF001 - it is running when the clock starts
        began = time.perf_counter()
        try:
            await call(pool, data)
        except (BadPicture, MemoryError) as exc:
            name = f"{name}_{exc or 'memory'}"
        took = time.perf_counter() - began
        resident, space = await pool._run(_peaks, size=0)  # noqa: SLF001 - of the same process
    finally:
        await pool.aclose()
    return [
        {"name": f"{name}_file", "value": round(len(data) / 1e6, 1), "unit": "MB"},
        {"name": f"{name}_resident", "value": resident, "unit": "MB"},
        {"name": f"{name}_address_space", "value": space, "unit": "MB"},
        {"name": f"{name}_time", "value": round(took, 2), "unit": "s"},
    ]


def _peaks() -> tuple[int, int]:
    """Return the peak memory and address space of this process in megabytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(round(int(status[each].split()[0]) * 1024 / 1e6) for each in ("VmHWM", "VmPeak"))  # type: ignore[return-value]
