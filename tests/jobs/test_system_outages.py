"""System outages: reported once, waited for, and nothing that is paid for is lost."""

import asyncio
import errno
import logging
import os
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from PIL import Image

from bot.core.errors import ProviderUnavailable, UserError
from bot.core.jobs import State
from bot.core.system_outages import Outage
from bot.jobs import system_outages
from bot.store.system_outages import outage_of
from tests.disk import files_up_to
from tests.kit import Rig, rig
from tests.postgres import by_hand, cut


def notified(app: Rig) -> list[str]:
    return [key for key, _ in app.notifications]


# --- which outage an error comes from


def sqlite_error(folder: Path, act: Callable[[sqlite3.Connection], object], *, database: bytes = b"") -> sqlite3.Error:
    """The error that *act* raises on a real file."""
    path = folder / "real.db"
    if database:
        path.write_bytes(database)
    with (
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection,
        pytest.raises(sqlite3.Error) as caught,
    ):
        act(connection)
    return caught.value


def fill(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("INSERT INTO t VALUES (zeroblob(100000))")


def write_read_only(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("CREATE TABLE t (x)")


def write_beside(connection: sqlite3.Connection) -> None:
    (path,) = [row[2] for row in connection.execute("PRAGMA database_list")]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        connection.execute("CREATE TABLE t (x)")


def open_a_folder(connection: sqlite3.Connection) -> None:
    (path,) = [row[2] for row in connection.execute("PRAGMA database_list")]
    connection.execute("ATTACH ? AS other", (str(Path(path).parent),))


@pytest.mark.parametrize(
    ("act", "database", "outage"),
    [
        (fill, b"", Outage.DISK_FULL),
        (write_read_only, b"", Outage.NOT_WRITABLE),
        (open_a_folder, b"", Outage.NOT_WRITABLE),
        (write_beside, b"", Outage.DATABASE_AWAY),
        (lambda connection: connection.execute("SELECT * FROM t"), b"no database" * 100, Outage.DATABASE_DAMAGED),
        (lambda connection: connection.execute("SELECT * FROM t"), b"", None),  # a defect of the bot
    ],
)
def test_errors_of_sqlite_are_classified(
    tmp_path: Path, act: Callable[[sqlite3.Connection], object], database: bytes, outage: Outage | None
) -> None:
    assert outage_of(sqlite_error(tmp_path, act, database=database)) is outage


def not_yet_valid() -> ssl.SSLCertVerificationError:
    found = ssl.SSLCertVerificationError(1, "certificate verify failed: certificate is not yet valid")
    found.verify_code = 9
    return found


@pytest.mark.parametrize(
    ("exc", "outage"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Outage.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), Outage.DISK_FULL),
        (OSError(errno.EROFS, "Read-only file system"), Outage.NOT_WRITABLE),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x.png"), Outage.NOT_WRITABLE),
        (PermissionError(errno.EACCES, "Permission denied"), None),  # from a firewall
        (OSError(errno.EIO, "Input/output error"), Outage.DISK_ERROR),
        (OSError(errno.EMFILE, "Too many open files"), Outage.OPEN_FILES),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), None),  # it does not say by whom
        (not_yet_valid(), Outage.CLOCK),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), None),
        (asyncpg.DiskFullError("no space"), Outage.DISK_FULL),
        (asyncpg.InvalidPasswordError("password authentication failed"), Outage.DATABASE_REFUSED),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), Outage.DATABASE_REFUSED),
        (asyncpg.AdminShutdownError("terminating connection"), Outage.DATABASE_AWAY),
        (asyncpg.UndefinedColumnError("no such column"), None),
        (TimeoutError(), None),
    ],
)
def test_errors_of_the_system_and_postgresql_are_classified_however_they_are_wrapped(
    exc: Exception, outage: Outage | None
) -> None:
    assert outage_of(exc) is outage
    wrapped = ProviderUnavailable("a request")
    wrapped.__cause__ = RuntimeError("what a library makes of it")
    wrapped.__cause__.__context__ = exc
    assert outage_of(wrapped) is outage


# --- a full disk


