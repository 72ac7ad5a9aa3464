"""Pictures over HTTP: whole, in ranges, unchanged, and cut off rather than wrong."""

from pathlib import Path

import aiohttp
import pytest

from bot.files.storage import PictureStorage
from bot.web.server import PictureLinks
from tests.kit import Rig, rig
from tests.s3 import Line, failing
from tests.web.test_server import served, site

FILE = "01M7Y0XSNXXPA2WVYTX3MESRVG-r1.jpg"
DATA = bytes(range(256)) * 36_000  # nine megabytes: three pieces
LINKS = PictureLinks("https://pictures.example", secret=b"x" * 32)


def path_to(app: Rig) -> str:
    return LINKS.of_reference(FILE, app.time.now + 60_000).removeprefix("https://pictures.example")


@pytest.mark.parametrize(
    ("asked", "status", "answered", "content"),
    [
        ("", 200, None, DATA),
        ("bytes=0-9", 206, f"bytes 0-9/{len(DATA)}", DATA[:10]),
        ("bytes=100-", 206, f"bytes 100-{len(DATA) - 1}/{len(DATA)}", DATA[100:]),
        ("bytes=-7", 206, f"bytes {len(DATA) - 7}-{len(DATA) - 1}/{len(DATA)}", DATA[-7:]),
        (f"bytes={len(DATA)}-", 416, f"bytes */{len(DATA)}", b"416: Requested Range Not Satisfiable"),
        ("bytes=0-1,5-6", 200, None, DATA),
        ("lines=1-2", 200, None, DATA),
    ],
)
async def test_a_picture_is_sent_whole_or_the_range_that_was_asked_for(
    app: Rig, asked: str, status: int, answered: str | None, content: bytes
) -> None:
    await app.storage.write(f"references/{FILE}", DATA)
    headers = {"Range": asked} if asked else {}
    async with served(site(app, links=LINKS)) as url, aiohttp.ClientSession() as http:
        async with http.get(url + path_to(app), headers=headers) as answer:
            assert (answer.status, answer.headers.get("Content-Range")) == (status, answered)
            assert await answer.read() == content
        async with http.head(url + path_to(app), headers=headers) as answer:
            assert (answer.status, await answer.read()) == (status, b"")
            assert status == 416 or answer.content_length == len(content)


async def test_a_client_that_has_the_picture_gets_it_only_if_it_has_changed(app: Rig) -> None:
    await app.storage.write(f"references/{FILE}", b"first")
    async with served(site(app, links=LINKS)) as url, aiohttp.ClientSession() as http:
        async with http.get(url + path_to(app)) as answer:
            tag = answer.headers["ETag"]
        async with http.get(url + path_to(app), headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        await app.storage.write(f"references/{FILE}", b"another")
        async with http.get(url + path_to(app), headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (200, b"another")
        async with http.get(url + path_to(app), headers={"Range": "bytes=1-", "If-Range": tag}) as answer:
            assert (answer.status, await answer.read()) == (200, b"another")


async def test_a_picture_in_a_bucket_is_sent_in_pieces_and_an_outage_is_named(bucket: Line, tmp_path: Path) -> None:
    async with (
        rig(tmp_path, storage=bucket.storage()) as app,
        served(site(app, links=LINKS)) as url,
        aiohttp.ClientSession() as http,
    ):
        await app.storage.write(f"references/{FILE}", DATA)
        async with http.get(url + path_to(app)) as answer:
            assert (answer.status, await answer.read()) == (200, DATA)
        async with http.get(url + path_to(app), headers={"Range": "bytes=-7"}) as answer:
            assert (answer.status, await answer.read()) == (206, DATA[-7:])
        bucket.answer = failing("503 Slow Down", "SlowDown")
        async with http.get(url + path_to(app)) as answer:
            assert (answer.status, await answer.text()) == (503, "storage_away\n")


class Forgetful:
    """A storage whose picture is deleted after its first piece."""

    def __init__(self, storage: PictureStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    async def read_part(self, name: str, *, start: int, end: int) -> bytes | None:
        return await self._storage.read_part(name, start=start, end=end) if start == 0 else None


async def test_a_picture_that_is_deleted_while_it_is_sent_breaks_the_connection(app: Rig) -> None:
    await app.storage.write(f"references/{FILE}", DATA)
    app.storage = Forgetful(app.storage)  # type: ignore[assignment]
    async with (
        served(site(app, links=LINKS)) as url,
        aiohttp.ClientSession() as http,
        http.get(url + path_to(app)) as answer,
    ):
        assert answer.content_length == len(DATA)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
