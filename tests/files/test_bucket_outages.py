"""What a bucket that fails looks like: nothing half written, one of two errors, and no text of S3's own."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from bot.core.system_outages import Outage
from bot.files.object_storage import ObjectStorage
from bot.files.storage import StorageRefused, StorageUnavailable
from bot.store.system_outages import outage_of
from tests.s3 import KEYS, Line, failing

PICTURE = "01M7Y0XSNXXPA2WVYTX3MESRVG-1.png"
DATA = bytes(range(256)) * 12_000  # three megabytes
CALLS: dict[str, Callable[[ObjectStorage], Coroutine[Any, Any, object]]] = {
    "write": lambda storage: storage.write(PICTURE, DATA),
    "read": lambda storage: storage.read(PICTURE),
    "read_part": lambda storage: storage.read_part(PICTURE, start=0, end=100),
    "find": lambda storage: storage.find(PICTURE),
    "delete": lambda storage: storage.delete([PICTURE]),
    "list": lambda storage: storage.list(),
    "probe": lambda storage: storage.probe(),
}


async def failure(call: Coroutine[Any, Any, object]) -> str:
    """The text of the error that *call* raises, which has to be that of an unavailable storage."""
    with pytest.raises(StorageUnavailable) as caught:
        await call
    assert outage_of(caught.value) is Outage.STORAGE_AWAY
    return str(caught.value)


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_down_is_unavailable(bucket: Line, call: str) -> None:
    bucket.endpoint = "http://127.0.0.1:1"

    assert await failure(CALLS[call](bucket.storage())) == f"{bucket.url}: no connection"


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_too_busy_is_asked_three_times_and_then_unavailable(bucket: Line, call: str) -> None:
    bucket.answer = failing("503 Slow Down", "SlowDown")
    text = await failure(CALLS[call](bucket.storage()))

    assert text == f"{bucket.url}: 503 Service Unavailable" + (" (SlowDown)" if call != "find" else "")
    assert bucket.requests == 3


@pytest.mark.parametrize("call", CALLS)
async def test_a_refusal_says_which_but_quotes_nothing(bucket: Line, call: str) -> None:
    wrong = ObjectStorage(bucket.url, replace(bucket.access, secret_key="another-secret-key"))
    with pytest.raises(StorageRefused) as caught:
        await CALLS[call](wrong)

    text = str(caught.value)
    assert text == f"{bucket.url}: 403 Forbidden" + (" (SignatureDoesNotMatch)" if call != "find" else "")
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    assert "another-secret-key" not in repr(wrong._store) + repr(replace(KEYS, secret_key="another-secret-key"))
    assert outage_of(caught.value) is Outage.STORAGE_REFUSED


@pytest.mark.parametrize("call", ["write", "read", "read_part", "list", "probe"])
async def test_a_missing_bucket_is_not_a_missing_picture(bucket: Line, call: str) -> None:
    with pytest.raises(StorageRefused, match=r"404 Not Found \(NoSuchBucket\)$"):
        await CALLS[call](ObjectStorage("s3://nowhere", bucket.access))


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", StorageRefused, "in another region"),
        (failing("400 Bad Request", "AuthorizationHeaderMalformed"), StorageRefused, r"\(AuthorizationHeaderMalformed"),
        (failing("400 Bad Request", "RequestTimeout"), StorageUnavailable, "RequestTimeout"),
        (failing("507 Insufficient Storage", "XMinioStorageFull"), StorageUnavailable, "507 .*StorageFull"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", StorageUnavailable, "not S3's"),
    ],
)
async def test_other_answers_are_told_apart(bucket: Line, answer: bytes, error: type[OSError], text: str) -> None:
    bucket.answer = answer
    with pytest.raises(error, match=text):
        await bucket.storage().write(PICTURE, DATA)


async def test_an_upload_that_breaks_leaves_what_was_there(bucket: Line) -> None:
    storage = bucket.storage()
    await storage.write(PICTURE, b"before")
    bucket.cut_request = len(DATA) // 2
    assert "the connection broke" in await failure(storage.write(PICTURE, DATA))
    assert "the connection broke" in await failure(storage.write("never.png", DATA))
    bucket.cut_request = None

    assert await storage.read(PICTURE) == b"before"
    assert [each.name for each in await storage.list()] == [PICTURE]


async def test_a_download_that_breaks_is_resumed_or_no_picture(bucket: Line) -> None:
    storage = bucket.storage()
    await storage.write(PICTURE, DATA)
    bucket.cut_answer = len(DATA) // 2
    assert await storage.read(PICTURE) == DATA

    bucket.cut_answer = 100_000
    assert "the connection broke" in await failure(storage.read(PICTURE))


async def test_proxies_of_the_environment_are_not_used(bucket: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    await bucket.storage().probe()


async def test_a_broken_connection_is_replaced_without_an_error(bucket: Line) -> None:
    storage = bucket.storage()
    await storage.write(PICTURE, b"before")
    bucket.cut_request = 1
    bucket.asked.clear()
    writing = asyncio.create_task(storage.write(PICTURE, b"after"))
    await bucket.asked.wait()
    bucket.cut_request = None
    await writing

    assert await storage.read(PICTURE) == b"after"


@pytest.mark.parametrize("call", ["write", "read", "find", "delete", "list"])
async def test_a_server_that_says_nothing_is_unavailable_after_the_timeout(bucket: Line, call: str) -> None:
    bucket.silent = True

    assert "no response" in await failure(CALLS[call](bucket.storage(timeout=0.2)))


async def test_a_write_that_is_given_up_leaves_nothing(bucket: Line) -> None:
    storage = bucket.storage()
    bucket.silent = True
    writing = asyncio.create_task(storage.write(PICTURE, DATA))
    await bucket.asked.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    bucket.silent = False

    assert await storage.read(PICTURE) is None


@pytest.mark.parametrize(
    ("version", "kept"), [("", False), ("x-amz-version-id: null\r\n", False), ("x-amz-version-id: 3\r\n", True)]
)
async def test_a_bucket_that_keeps_deleted_pictures_is_recognised(bucket: Line, version: str, *, kept: bool) -> None:
    bucket.answer = f'HTTP/1.1 200 OK\r\nETag: "1"\r\n{version}Content-Length: 0\r\nConnection: close\r\n\r\n'.encode()

    assert await bucket.storage().keeps_versions() is kept
