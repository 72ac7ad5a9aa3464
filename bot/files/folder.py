"""Picture files in a folder of this machine: written whole or not at all, readable by the bot's user only."""

import asyncio
import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bot.files.modes import make_folder, open_private
from bot.files.storage import StoredFile, checked

PROBE = ".probe"
PROBE_SIZE = 64 * 1024  # bytes
MIN_FREE = 64 * 1024 * 1024  # bytes that must be free, or the next pictures may not fit


class FolderStorage:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def location(self) -> str:
        return str(self._folder.absolute())

    async def write(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(write_whole, self._path(name), data)

    async def read(self, name: str) -> bytes | None:
        return await asyncio.to_thread(_read, self._path(name), 0, -1)

    async def read_part(self, name: str, *, start: int, end: int) -> bytes | None:
        return await asyncio.to_thread(_read, self._path(name), start, end - start)

    async def find(self, name: str) -> StoredFile | None:
        return await asyncio.to_thread(_find, self._path(name), name)

    async def delete(self, names: Iterable[str]) -> None:
        await asyncio.to_thread(_delete, [self._path(each) for each in names])

    async def list(self, folder: str = "") -> Sequence[StoredFile]:
        return await asyncio.to_thread(_list, self._folder, folder)

    async def probe(self) -> None:
        await asyncio.to_thread(_probe, self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / checked(name)


def write_whole(path: Path, data: bytes) -> None:
    """Write *data* so that a crash leaves the whole file or none: what is on disk gets settled."""
    make_folder(path.parent)  # it may have been removed
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb", opener=open_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # a partial file would only keep a full disk full
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path, start: int, size: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except FileNotFoundError:
        return None


def _find(path: Path, name: str) -> StoredFile | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return StoredFile(name, status.st_size, status.st_mtime_ns // 1_000_000)


def _delete(paths: Sequence[Path]) -> None:
    for each in paths:
        each.unlink(missing_ok=True)


def _list(root: Path, folder: str) -> list[StoredFile]:
    where = root / folder
    if not where.is_dir():
        return []
    with os.scandir(where) as entries:
        found = [
            _find(Path(each), f"{folder}/{each.name}" if folder else each.name) for each in entries if each.is_file()
        ]
    return [each for each in found if each is not None]


def _probe(folder: Path) -> None:
    make_folder(folder)
    path = folder / PROBE
    try:
        with open(path, "wb", opener=open_private) as file:
            file.write(bytes(PROBE_SIZE))
    finally:
        path.unlink(missing_ok=True)
    if shutil.disk_usage(folder).free < MIN_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
