"""What is tidied away, and what is left alone."""

import os
from pathlib import Path

from bot.core.jobs import HOUR
from bot.janitor import Janitor
from tests.kit import NOON, Rig

JOB = "01M7Y0XSNXXPA2WVYTX3MESRVG"


def _write(path: Path, *, hours_ago: int) -> None:
    path.write_bytes(b"bytes")
    at = (NOON - hours_ago * HOUR) / 1000
    os.utime(path, (at, at))


async def test_files_that_a_crash_left_behind_are_removed_when_no_job_can_need_them(app: Rig) -> None:
    _write(app.folder / f"{JOB}-1.png", hours_ago=49)
    _write(app.folder / f"{JOB}-2.webp.part", hours_ago=49)
    _write(app.folder / f"{JOB}-3.png", hours_ago=47)
    _write(app.folder / "the operator's own.png", hours_ago=490)
    janitor = Janitor(app.store, app.service, data=app.folder, keep_hours=24, keep_prompts_days=30)

    await janitor.round()

    assert sorted(each.name for each in app.folder.glob("*.*g*")) == [f"{JOB}-3.png", "the operator's own.png"]


async def test_a_picture_is_kept_as_long_as_promised_and_then_removed_with_its_row(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    janitor = Janitor(app.store, app.service, data=app.folder, keep_hours=24, keep_prompts_days=30)

    app.time.go(23 * 3600)
    await janitor.round()
    assert (app.folder / f"{job_id}-1.png").exists()
    app.time.go(2 * 3600)
    await janitor.round()

    assert not (app.folder / f"{job_id}-1.png").exists()
    assert (await app.service.card(job_id)).pictures == ()
