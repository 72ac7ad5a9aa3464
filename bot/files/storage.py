"""What a storage of picture files offers, whether it is a folder or a bucket, and how it fails."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

NAME = re.compile(r"([a-z]+/)?[0-9A-Za-z][0-9A-Za-z._-]*")  # one folder at most, and no way out of it


class StorageUnavailable(OSError):
    """The storage does not answer, not in time, or cannot take the file now."""


class StorageRefused(OSError):
    """The storage rejects the credentials or the permissions, or there is no such bucket."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    name: str
    size: int  # bytes
    written_at: int  # UTC milliseconds, by the storage's clock


class PictureStorage(Protocol):
    """Files by name, such as `01M7….png` or `references/01M7….jpg`; any other name is a `ValueError`.

    All methods raise `OSError` where the storage fails.
    """

    @property
    def location(self) -> str:
        """Where the files are, for people."""
        ...

    async def write(self, name: str, data: bytes) -> None:
        """Store the whole file durably, in place of an earlier one, or raise and leave no part of it to be read."""
        ...

    async def read(self, name: str) -> bytes | None:
        """The whole file; None where there is no such file."""
        ...

    async def read_part(self, name: str, *, start: int, end: int) -> bytes | None:
        """The bytes from *start*, which is inside the file, to before *end*, which is not beyond its size."""
        ...

    async def find(self, name: str) -> StoredFile | None: ...

    async def delete(self, names: Iterable[str]) -> None:
        """Delete the files that exist."""
        ...

    async def list(self, folder: str = "") -> Sequence[StoredFile]:
        """The files directly in *folder*, in no particular order."""
        ...

    async def probe(self) -> None:
        """Raise the `OSError` that the next write would meet."""
        ...


def checked(name: str) -> str:
    """Return *name*. Raises `ValueError` if it is no file name of a storage."""
    if not NAME.fullmatch(name):
        raise ValueError(f"no name of a stored file: {name!r}")
    return name
