"""Checks of reference pictures: the refusal for each fault, how often files are downloaded, and how many at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import BadLink, DownloadFailed, FileTooLarge, HostNotAllowed, UserError
from bot.core.jobs import Reference
from bot.core.references import MAX_SOURCE_BYTES, ReferenceLimits
from bot.files.folder import FolderStorage
from bot.jobs.converted_references import LINK_LIFE, ConvertedReferences
from bot.jobs.reference_check import MAX_WHOLE_FILES, ReferenceChecker
from bot.pictures import convert, guard
from bot.pictures.convert import Converted
from bot.pictures.guard import Checked
from tests.kit import NOON, Time, picture
from tests.pictures.make import encoded, grain, moving, oriented, plain, quartered

JOB = "01M7Y0XSNXXPA2WVYTX3MESRVG"
LIMITS = ReferenceLimits(pixels=10_000, size=5_000)
AWAY, GONE = DownloadFailed("HTTP 503", permanent=False), DownloadFailed("HTTP 404", permanent=True)


@dataclass
class Files:
    """A file server: by name, a file's bytes or the error that its download raises."""

    files: dict[str, Any] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # the most bytes that each download may have
    at_once: int = 0
    most_at_once: int = 0

    async def read_head(self, url: str, *, hosts: Sequence[str], size: int, timeout_s: float) -> bytes:
        return self._found(url)[:size]

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes:
        self.sizes.append(max_bytes)
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

    async def convert(self, data: bytes, *, max_pixels: int, max_bytes: int) -> Converted:
        if data.endswith(b"MemoryError"):
            raise MemoryError
        return convert.convert(data, max_pixels=max_pixels, max_bytes=max_bytes)

    def _found(self, url: str) -> bytes:
        content = self.files.get(url, picture())
        if isinstance(content, Exception):
            raise content
        return bytes(content)


def checker(files: Files) -> ReferenceChecker:
    return ReferenceChecker(files, judge=guard.check_head, checker=files, hosts=["cdn"])


def converting(files: Files, *, data: Path) -> ReferenceChecker:
    """A checker that converts into the folder *data*; the file's name is its link."""
    converted = ConvertedReferences(
        files, link=lambda file, until: f"{file} until {until}", storage=FolderStorage(data), clock=Time()
    )
    return ReferenceChecker(files, judge=guard.check_head, checker=files, hosts=["cdn"], convert=converted.convert)


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def references(*names: str) -> list[Reference]:
    return [Reference(each, each) for each in names]


