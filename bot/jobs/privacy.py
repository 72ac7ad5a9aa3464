"""What is stored about a member: counted, exported as one file, and erased on their request."""

import asyncio
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.files.storage import PictureStorage
from bot.jobs.service import Jobs
from bot.jobs.wakeups import Wakeups
from bot.store.members import Kept, Members
from bot.store.store import Store

DATA_FILE = "data.json"


class Privacy:
    def __init__(self, store: Store, jobs: Jobs, *, storage: PictureStorage, wakeups: Wakeups, clock: Clock) -> None:
        self._store = store
        self._members = Members(store.database)
        self._jobs = jobs
        self._storage = storage
        self._wakeups = wakeups
        self._clock = clock

    async def kept(self, user_id: int) -> Kept:
        return await self._members.kept(user_id)

    async def export(self, user_id: int, *, max_bytes: int) -> bytes:
        """A ZIP file with every row about the member and, newest first, the pictures that fit into *max_bytes*.

        `UserError` where not even the rows fit.
        """
        rows, files = await self._members.export(user_id), await self._members.files(user_id)
        packed = await self._pack(rows, files, max_bytes=max_bytes)
        if len(packed) > max_bytes:
            raise UserError("privacy.large")
        return packed

    async def erase(self, user_id: int) -> int:
        """Erase a member's prompts, pictures, favorites, tray, preferences and drafts; how many jobs that were.

        `UserError` while a job is unfinished, because its end would store a picture. Delivery deletes the messages.
        """
        if (await self._members.kept(user_id)).active:
            raise UserError("privacy.active")
        now, count = self._clock(), 0
        # Before the rows: if the storage fails, the member sees that, and can repeat it.
        await self._storage.delete(await self._members.files(user_id))
        while (deleted := await self._store.delete_all_pictures(user_id, now=now))[0]:
            count += deleted[0]
        await self._members.erase_own(user_id)
        self._wakeups.replies.set()
        await self._jobs.purge_deleted()
        return count

    async def _pack(
        self, rows: Mapping[str, Sequence[Mapping[str, Any]]], files: Sequence[str], *, max_bytes: int
    ) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            await asyncio.to_thread(_write_rows, archive, rows)
            for each in files:
                found = await self._storage.find(each)
                if found is not None and out.tell() + found.size + 4096 > max_bytes:  # room for the archive's own index
                    break
                if (data := await self._storage.read(each)) is not None:
                    await asyncio.to_thread(archive.writestr, each, data, zipfile.ZIP_STORED)
        return out.getvalue()


def _write_rows(archive: zipfile.ZipFile, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    archive.writestr(DATA_FILE, json.dumps(rows, indent=1, ensure_ascii=False))
