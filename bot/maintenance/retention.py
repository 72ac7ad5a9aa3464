"""Periodic deletion: expired tokens, drafts, converted references, old pictures and prompts, orphan files."""

import asyncio
import re
from collections.abc import Sequence

from bot.core.cards import JOBS_LIST_RETENTION
from bot.core.jobs import HOUR
from bot.core.references import CONVERTED_FILE
from bot.files.storage import PictureStorage, StoredFile
from bot.jobs.build import Services
from bot.jobs.converted_references import FOLDER, LINK_LIFE
from bot.maintenance.periodic import periodic
from bot.store.budgets import Budgets
from bot.store.housekeeping import Housekeeping
from bot.store.processes import Processes

PICTURE_FILE = re.compile(r"[0-9A-Z]{26}-[0-9]+\.[a-z]+(\.part)?")
REFERENCE_FILE = re.compile(CONVERTED_FILE.pattern + r"(\.part)?")
ORPHAN_AGE = HOUR  # a picture's row follows its file within seconds
PROCESS_KEPT = 24 * HOUR  # after its last heartbeat, so that `darkroom processes` can tell of a process that died
EVERY = 30.0  # seconds; tokens must be deleted within a minute of their expiry


class Retention:
    def __init__(self, services: Services, *, storage: PictureStorage, keep_hours: int, keep_prompts_days: int) -> None:
        self._store = services.store
        self._rows = Housekeeping(services.store.database)
        self._budgets = Budgets(services.store.database)
        self._processes = Processes(services.store.database)
        self._services = services
        self._storage = storage
        self._keep = keep_hours * HOUR
        self._keep_prompts = keep_prompts_days * 24 * HOUR
        self._cleared_at = 0
        self._unpurged = False  # whether deleted data may still be in the database's files

    async def run(self, stop: asyncio.Event) -> None:
        await periodic(
            self.run_once,
            every=EVERY,
            stop=stop,
            log_message="Deleting old data failed",
            outages=self._services.outages,
        )

    async def run_once(self) -> None:
        now = self._services.clock()
        self._unpurged |= await self._rows.delete_expired(now=now)
        old = await self._rows.delete_expired_pictures(before=now - self._keep, unseen_before=now - JOBS_LIST_RETENTION)
        await self._storage.delete(old)
        await self._remove_references(now)
        if now - self._cleared_at >= HOUR:
            await self._budgets.forget(before=now - HOUR)
            await self._processes.forget(before=now - PROCESS_KEPT)
            await self._rows.erase_prompts(before=now - self._keep_prompts)
            self._unpurged = not await self._store.database.purge_deleted(thoroughly=True)
            await self._remove_orphans(now)
            self._cleared_at = now
        if self._unpurged:
            self._unpurged = not await self._store.database.purge_deleted()

    async def _remove_orphans(self, now: int) -> None:
        """Remove files without a row: a crash before a picture's row is written leaves one, or a failed deletion."""
        found = [each for each in await self._listed(PICTURE_FILE) if each.written_at < now - ORPHAN_AGE]
        kept = await self._rows.referenced_pictures() if found else frozenset()
        await self._storage.delete([each.name for each in found if each.name not in kept])

    async def _remove_references(self, now: int) -> None:
        """Remove converted references whose job has ended, or is so old that the links have expired."""
        names = [each.name for each in await self._listed(REFERENCE_FILE, folder=FOLDER)]
        jobs = {name: await self._store.job(_file(name).partition("-")[0]) for name in names}
        kept = {
            name for name, job in jobs.items() if job and not job.state.is_final and now < job.created_at + LINK_LIFE
        }
        await self._storage.delete([each for each in names if each not in kept])

    async def _listed(self, pattern: re.Pattern[str], *, folder: str = "") -> Sequence[StoredFile]:
        return [each for each in await self._storage.list(folder) if pattern.fullmatch(_file(each.name))]


def _file(name: str) -> str:
    return name.rpartition("/")[2]
