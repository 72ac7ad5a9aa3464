"""What every storage of pictures does, in a folder and on a real S3 server."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.files.folder import FolderStorage
from bot.files.storage import PictureStorage
from tests.s3 import line_to

PICTURE, OTHER = "01M7Y0XSNXXPA2WVYTX3MESRVG-1.png", "01M7Y0XSNXXPA2WVYTX3MESRVG-2.png"
REFERENCE = "references/01M7Y0XSNXXPA2WVYTX3MESRVG-r1.jpg"
LARGE = bytes(range(251)) * 120_000  # thirty megabytes
ESCAPES = ["../escaped.png", "references/../../escaped.png", "/etc/escaped.png", "a/b/c.png", "", ".", "..", "a\0.png"]


@pytest.fixture(params=["folder", "bucket"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PictureStorage]:
    if request.param == "folder":
        yield FolderStorage(tmp_path / "pictures")
        return
    async with line_to(request.getfixturevalue("s3_server")) as line:
        yield line.storage()


async def names(storage: PictureStorage, folder: str = "") -> list[str]:
    return sorted(each.name for each in await storage.list(folder))


async def test_a_file_is_read_as_it_was_written_and_found_with_its_size_and_time(storage: PictureStorage) -> None:
    before = time.time()
    await storage.write(PICTURE, b"first")
    found = await storage.find(PICTURE)

    assert await storage.read(PICTURE) == b"first"
    assert found is not None
    assert (found.name, found.size) == (PICTURE, 5)
    assert abs(found.written_at / 1000 - before) < 60


async def test_a_file_is_replaced_as_a_whole(storage: PictureStorage) -> None:
    await storage.write(PICTURE, b"first and longer")
    await storage.write(PICTURE, b"second")

    assert await storage.read(PICTURE) == b"second"
    assert await names(storage) == [PICTURE]


async def test_a_missing_file_is_none(storage: PictureStorage) -> None:
    assert await storage.read(PICTURE) is None
    assert await storage.read_part(PICTURE, start=0, end=1) is None
    assert await storage.find(PICTURE) is None
    assert await names(storage) == await names(storage, "references") == []


async def test_a_deleted_file_is_gone_and_others_stay(storage: PictureStorage) -> None:
    for name in (PICTURE, OTHER, REFERENCE):
        await storage.write(name, b"bytes")
    await storage.delete([PICTURE, REFERENCE, "never-there.png"])
    await storage.delete([])

    assert (await storage.read(PICTURE), await storage.find(PICTURE)) == (None, None)
    assert await names(storage) == [OTHER]
    assert await names(storage, "references") == []


async def test_a_listing_has_the_files_of_one_folder(storage: PictureStorage) -> None:
    for name in (PICTURE, OTHER, REFERENCE):
        await storage.write(name, b"bytes")
    found = {each.name: each for each in await storage.list()}

    assert sorted(found) == [PICTURE, OTHER]
    assert found[PICTURE].size == 5
    assert abs(found[PICTURE].written_at / 1000 - time.time()) < 60
    assert await names(storage, "references") == [REFERENCE]


@pytest.mark.prove
async def test_a_listing_has_more_files_than_fit_into_one_response(storage: PictureStorage) -> None:
    expected = [f"{number:026}-1.png" for number in range(1100)]
    for each in expected:
        await storage.write(each, b"")

    assert await names(storage) == expected


async def test_a_large_file_is_stored_whole_and_read_in_parts(storage: PictureStorage) -> None:
    await storage.write(PICTURE, LARGE)
    half = len(LARGE) // 2
    parts = [await storage.read_part(PICTURE, start=start, end=end) for start, end in ((0, half), (half, len(LARGE)))]

    assert await storage.read(PICTURE) == LARGE == b"".join(each or b"" for each in parts)


@pytest.mark.parametrize("name", ESCAPES)
async def test_a_name_cannot_lead_out_of_the_storage(storage: PictureStorage, name: str, tmp_path: Path) -> None:
    for call in (storage.write(name, b"x"), storage.read(name), storage.find(name), storage.delete([PICTURE, name])):
        with pytest.raises(ValueError, match="no name of a stored file"):
            await call
    assert not list(tmp_path.rglob("escaped*"))  # noqa: ASYNC240


async def test_a_probe_leaves_nothing(storage: PictureStorage) -> None:
    await storage.probe()

    assert await names(storage) == []
