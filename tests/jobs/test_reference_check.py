"""Checks of reference pictures: the refusal for each fault, how often files are downloaded, and how many at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.core.errors import BadLink, DownloadFailed, FileTooLarge, HostNotAllowed, UserError
from bot.core.jobs import Reference
from bot.core.references import ReferenceLimits
from bot.jobs.reference_check import MAX_WHOLE_FILES, ReferenceChecker
from bot.pictures import guard
from bot.pictures.guard import Checked
from tests.kit import picture

LIMITS = ReferenceLimits(pixels=10_000, size=5_000)
AWAY, GONE = DownloadFailed("HTTP 503", permanent=False), DownloadFailed("HTTP 404", permanent=True)


@dataclass
class Files:
    """A file server: by name, a file's bytes or the error that its download raises."""

    files: dict[str, Any] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def read_head(self, url: str, *, hosts: Sequence[str], size: int, timeout_s: float) -> bytes:
        return self._found(url)[:size]

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes:
        assert max_bytes == LIMITS.size
        self.fetched.append(url)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self._found(url)

    async def check_reference(self, data: bytes, *, max_pixels: int) -> Checked:
        if data.startswith(b"MemoryError"):
            raise MemoryError
        return guard.check_reference(data, max_pixels=max_pixels)

    def _found(self, url: str) -> bytes:
        content = self.files.get(url, picture())
        if isinstance(content, Exception):
            raise content
        return bytes(content)


def checker(files: Files) -> ReferenceChecker:
    return ReferenceChecker(files, judge=guard.check_head, checker=files, hosts=["cdn"])


def references(*names: str) -> list[Reference]:
    return [Reference(each, each) for each in names]


OUTCOMES: dict[str, tuple[Any, str, bool]] = {  # what the file is, the refusal's key, whether first bytes show it
    "type": (b"GIF89a", "references.type", True),
    "empty": (b"", "references.empty", True),
    "pixels": (picture(size=(200, 100)), "references.pixels", True),
    "host": (HostNotAllowed("elsewhere"), "references.host", True),
    "link": (BadLink("a private address"), "references.host", True),
    "gone": (GONE, "references.expired", True),
    "heavy": (FileTooLarge("more than 5000 bytes"), "references.heavy", True),
    "memory": (b"MemoryError", "references.complex", False),
    "cut": (picture()[:-40], "references.broken", False),
}


@pytest.mark.parametrize("case", OUTCOMES)
async def test_a_refusal_names_the_file_that_cannot_be_used(case: str) -> None:
    content, key, early = OUTCOMES[case]
    checks = checker(Files({"bad.png": content}))

    fine, bad = await checks.check(references("fine.png", "bad.png"), limits=LIMITS)
    assert fine.fault is None
    assert bad.fault is not None
    assert (bad.fault["key"], bad.fault["file"]) == (key, "bad.png")
    if early:
        with pytest.raises(UserError, match=key) as caught:
            await checks.check_within_ack(references("fine.png", "bad.png"), limits=LIMITS)
        assert {"key": key, **caught.value.values} == bad.fault


async def test_an_accepted_file_is_fetched_once() -> None:
    files = Files({"slow.png": AWAY})
    checks, asked = checker(files), references("fine.png", "slow.png")
    with pytest.raises(DownloadFailed):
        await checks.check(asked, limits=LIMITS)
    await checks.check_within_ack(asked, limits=LIMITS)  # what cannot be checked in time is checked later
    files.files.clear()

    assert [each.fault for each in await checks.check(asked, limits=LIMITS)] == [None, None]
    assert files.fetched == ["fine.png", "slow.png", "slow.png"]


async def test_a_picture_is_checked_again_for_a_model_with_lower_limits() -> None:
    checks = checker(Files())
    await checks.check(references("a.png"), limits=LIMITS)

    (seen,) = await checks.check(references("a.png"), limits=ReferenceLimits(pixels=64, size=LIMITS.size))

    assert seen.fault == {"key": "references.pixels", "file": "a.png", "width": 64, "height": 48, "limit": 0}


async def test_a_fault_is_reported_although_another_picture_cannot_be_fetched_yet() -> None:
    seen = await checker(Files({"a.png": AWAY, "b.png": b"GIF89a"})).check(references("a.png", "b.png"), limits=LIMITS)

    assert [each.fault is not None for each in seen] == [False, True]


async def test_no_more_than_two_files_are_in_memory_at_once() -> None:
    files = Files()
    checks = checker(files)

    await asyncio.gather(
        *(checks.check(references(*(f"{job}-{n}" for n in range(14))), limits=LIMITS) for job in range(3))
    )

    assert files.most_at_once == MAX_WHOLE_FILES == 2
    assert len(files.fetched) == 42
