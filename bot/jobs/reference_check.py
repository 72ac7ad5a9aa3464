"""Checks reference pictures: the first bytes before a job is acknowledged, the whole file before it is submitted.

A picture that providers do not accept is converted, if the operator has set `web.public_url`: they get the result from
our own web server.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from typing import Protocol

from bot.core.errors import BadLink, BadPicture, DownloadFailed, FileTooLarge, HostNotAllowed, UserError
from bot.core.jobs import Reference
from bot.core.references import ReferenceLimits
from bot.pictures.guard import UPRIGHT, Checked

ACK_CHECK_TIMEOUT = 1.2  # seconds, of the three that Discord allows for an interaction
HEAD = 4096  # bytes
MAX_WHOLE_FILES = 2  # at the same time, for all jobs: each may have 64 megabytes
CONVERTIBLE = frozenset({"heic", "avif", "gif", "animated", "pixels"})  # problems that a conversion may solve
REMEMBERED = 1_000  # links that passed: a retry or a repeated request does not download them again


class Files(Protocol):
    async def read_head(self, url: str, *, hosts: Sequence[str], size: int, timeout_s: float) -> bytes: ...

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes: ...


class Judge(Protocol):
    def __call__(self, head: bytes, *, max_pixels: int, converts: bool) -> None: ...


class Checker(Protocol):
    async def check_reference(self, data: bytes, *, max_pixels: int) -> Checked: ...


class Convert(Protocol):
    async def __call__(self, data: bytes, *, limits: ReferenceLimits, job_id: str, n: int) -> str: ...


class ReferenceChecker:
    def __init__(
        self, files: Files, *, judge: Judge, checker: Checker, hosts: Sequence[str], convert: Convert | None = None
    ) -> None:
        """*judge* (first bytes) and *checker* (whole file) raise `BadPicture`; *hosts* may be downloaded from.

        *convert* stores the picture converted and returns its URL; None if nothing can be converted.
        """
        self._files = files
        self._judge = judge
        self._checker = checker
        self._hosts = tuple(hosts)
        self._convert = convert
        self._whole = asyncio.Semaphore(MAX_WHOLE_FILES)
        self._passed: OrderedDict[str, Checked] = OrderedDict()

    async def check_within_ack(self, references: Sequence[Reference], *, limits: ReferenceLimits) -> None:
        """`UserError` for a picture found to be unusable within 1.2 s; what takes longer is left to `check`."""
        await asyncio.gather(*(self._head(each, limits) for each in references))

    async def check(
        self, references: Sequence[Reference], *, limits: ReferenceLimits, job_id: str
    ) -> tuple[Reference, ...]:
        """*references* with the fault that each whole file has, or the link to what it was converted to, if any.

        `DownloadFailed` or `TimeoutError` where one could not be checked yet and no other has a fault.
        """
        checks = [self._file(each, limits, job_id=job_id, n=n) for n, each in enumerate(references, start=1)]
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
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
            self._judge(head, max_pixels=limits.pixels, converts=self._convert is not None)
        except (BadPicture, HostNotAllowed, DownloadFailed) as exc:
            if _is_lasting(exc):
                raise self._refusal(reference.filename, exc, limits) from exc
        except TimeoutError:
            pass

    async def _file(self, reference: Reference, limits: ReferenceLimits, *, job_id: str, n: int) -> Reference:
        if (known := self._known(reference.url, limits)) is not None:
            return replace(reference.unchecked, has_location=known.has_location)
        try:
            async with self._whole:
                size = limits.source_size(converts=self._convert is not None)
                data = await self._files.fetch(reference.url, hosts=self._hosts, max_bytes=size)
                return await self._usable(reference.unchecked, data, limits, job_id=job_id, n=n)
        except (BadPicture, HostNotAllowed, DownloadFailed, MemoryError, BrokenExecutor) as exc:
            if not _is_lasting(exc):
                raise
            refusal = self._refusal(reference.filename, exc, limits)
            return replace(reference.unchecked, fault={"key": refusal.key, **refusal.values})

    async def _usable(
        self, reference: Reference, data: bytes, limits: ReferenceLimits, *, job_id: str, n: int
    ) -> Reference:
        """*reference* as it can be sent: unchanged, or converted where it has to be or is better."""
        checked = None
        try:
            checked = await self._checker.check_reference(data, max_pixels=limits.pixels)
        except BadPicture as exc:
            if self._convert is None or exc.problem not in CONVERTIBLE:
                raise
        if self._convert is not None and (checked is None or len(data) > limits.size or _looks_different(checked)):
            try:
                url = await self._convert(data, limits=limits, job_id=job_id, n=n)
            except (BadPicture, MemoryError, BrokenExecutor, TimeoutError):
                if checked is None or len(data) > limits.size:
                    raise
            else:
                return replace(reference, converted_url=url)
        assert checked is not None
        self._remember(reference.url, checked)
        return replace(reference, has_location=checked.has_location)

    def _known(self, url: str, limits: ReferenceLimits) -> Checked | None:
        found = self._passed.get(url)
        if found is None or found.size > limits.size or found.width * found.height > limits.pixels:
            return None
        self._passed.move_to_end(url)
        return found

    def _remember(self, url: str, checked: Checked) -> None:
        self._passed[url] = checked
        if len(self._passed) > REMEMBERED:
            self._passed.popitem(last=False)

    def _refusal(self, file: str, exc: Exception, limits: ReferenceLimits) -> UserError:
        return _refusal(file, exc, max_size=limits.source_size(converts=self._convert is not None))


def _looks_different(checked: Checked) -> bool:
    """Whether a model may see the picture lying on its side, or as an animation."""
    return checked.orientation != UPRIGHT or checked.frames > 1


def _is_lasting(exc: Exception) -> bool:
    return not isinstance(exc, DownloadFailed) or exc.permanent


def _refusal(file: str, exc: Exception, *, max_size: int) -> UserError:
    """The refusal that a member sees for *file* after *exc*."""
    match exc:
        case BadPicture(problem="type" | "empty" | "broken" | "heic" | "avif" | "gif" | "animated"):
            return UserError(f"references.{exc.problem}", file=file)
        case BadPicture(problem="pixels"):
            megapixels = exc.limit // 1_000_000
            return UserError("references.pixels", file=file, width=exc.width, height=exc.height, limit=megapixels)
        case HostNotAllowed() | BadLink():
            return UserError("references.host", file=file)
        case FileTooLarge():
            return UserError("references.heavy", file=file, limit=max_size)
        case DownloadFailed():
            return UserError("references.expired", file=file)
    return UserError("references.complex", file=file)
