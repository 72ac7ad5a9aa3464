"""Converts reference pictures that providers do not accept, and stores them for the bot's own web server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bot.core.clock import Clock
from bot.core.jobs import HOUR
from bot.core.references import ReferenceLimits
from bot.jobs.results import write_whole
from bot.pictures.convert import Converted

LINK_LIFE = 24 * HOUR  # as long as Discord's own links; the file is deleted as soon as the job has ended


class Converter(Protocol):
    async def convert(self, data: bytes, *, max_pixels: int, max_bytes: int) -> Converted: ...


class ConvertedReferences:
    def __init__(self, converter: Converter, *, link: Callable[[str, int], str], data: Path, clock: Clock) -> None:
        """*link* returns the URL of a file in *data* until a time in UTC milliseconds."""
        self._converter = converter
        self._link = link
        self._data = data
        self._clock = clock

    async def convert(self, data: bytes, *, limits: ReferenceLimits, job_id: str, n: int) -> str:
        """Convert and store the job's reference number *n*; returns its URL. Raises like `PicturePool.convert`."""
        done = await self._converter.convert(data, max_pixels=limits.pixels, max_bytes=limits.size)
        file = f"{job_id}-r{n}.{'png' if done.type == 'png' else 'jpg'}"
        await asyncio.to_thread(write_whole, self._data / file, done.data)
        return self._link(file, self._clock() + LINK_LIFE)
