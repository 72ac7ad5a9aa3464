"""Converts reference pictures that providers do not accept, and stores them for the bot's own web server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bot.core.clock import Clock
from bot.core.jobs import HOUR
from bot.core.references import ReferenceLimits
from bot.files.modes import make_folder
from bot.jobs.results import write_whole
from bot.pictures.convert import Converted

FOLDER = "references"  # in that of the pictures: to find the old ones, no picture's name has to be read
LINK_LIFE = 24 * HOUR  # as long as Discord's own links; the file is deleted as soon as the job has ended


class Converter(Protocol):
    async def convert(self, data: bytes, *, max_pixels: int, max_bytes: int) -> Converted: ...


class ConvertedReferences:
    def __init__(self, converter: Converter, *, link: Callable[[str, int], str], data: Path, clock: Clock) -> None:
        """*link* returns the URL of a converted file until a time in UTC milliseconds; *data*: the pictures' folder."""
        self._converter = converter
        self._link = link
        self._folder = data / FOLDER
        self._clock = clock

    async def convert(self, data: bytes, *, limits: ReferenceLimits, job_id: str, n: int) -> str:
        """Convert and store the job's reference number *n*; returns its URL. Raises like `PicturePool.convert`."""
        done = await self._converter.convert(data, max_pixels=limits.pixels, max_bytes=limits.size)
        file = f"{job_id}-r{n}.{'png' if done.type == 'png' else 'jpg'}"
        await asyncio.to_thread(self._write, file, done.data)
        return self._link(file, self._clock() + LINK_LIFE)

    def _write(self, file: str, data: bytes) -> None:
        make_folder(self._folder)
        write_whole(self._folder / file, data)
