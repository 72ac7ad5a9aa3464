"""Picture files as objects in an S3 bucket, which all processes share."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from bot.files.storage import StorageRefused, StorageUnavailable, StoredFile, checked

if TYPE_CHECKING:  # only there for type checkers
    from obstore.store import ClientConfig, RetryConfig, S3Config

PROBE = ".probe"
CONNECT_TIMEOUT = 5  # seconds
TIMEOUT = 60.0  # seconds for one file of up to 100 MB, retries included
PROBE_TIMEOUT = 10.0  # seconds
PAGE = 1000  # files in one response to a list request, S3's own limit
# All requests can be repeated without harm. These retries only spare a job ten seconds; whether the storage is
# unavailable, and when to try again, is decided by the caller.
RETRIES: "RetryConfig" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100)},
}
# obstore reports most failures by its text alone.
STATUS = re.compile(r"status code: ([0-9]{3} [A-Za-z -]+)")
CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")  # S3's name of an error
KIND = re.compile(r"kind: (Connect|Timeout)\b")
NO_BUCKET = "<Code>NoSuchBucket</Code>"
REFUSED = re.compile(rf"status code: 40[0135]|redirect|{NO_BUCKET}")  # S3 redirects where the region is wrong
NOT_REFUSED = "<Code>RequestTimeout</Code>"  # an upload that stalled, with status 400
AWS = "amazonaws.com,amazonaws.com.cn"
CAUSES = {"Connect": "no connection", "Timeout": "no response in time"}


@dataclass(frozen=True, slots=True)
class Access:
    """How a bucket is reached; what is empty is taken from the environment or the machine's role, as by AWS's tools."""

    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    proxy: str | None = field(default=None, repr=False)


class ObjectStorage:
    def __init__(self, url: str, access: Access, *, timeout: float = TIMEOUT) -> None:
        """*url*: `s3://bucket` or `s3://bucket/prefix`. *timeout*: seconds for one call."""
        parts = urlsplit(url)
        self.location = url
        self._timeout = timeout
        self._store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=_config(access),
            client_options=_client_options(access, timeout=timeout),
            retry_config=RETRIES,
        )

    async def write(self, name: str, data: bytes) -> None:
        async with self._call(self._timeout):
            await self._put(checked(name), data)

    async def read(self, name: str) -> bytes | None:
        try:
            async with self._call(self._timeout):
                return bytes(await (await self._store.get_async(checked(name))).bytes_async())
        except FileNotFoundError:
            return None

    async def read_part(self, name: str, *, start: int, end: int) -> bytes | None:
        try:
            async with self._call(self._timeout):
                return bytes(await self._store.get_range_async(checked(name), start=start, end=end))
        except FileNotFoundError:
            return None

    async def find(self, name: str) -> StoredFile | None:
        try:
            async with self._call(self._timeout):
                found = await self._store.head_async(checked(name))
        except FileNotFoundError:
            return None
        return StoredFile(name, found["size"], int(found["last_modified"].timestamp() * 1000))

    async def delete(self, names: Iterable[str]) -> None:
        async with self._call(self._timeout):
            await self._store.delete_async([checked(each) for each in names])

    async def list(self, folder: str = "") -> Sequence[StoredFile]:
        depth = 1 if folder else 0
        async with self._call(self._timeout):
            return [
                StoredFile(each["path"], each["size"], int(each["last_modified"].timestamp() * 1000))
                async for page in self._store.list(folder or None, chunk_size=PAGE)
                for each in page
                if each["path"].count("/") == depth
            ]

    async def probe(self) -> None:
        await self.keeps_versions()

    async def keeps_versions(self) -> bool:
        """Write and delete a file; whether the bucket has versions, so that what is deleted remains in it."""
        async with self._call(PROBE_TIMEOUT):
            version = await self._put(PROBE, b"probe")
            await self._store.delete_async([PROBE])
        return version not in (None, "null")  # S3 writes "null" where versions have been switched off again

    async def _put(self, name: str, data: bytes) -> str | None:
        """Store an object in one request, so that nothing incomplete is left in the bucket; returns its version."""
        try:
            return (await self._store.put_async(name, data, use_multipart=False))["version"]
        except FileNotFoundError as exc:
            raise StorageRefused(f"{self.location}: {_words_of(str(exc))}") from None

    @asynccontextmanager
    async def _call(self, seconds: float) -> AsyncIterator[None]:
        """Turn what a call raises into our errors, without its text, which quotes S3's answer: it may hold a signature.

        `FileNotFoundError` is raised where only the object is missing.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise StorageUnavailable(f"{self.location}: no response within {seconds:g} seconds") from None
        except FileNotFoundError as exc:
            if NO_BUCKET in str(exc):
                raise StorageRefused(f"{self.location}: {_words_of(str(exc))}") from None
            raise FileNotFoundError from None
        except BaseError as exc:
            text = str(exc)
            refused = isinstance(exc, PermissionDeniedError | UnauthenticatedError) or REFUSED.search(text)
            kind = StorageRefused if refused and NOT_REFUSED not in text else StorageUnavailable
            raise kind(f"{self.location}: {_words_of(text)}") from None


def _words_of(text: str) -> str:
    """What of an error of obstore may be shown: HTTP status and S3's error code, or why there is none."""
    status, code, kind = STATUS.search(text), CODE.search(text), KIND.search(text)
    if status is not None:
        return f"{status[1]} ({code[1]})" if code else status[1]
    if "redirect" in text:
        return "the bucket is in another region"
    return CAUSES[kind[1]] if kind else "the connection broke, or the response is not S3's"


def _config(access: Access) -> "S3Config":
    config: S3Config = {"disable_bulk_delete": True}  # not every service has it, and few files are deleted at a time
    if access.endpoint:
        config["endpoint"] = access.endpoint
    if access.region:
        config["region"] = access.region
    if access.access_key:
        config["access_key_id"], config["secret_access_key"] = access.access_key, access.secret_key
    return config


def _client_options(access: Access, *, timeout: float) -> "ClientConfig":
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
        "timeout": timedelta(seconds=timeout),
        "allow_http": access.endpoint.startswith("http://"),  # settings allow it for this machine, and for containers
    }
    if access.proxy:
        options["proxy_url"] = access.proxy
    else:  # a proxy that nothing uses: without one, those of the environment are used, which Darkroom ignores
        options["proxy_url"] = "http://127.0.0.1"
        options["proxy_excludes"] = urlsplit(access.endpoint).hostname or AWS
    return options
