"""Checks reference pictures: the first bytes before a job is acknowledged, the whole file before it is submitted."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from typing import Protocol

from bot.core.errors import BadLink, BadPicture, DownloadFailed, FileTooLarge, HostNotAllowed, UserError
from bot.core.jobs import Reference
from bot.core.references import ReferenceLimits
from bot.pictures.guard import Checked

ACK_CHECK_TIMEOUT = 1.2  # seconds, of the three that Discord allows for an interaction
HEAD = 4096  # bytes
MAX_WHOLE_FILES = 2  # at the same time, for all jobs: each may have thirty megabytes
REMEMBERED = 1_000  # links that passed: a retry or a repeated request does not download them again


class Files(Protocol):
    async def read_head(self, url: str, *, hosts: Sequence[str], size: int, timeout_s: float) -> bytes: ...

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes: ...


class Judge(Protocol):
    def __call__(self, head: bytes, *, max_pixels: int) -> None: ...


class Checker(Protocol):
    async def check_reference(self, data: bytes, *, max_pixels: int) -> Checked: ...


class ReferenceChecker:
    def __init__(self, files: Files, *, judge: Judge, checker: Checker, hosts: Sequence[str]) -> None:
        """*judge* (first bytes) and *checker* (whole file) raise `BadPicture`; *hosts* may be downloaded from."""
        self._files = files
        self._judge = judge
        self._checker = checker
        self._hosts = tuple(hosts)
        self._whole = asyncio.Semaphore(MAX_WHOLE_FILES)
        self._passed: OrderedDict[str, Checked] = OrderedDict()

    async def check_within_ack(self, references: Sequence[Reference], *, limits: ReferenceLimits) -> None:
        """`UserError` for a picture found to be unusable within 1.2 s; what takes longer is left to `check`."""
        await asyncio.gather(*(self._head(each, limits) for each in references))

    async def check(self, references: Sequence[Reference], *, limits: ReferenceLimits) -> tuple[Reference, ...]:
        """*references* with the fault that each whole file has, if any.

        `DownloadFailed` or `TimeoutError` where one could not be checked yet and no other has a fault.
        """
        outcomes = await asyncio.gather(*(self._file(each, limits) for each in references), return_exceptions=True)
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        seen = [
            found if isinstance(found, Reference) else each for found, each in zip(outcomes, references, strict=True)
        ]
        if failed and not any(each.fault for each in seen):
            raise failed[0]
        return tuple(seen)

    async def _head(self, reference: Reference, limits: ReferenceLimits) -> None:
        try:
            async with asyncio.timeout(ACK_CHECK_TIMEOUT):
                head = await self._files.read_head(
                    reference.url, hosts=self._hosts, size=HEAD, timeout_s=ACK_CHECK_TIMEOUT
                )
            self._judge(head, max_pixels=limits.pixels)
        except (BadPicture, HostNotAllowed, DownloadFailed) as exc:
            if _is_lasting(exc):
                raise _refusal(reference.filename, exc, limits=limits) from exc
        except TimeoutError:
            pass

    async def _file(self, reference: Reference, limits: ReferenceLimits) -> Reference:
        try:
            checked = self._known(reference.url, limits) or await self._checked(reference.url, limits)
        except (BadPicture, HostNotAllowed, DownloadFailed, MemoryError, BrokenExecutor) as exc:
            if not _is_lasting(exc):
                raise
            refusal = _refusal(reference.filename, exc, limits=limits)
            return replace(reference, fault={"key": refusal.key, **refusal.values})
        return replace(reference, fault=None, has_location=checked.has_location)

    def _known(self, url: str, limits: ReferenceLimits) -> Checked | None:
        found = self._passed.get(url)
        if found is None or found.size > limits.size or found.width * found.height > limits.pixels:
            return None
        self._passed.move_to_end(url)
        return found

    async def _checked(self, url: str, limits: ReferenceLimits) -> Checked:
        async with self._whole:
            data = await self._files.fetch(url, hosts=self._hosts, max_bytes=limits.size)
            checked = await self._checker.check_reference(data, max_pixels=limits.pixels)
        self._passed[url] = checked
        if len(self._passed) > REMEMBERED:
            self._passed.popitem(last=False)
        return checked


def _is_lasting(exc: Exception) -> bool:
    return not isinstance(exc, DownloadFailed) or exc.permanent


def _refusal(file: str, exc: Exception, *, limits: ReferenceLimits) -> UserError:
    """The refusal that a member sees for *file* after *exc*."""
    match exc:
        case BadPicture(problem="type"):
            return UserError("references.type", file=file)
        case BadPicture(problem="empty"):
            return UserError("references.empty", file=file)
        case BadPicture(problem="animated"):
            return UserError("references.animated", file=file)
        case BadPicture(problem="pixels"):
            megapixels = exc.limit // 1_000_000
            return UserError("references.pixels", file=file, width=exc.width, height=exc.height, limit=megapixels)
        case BadPicture(problem="broken"):
            return UserError("references.broken", file=file)
        case HostNotAllowed() | BadLink():
            return UserError("references.host", file=file)
        case FileTooLarge():
            return UserError("references.heavy", file=file, limit=limits.size)
        case DownloadFailed():
            return UserError("references.expired", file=file)
    return UserError("references.complex", file=file)
