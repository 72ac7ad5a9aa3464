"""Periodic deletion: expired tokens, drafts, converted references, old pictures and prompts, orphan files."""

import asyncio
import re
from pathlib import Path

from bot.core.cards import JOBS_LIST_RETENTION
from bot.core.jobs import HOUR
from bot.core.references import CONVERTED_FILE
from bot.jobs.build import Services
from bot.jobs.converted_references import FOLDER, LINK_LIFE
from bot.jobs.results import remove_files
from bot.maintenance.periodic import periodic
from bot.store.budgets import Budgets
from bot.store.housekeeping import Housekeeping

PICTURE_FILE = re.compile(r"[0-9A-Z]{26}-[0-9]+\.[a-z]+(\.part)?")
REFERENCE_FILE = re.compile(CONVERTED_FILE.pattern + r"(\.part)?")
ORPHAN_AGE = 24 * HOUR  # beyond the time that pictures are kept: by then hardly any row names the file
EVERY = 30.0  # seconds; tokens must be deleted within a minute of their expiry


class Retention:
    def __init__(self, services: Services, *, data: Path, keep_hours: int, keep_prompts_days: int) -> None:
        self._store = services.store
        self._rows = Housekeeping(services.store.database)
        self._budgets = Budgets(services.store.database)
        self._services = services
        self._data = data
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
        await asyncio.to_thread(remove_files, self._data, old)
        await self._remove_references(now)
        if now - self._cleared_at >= HOUR:
            await self._budgets.forget(before=now - HOUR)
            await self._rows.erase_prompts(before=now - self._keep_prompts)
            self._unpurged = not await self._store.database.purge_deleted(thoroughly=True)
            before = now - self._keep - ORPHAN_AGE
            kept = await self._rows.referenced_pictures(before=now - self._keep)
            # A crash before a picture's row is written leaves an orphan.
            old_files = await asyncio.to_thread(files_like, PICTURE_FILE, self._data, before=before)
            remove_files(self._data, [each for each in old_files if each not in kept])
            self._cleared_at = now
        if self._unpurged:
            self._unpurged = not await self._store.database.purge_deleted()

    async def _remove_references(self, now: int) -> None:
        """Remove converted references whose job has ended, or is so old that the links have expired."""
        folder = self._data / FOLDER
        names = await asyncio.to_thread(files_like, REFERENCE_FILE, folder)
        jobs = {name: await self._store.job(name.partition("-")[0]) for name in names}
        kept = {
            name for name, job in jobs.items() if job and not job.state.is_final and now < job.created_at + LINK_LIFE
        }
        await asyncio.to_thread(remove_files, folder, [each for each in names if each not in kept])


def files_like(pattern: re.Pattern[str], folder: Path, *, before: int | None = None) -> list[str]:
    """List the files whose names match *pattern*; with *before* (UTC ms), those that were last written earlier.

    None where there is no such folder.
    """
    files = [each for each in folder.iterdir() if pattern.fullmatch(each.name)] if folder.is_dir() else []
    return [each.name for each in files if before is None or each.stat().st_mtime * 1000 < before]
