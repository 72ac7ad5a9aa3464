"""Jobs whose pictures are in a bucket: no process needs a file of another, and an outage loses nothing."""

import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from bot.core.errors import UserError
from bot.core.jobs import HOUR, State
from bot.core.system_outages import Outage
from bot.files.storage import StorageUnavailable
from bot.maintenance.retention import Retention
from tests.kit import ALICE, Rig, Time, picture, rig
from tests.s3 import Line, failing


async def collected(app: Rig) -> str:
    """A job that has succeeded, and whose pictures nobody has delivered."""
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    while not (await app.job(job_id)).state.is_final:
        app.time.go(10)
        while await app.worker.run_due():
            pass
    return job_id


def pictures_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.png"))


async def test_a_job_is_delivered_by_another_instance_than_the_one_that_collected_it(
    bucket: Line, postgres_url: str, tmp_path: Path
) -> None:
    clock = Time()
    async with rig(tmp_path / "one", url=postgres_url, storage=bucket.storage(), time=clock) as one:
        job_id = await collected(one)
    async with rig(tmp_path / "other", url=postgres_url, storage=bucket.storage(), time=clock) as other:
        await other.delivery.reload()
        await other.delivery.run_due()

        _, _, uploads = other.messenger.shown[-1]
        assert [(each.name, each.data) for each in uploads] == [(f"{job_id}-1.png", picture())]
    assert pictures_in(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "outage"),
    [
        (failing("503 Slow Down", "SlowDown"), Outage.STORAGE_AWAY),
        (failing("403 Forbidden", "AccessDenied"), Outage.STORAGE_REFUSED),
    ],
)
async def test_an_outage_of_the_bucket_is_told_once_and_its_jobs_go_on_afterwards(
    bucket: Line, tmp_path: Path, answer: bytes, outage: Outage
) -> None:
    async with rig(tmp_path, storage=bucket.storage()) as app:
        app.provider.sees = [app.ready()]
        job_id = await app.imagine()
        await app.turn(5)
        bucket.answer = answer
        await app.turn(11, times=4)
        await app.services.outages.check()

        assert (await app.job(job_id)).state is State.COLLECTING
        assert (app.services.outages.current, app.services.outages.unsafe) == ((outage,), outage)
        with pytest.raises(UserError) as refused:
            await app.imagine()
        assert refused.value.values == {"outage": outage.value}

        bucket.answer = b""
        await app.services.outages.check()
        assert (await app.until_final(job_id)).state is State.SUCCEEDED
        keys = [key for key, _ in app.notifications]
        assert keys == [f"operator.outage.{outage}", "operator.outage_over"]
        assert await app.storage.read(f"{job_id}-1.png") == picture()


async def test_delivery_waits_for_the_bucket(bucket: Line, tmp_path: Path) -> None:
    async with rig(tmp_path, storage=bucket.storage()) as app:
        await collected(app)
        bucket.answer = failing("503 Slow Down", "SlowDown")
        await app.delivery.run_due()
        assert [uploads for _, _, uploads in app.messenger.shown] == [()]

        bucket.answer = b""
        app.time.go(3600)
        await app.delivery.run_due()
        assert [each.data for each in app.messenger.shown[-1][2]] == [picture()]


async def test_retention_deletes_from_the_bucket_what_has_expired_and_what_has_no_row(
    bucket: Line, tmp_path: Path
) -> None:
    async with rig(tmp_path, storage=bucket.storage(), time=Time(int(time.time() * 1000))) as app:
        old = await collected(app)
        await app.delivery.run_due()
        await app.storage.write("01M7Y0XSNXXPA2WVYTX3MESRVG-1.png", b"orphan")
        await app.storage.write("references/01M7Y0XSNXXPA2WVYTX3MESRVG-r1.png", b"orphan")
        await app.storage.write("notes.txt", b"the operator's own")
        retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)
        app.time.go(2 * HOUR / 1000)
        await retention.run_once()
        assert sorted(each.name for each in await app.storage.list()) == sorted([f"{old}-1.png", "notes.txt"])
        assert await app.storage.list("references") == []

        app.time.go(23 * HOUR / 1000)
        await retention.run_once()
        assert [each.name for each in await app.storage.list()] == ["notes.txt"]


async def test_privacy_exports_from_the_bucket_and_erases_it(bucket: Line, tmp_path: Path) -> None:
    async with rig(tmp_path, storage=bucket.storage()) as app:
        job_id = await collected(app)
        exported = await app.services.privacy.export(ALICE, max_bytes=10_000_000)
        with zipfile.ZipFile(BytesIO(exported)) as archive:
            assert archive.read(f"{job_id}-1.png") == picture()

        bucket.answer = failing("503 Slow Down", "SlowDown")
        with pytest.raises(StorageUnavailable):
            await app.services.privacy.erase(ALICE)
        bucket.answer = b""
        assert await app.services.privacy.erase(ALICE) == 1
        assert await app.storage.list() == []