OUTCOMES: dict[str, tuple[Any, str, bool]] = {  # what the file is, the refusal's key, whether first bytes show it
    "type": (b"BM", "references.type", True),
    "heic": (encoded(grain(64), "heif"), "references.heic", True),
    "avif": (encoded(grain(64), "avif"), "references.avif", True),
    "gif": (plain("gif"), "references.gif", True),
    "animated": (moving("webp", frames=2), "references.animated", True),
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

    fine, bad = await checks.check(references("fine.png", "bad.png"), limits=LIMITS, job_id=JOB)
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
        await checks.check(asked, limits=LIMITS, job_id=JOB)
    await checks.check_within_ack(asked, limits=LIMITS)  # what cannot be checked in time is checked later
    files.files.clear()

    assert [each.fault for each in await checks.check(asked, limits=LIMITS, job_id=JOB)] == [None, None]
    assert files.fetched == ["fine.png", "slow.png", "slow.png"]


async def test_a_picture_is_checked_again_for_a_model_with_lower_limits() -> None:
    checks = checker(Files())
    await checks.check(references("a.png"), limits=LIMITS, job_id=JOB)

    (seen,) = await checks.check(references("a.png"), limits=ReferenceLimits(pixels=64, size=LIMITS.size), job_id=JOB)

    assert seen.fault == {"key": "references.pixels", "file": "a.png", "width": 64, "height": 48, "limit": 0}


async def test_a_fault_is_reported_although_another_picture_cannot_be_fetched_yet() -> None:
    seen = await checker(Files({"a.png": AWAY, "b.png": b"BM"})).check(
        references("a.png", "b.png"), limits=LIMITS, job_id=JOB
    )

    assert [each.fault is not None for each in seen] == [False, True]


async def test_no_more_than_two_files_are_in_memory_at_once() -> None:
    files = Files()
    checks = checker(files)

    await asyncio.gather(
        *(checks.check(references(*(f"{job}-{n}" for n in range(14))), limits=LIMITS, job_id=JOB) for job in range(3))
    )

    assert files.most_at_once == MAX_WHOLE_FILES == 2
    assert len(files.fetched) == 42


TO_CONVERT: dict[str, tuple[bytes, str]] = {  # a file that cannot be sent, or not well; the type that it gets
    "heic": (encoded(grain(64), "heif"), "jpg"),
    "transparent heic": (encoded(grain(32, alpha=True), "heif"), "png"),
    "avif": (encoded(grain(64), "avif"), "jpg"),
    "gif": (plain("gif"), "jpg"),
    "animated webp": (moving("webp", frames=2), "jpg"),
    "animated png": (moving("png", frames=2), "jpg"),
    "too many pixels": (picture(size=(200, 100)), "jpg"),
    "too many bytes": (encoded(grain(90), "png"), "jpg"),
    "on its side": (oriented(quartered(), "jpeg", 6), "jpg"),
}


@pytest.mark.parametrize("case", TO_CONVERT)
async def test_a_picture_that_cannot_be_sent_is_converted_and_keeps_its_name(case: str, tmp_path: Path) -> None:
    data, suffix = TO_CONVERT[case]
    files = Files({"cdn/photo": data})
    checks, photo = converting(files, data=tmp_path), Reference("cdn/photo", "photo.heic")

    await checks.check_within_ack([photo], limits=LIMITS)
    fine, seen = await checks.check([Reference("cdn/fine", "fine.png"), photo], limits=LIMITS, job_id=JOB)

    assert fine.sent_url == "cdn/fine"
    assert (seen.url, seen.filename, seen.fault, seen.has_location) == ("cdn/photo", "photo.heic", None, False)
    assert seen.sent_url == f"{JOB}-r2.{suffix} until {NOON + LINK_LIFE}"
    (stored,) = files_in(tmp_path)
    assert stored.name == f"{JOB}-r2.{suffix}"
    assert guard.check_reference(stored.read_bytes(), max_pixels=LIMITS.pixels).size <= LIMITS.size
    assert set(files.sizes) == {MAX_SOURCE_BYTES}


async def test_a_picture_that_can_be_sent_as_it_is_is_not_converted(tmp_path: Path) -> None:
    upright = oriented(quartered(), "jpeg", 1)
    (seen,) = await converting(Files({"a": upright}), data=tmp_path).check(references("a"), limits=LIMITS, job_id=JOB)

    assert (seen.sent_url, seen.has_location) == ("a", True)
    assert files_in(tmp_path) == []


async def test_a_photo_on_its_side_is_sent_unchanged_if_it_cannot_be_converted(tmp_path: Path) -> None:
    lying = oriented(quartered(), "jpeg", 6)
    for checks in (checker(Files({"a": lying})), converting(Files({"a": lying + b"MemoryError"}), data=tmp_path)):
        (seen,) = await checks.check(references("a"), limits=LIMITS, job_id=JOB)
        assert (seen.sent_url, seen.fault, seen.has_location) == ("a", None, True)


async def test_what_cannot_be_converted_has_a_fault(tmp_path: Path) -> None:
    heic = encoded(grain(64), "heif")
    files = {
        "cut": heic[:-200],
        "huge": heic + b"MemoryError",
        "heavy": FileTooLarge("more"),
        "other": b"BM",
        "wide": plain("gif")[:6] + b"\xff\xff\xff\xff" + plain("gif")[10:],
    }
    seen = await converting(Files(files), data=tmp_path).check(references(*files), limits=LIMITS, job_id=JOB)

    faults = [each.fault or {} for each in seen]
    assert [each["key"] for each in faults] == [
        "references.broken", "references.complex", "references.heavy", "references.type", "references.pixels",
    ]  # fmt: skip
    assert (faults[2]["limit"], faults[4]["limit"]) == (MAX_SOURCE_BYTES, 51)
    assert files_in(tmp_path) == []
