"""Writing finished pictures to disk: a picture is charged only after it is synced."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.pictures.guard import Checked
from tests.kit import Rig, picture


async def test_a_picture_and_its_folder_entry_are_synced_before_its_row_is_written(
    app: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str], int]] = []  # file, picture names, pictures paid for
    really_sync = os.fsync

    def sync(number: int) -> None:
        what = Path(f"/proc/self/fd/{number}").readlink()
        names = [each.name for each in app.folder.glob("*.png")]
        synced.append((what.name, names, _written_down(app.folder)))
        if what.is_file():
            assert what.read_bytes() == picture()
        really_sync(number)

    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    monkeypatch.setattr(os, "fsync", sync)
    await app.until_final(job_id)

    name = f"{job_id}-1.png"
    assert synced == [(f"{name}.part", [], 0), (app.folder.name, [name], 0)]
    assert _written_down(app.folder) == 1


def _written_down(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "darkroom.db")) as file:
        return int(file.execute("SELECT count(*) FROM pictures").fetchone()[0])


async def test_a_picture_downloaded_while_its_job_is_deleted_leaves_no_file(
    app: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    check = app.files.check

    async def check_while_somebody_deletes(data: bytes) -> Checked:
        await app.store.delete_pictures(await app.job(job_id), now=app.time.now)
        return await check(data)

    monkeypatch.setattr(app.files, "check", check_while_somebody_deletes)
    await app.turn(10, times=3)

    assert app.files.fetched
    assert list(app.folder.glob("*.png*")) == []
