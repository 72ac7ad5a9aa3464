"""Converts reference pictures that providers do not accept, and stores them for the bot's own web server."""

from collections.abc import Callable
from typing import Protocol

from bot.core.clock import Clock
from bot.core.jobs import HOUR
from bot.core.references import ReferenceLimits
from bot.files.storage import PictureStorage
from bot.pictures.convert import Converted

FOLDER = "references"  # a folder of their own: to find the old ones, no picture's name has to be read
LINK_LIFE = 24 * HOUR  # as long as Discord's own links; the file is deleted as soon as the job has ended


class Converter(Protocol):
    async def convert(self, data: bytes, *, max_pixels: int, max_bytes: int) -> Converted: ...


class ConvertedReferences:
    def __init__(
        self, converter: Converter, *, link: Callable[[str, int], str], storage: PictureStorage, clock: Clock
    ) -> None:
        """*link* returns the URL of a converted file until a time in UTC milliseconds."""
        self._converter = converter
        self._link = link
        self._storage = storage
        self._clock = clock

    async def convert(self, data: bytes, *, limits: ReferenceLimits, job_id: str, n: int) -> str:
        """Convert and store the job's reference number *n*; returns its URL. Raises like `PicturePool.convert`."""
        done = await self._converter.convert(data, max_pixels=limits.pixels, max_bytes=limits.size)
        file = f"{job_id}-r{n}.{'png' if done.type == 'png' else 'jpg'}"
        await self._storage.write(f"{FOLDER}/{file}", done.data)
        return self._link(file, self._clock() + LINK_LIFE)