async def test_a_full_disk_is_reported_once_loses_nothing_and_work_continues_afterwards(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await app.imagine()
    await app.turn(5)
    app.provider.sees = [app.ready()]
    with files_up_to(1), caplog.at_level(logging.INFO):
        for _ in range(5):
            await app.turn(31)
            await app.services.outages.check()
        with pytest.raises(UserError) as refused:
            await app.imagine()

    assert (refused.value.key, refused.value.values) == ("outage", {"outage": "disk_error"})
    assert notified(app) == ["operator.outage.disk_error"]
    assert [each for each in caplog.records if each.exc_info] == []
    named = [each for each in caplog.records if getattr(each, "event", "") == "outage"]
    assert [(each.levelname, each.__dict__["reason"]) for each in named] == [("WARNING", "disk_error")]

    job = await app.until_final(job_id)
    assert (job.state, len(app.provider.submitted)) == (State.SUCCEEDED, 1)
    await app.services.outages.check()
    await app.imagine()  # as soon as a write succeeds
    app.time.go(61)
    await app.services.outages.check()
    assert notified(app) == ["operator.outage.disk_error", "operator.outage_over"]
    assert app.services.outages.current == ()


def noise() -> bytes:
    """A PNG of about three megabytes."""
    out = BytesIO()
    Image.frombytes("RGB", (1000, 1000), os.urandom(3_000_000)).save(out, "PNG", compress_level=0)
    return out.getvalue()


async def test_a_picture_that_does_not_fit_on_the_disk_is_downloaded_again_until_it_does(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, later = await app.imagine(), await app.imagine(acked=False)
    await app.turn(2)
    app.provider.sees = [ready := app.ready()]
    app.files.files[ready.image_urls[0]] = noise()
    with files_up_to(2_000_000), caplog.at_level(logging.INFO):
        await app.turn(31)
        await app.services.requests.acknowledged(later, message_id=9, ephemeral=False)
        await app.turn(31, times=3)

    assert (await app.job(job_id)).state is State.COLLECTING
    assert len(app.provider.submitted) == 1  # nothing more is submitted meanwhile
    assert [each for each in caplog.records if each.exc_info] == []
    assert app.services.outages.current == (Outage.DISK_FULL,)
    assert list(app.folder.glob("*.part")) == []
    await app.services.outages.check()
    await app.turn(31)
    assert (await app.job(job_id)).state is State.SUCCEEDED
    assert len(app.provider.submitted) == 2


# --- the database


async def test_an_unreachable_database_server_is_reported_with_its_reason_and_when_it_is_back(
    tmp_path: Path, postgres_url: str, role_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_outages, "TIMEOUT", 0.3)
    role = urlsplit(role_url).username
    async with rig(tmp_path, url=role_url) as app:
        await app.services.outages.check()
        assert app.notifications == []
        await by_hand(postgres_url, f"ALTER ROLE {role} CONNECTION LIMIT 0")
        await cut(postgres_url)
        await app.services.outages.check()
        with pytest.raises(UserError) as refused:
            await app.imagine()
        assert (refused.value.key, app.services.outages.failing) == ("busy", Outage.DATABASE_REFUSED)

        await by_hand(postgres_url, f"ALTER ROLE {role} CONNECTION LIMIT -1")
        await app.services.outages.check()
        assert notified(app) == ["operator.outage.database_refused", "operator.outage_over"]
        await app.imagine()


async def test_a_single_lost_database_connection_is_not_reported(app: Rig) -> None:
    app.services.outages.seen(asyncpg.AdminShutdownError("terminating connection due to administrator command"))
    assert app.services.outages.failing is Outage.DATABASE_AWAY
    await app.services.outages.check()

    assert (app.services.outages.current, app.notifications) == ((), [])


async def test_a_wrong_database_password_is_reported(tmp_path: Path, postgres_url: str, role_url: str) -> None:
    async with rig(tmp_path, url=role_url) as app:
        await by_hand(postgres_url, f"ALTER ROLE {urlsplit(role_url).username} NOLOGIN")
        await cut(postgres_url)
        await app.services.outages.check()

        assert app.services.outages.current == (Outage.DATABASE_REFUSED,)


@pytest.mark.prove
async def test_a_database_that_refuses_connections_stops_no_loop_and_later_changes_are_noticed(
    tmp_path: Path, postgres_url: str, role_url: str
) -> None:
    async with rig(tmp_path, url=role_url) as app:
        job_id = await app.imagine()
        stop = asyncio.Event()
        working = asyncio.gather(app.worker.run(stop), app.services.changes.run(stop))
        await by_hand(postgres_url, f"ALTER ROLE {urlsplit(role_url).username} NOLOGIN")
        await cut(postgres_url)
        async with asyncio.timeout(20):
            await app.services.outages.wake.wait()  # set by the worker's error
        assert app.services.outages.current == (Outage.DATABASE_REFUSED,)
        assert not working.done()

        await by_hand(postgres_url, f"ALTER ROLE {urlsplit(role_url).username} LOGIN")
        async with asyncio.timeout(20):
            while app.provider.submitted != [job_id]:
                app.services.wakeups.wake(job_id)
                await asyncio.sleep(0.05)
        stop.set()
        app.services.wakeups.worker.set()
        app.services.changes.wake.set()
        await working


# --- too many open files


async def test_a_request_that_could_not_be_sent_is_no_failure_of_the_provider(app: Rig) -> None:
    job_id = await app.imagine()
    await app.turn(5)
    trouble = ProviderUnavailable("GET /status: ConnectError")
    trouble.__cause__ = OSError(errno.EMFILE, "Too many open files")
    app.provider.sees = [trouble]
    await app.turn(31, times=10)

    assert app.services.availability.outages == {}
    assert app.services.outages.current == (Outage.OPEN_FILES,)
    app.provider.sees = [app.ready()]
    assert (await app.until_final(job_id)).state is State.SUCCEEDED


# --- the clock


async def test_a_wrong_clock_seen_by_certificate_errors_is_over_when_they_stop(app: Rig) -> None:
    app.services.outages.seen(not_yet_valid())
    for _ in range(3):
        app.services.outages.clock_is_off(off=False)  # an interaction with the right time
        await app.services.outages.check()
    assert notified(app) == ["operator.outage.clock"]

    app.time.go(61)
    await app.services.outages.check()
    assert notified(app) == ["operator.outage.clock", "operator.outage_over"]


async def test_a_wrong_clock_seen_by_discord_is_over_when_discord_says_so(app: Rig) -> None:
    app.services.outages.clock_is_off(off=True)
    app.time.go(3600)
    await app.services.outages.check()
    assert notified(app) == ["operator.outage.clock"]

    app.services.outages.clock_is_off(off=False)
    await app.services.outages.check()
    assert notified(app) == ["operator.outage.clock", "operator.outage_over"]
