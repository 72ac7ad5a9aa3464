"""Downloads finished pictures: from allowed hosts only, checked, and stored whole or not at all."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Protocol

from bot.core.cards import Picture
from bot.core.catalog import Catalog
from bot.core.clock import Clock
from bot.core.errors import BadLink, BadPicture, DownloadFailed, HostNotAllowed
from bot.core.jobs import SECOND, Job
from bot.core.polling import Timing
from bot.files.storage import PictureStorage
from bot.pictures.guard import Checked
from bot.store.store import Store

log = logging.getLogger(__name__)

MAX_BYTES = 100 * 1024 * 1024  # a 4K PNG has about 25 MB
MAX_IN_MEMORY = 8  # pictures of one provider: most have a few megabytes, the largest a hundred
LASTING_ATTEMPTS = 3  # a provider may answer 404 for a while after it reported a picture as ready


class Fetcher(Protocol):
    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes: ...


class Checker(Protocol):
    async def check(self, data: bytes) -> Checked: ...


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """The outcome of one download: pictures on disk, pictures worth another attempt, an internet host not allowed."""

    downloaded: int
    incomplete: int
    blocked_host: str | None = None


class ResultDownloader:
    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        *,
        checker: Checker,
        result_hosts: Mapping[str, Sequence[str]],
        catalog: Catalog,
        storage: PictureStorage,
        clock: Clock,
    ) -> None:
        """*result_hosts*: for each provider the internet hosts that its pictures may come from."""
        self._store = store
        self._fetcher = fetcher
        self._checker = checker
        self._result_hosts = result_hosts
        self._catalog = catalog
        self._storage = storage
        self._clock = clock
        # By provider, so that a host that sends slowly holds up only its own pictures.
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_IN_MEMORY))
        self._lasting: Counter[tuple[str, int]] = Counter()
        self._lasting_since: dict[tuple[str, int], int] = {}

    async def download(self, job: Job, urls: Sequence[str]) -> DownloadResult:
        """Download the pictures at *urls* that are not on disk: at most as many as were requested and paid for."""
        record = await self._store.job_record(job.id)
        on_disk = {each.n for each in record.pictures} if record else set()
        wanted = list(enumerate(urls[: job.request.count], start=1))
        missing = [(n, url) for n, url in wanted if n not in on_disk and not self._failed_for_good(job, n)]
        outcomes = await asyncio.gather(*(self._with_slot(job, n, url) for n, url in missing), return_exceptions=True)
        for each in outcomes:  # only now, so that one failure does not interrupt the other downloads
            if isinstance(each, BaseException):
                raise each
        blocked = next((each for each in outcomes if isinstance(each, str)), None)
        new = sum(1 for each in outcomes if each is True)
        incomplete = sum(1 for (n, _), got in zip(missing, outcomes, strict=True) if got is not True)
        incomplete -= sum(1 for n, _ in missing if self._failed_for_good(job, n))
        if incomplete <= 0:
            self._forget(job)
        return DownloadResult(downloaded=len(on_disk) + new, incomplete=max(0, incomplete), blocked_host=blocked)

    def _failed_for_good(self, job: Job, n: int) -> bool:
        if self._lasting[job.id, n] < LASTING_ATTEMPTS:
            return False
        model = self._catalog.models.get(job.request.model)
        # However often a member presses Check now, the provider has as long as between two of its rarest polls, twice.
        least = 2 * (model.timing if model else Timing()).rare
        return self._clock() - self._lasting_since[job.id, n] >= least * SECOND

    def _forget(self, job: Job) -> None:
        for key in [each for each in self._lasting if each[0] == job.id]:
            del self._lasting[key]
            self._lasting_since.pop(key, None)

    async def _with_slot(self, job: Job, n: int, url: str) -> bool | str:
        async with self._slots[job.provider]:
            return await self._one(job, n, url)

    async def _one(self, job: Job, n: int, url: str) -> bool | str:
        """True when the picture is on disk, False when it is not, the internet host's name when it is not allowed."""
        try:
            data = await self._fetcher.fetch(url, hosts=self._result_hosts.get(job.provider, ()), max_bytes=MAX_BYTES)
            checked = await self._checker.check(data)
        except HostNotAllowed as exc:
            return exc.host
        except (DownloadFailed, BadPicture, BrokenExecutor, MemoryError, TimeoutError) as exc:
            # Running out of time or memory says nothing about the picture, which is paid for.
            if isinstance(exc, BadPicture) or (isinstance(exc, DownloadFailed) and exc.permanent):
                self._lasting[job.id, n] += LASTING_ATTEMPTS if isinstance(exc, BadLink) else 1
                self._lasting_since.setdefault((job.id, n), 0 if isinstance(exc, BadLink) else self._clock())
            log.warning(
                "A finished picture could not be downloaded: %s",
                exc,
                extra={"event": "collect_failed", "job_id": job.id, "picture": n},
            )
            return False
        name = f"{job.id}-{n}.{'jpg' if checked.type == 'jpeg' else checked.type}"
        await self._storage.write(name, data)
        picture = Picture(n, name, checked.type, checked.width, checked.height, len(data))
        if not await self._store.add_picture(job, picture, now=self._clock()):
            await self._storage.delete([name])
        return True
