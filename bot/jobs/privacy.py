"""What is stored about a member: counted, exported as one file, and erased on their request."""

import asyncio
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.core.clock import Clock
from bot.core.errors import UserError
from bot.jobs.results import remove_files
from bot.jobs.service import Jobs
from bot.jobs.wakeups import Wakeups
from bot.store.members import Kept, Members
from bot.store.store import Store

DATA_FILE = "data.json"


class Privacy:
    def __init__(self, store: Store, jobs: Jobs, *, data: Path, wakeups: Wakeups, clock: Clock) -> None:
        """*data*: the folder of pictures."""
        self._store = store
        self._members = Members(store.database)
        self._jobs = jobs
        self._data = data
        self._wakeups = wakeups
        self._clock = clock

    async def kept(self, user_id: int) -> Kept:
        return await self._members.kept(user_id)

    async def export(self, user_id: int, *, max_bytes: int) -> bytes:
        """A ZIP file with every row about the member and, newest first, the pictures that fit into *max_bytes*.

        `UserError` where not even the rows fit.
        """
        rows, files = await self._members.export(user_id), await self._members.files(user_id)
        packed = await asyncio.to_thread(_pack, rows, [self._data / each for each in files], max_bytes)
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
        while (deleted := await self._store.delete_all_pictures(user_id, now=now))[0]:
            count += deleted[0]
            await asyncio.to_thread(remove_files, self._data, [each.file for each in deleted[1]])
        await self._members.erase_own(user_id)
        self._wakeups.replies.set()
        await self._jobs.purge_deleted()
        return count


def _pack(rows: Mapping[str, Sequence[Mapping[str, Any]]], files: Sequence[Path], max_bytes: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DATA_FILE, json.dumps(rows, indent=1, ensure_ascii=False))
        for each in files:
            try:
                size = each.stat().st_size
            except FileNotFoundError:
                continue
            if out.tell() + size + 4096 > max_bytes:  # room for the archive's own index
                break
            archive.write(each, each.name, compress_type=zipfile.ZIP_STORED)
    return out.getvalue()
