"""`darkroom doctor` and other read-only commands: they change nothing and name what they read."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bot.store.connect import open_database
from bot.store.versions import migrations
from tests.cli.shell import Ended, Run, shell
from tests.store.test_upgrade import by_hand, engine_of, left_by

LOOKS = [
    "jobs list",
    "jobs show 01KAF0",
    "quota show --direct",
    "quota export --direct",
    "ledger check",
    "ledger export",
]

AS_ANYBODY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()  # modes hold for root


@pytest.fixture
def url(blank_url: str) -> str:
    return blank_url


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> Run:
    return shell("", url, monkeypatch=monkeypatch, capsys=capsys)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Modification time and content of every file and folder below *folder*."""
    return {
        str(each): (each.stat().st_mtime_ns, each.read_bytes() if each.is_file() else b"")
        for each in [folder, *folder.rglob("*")]
    }


def database_line(result: Ended) -> str:
    return result.out.splitlines()[1]


@pytest.mark.parametrize("url", ["sqlite:///data/darkroom.db"])
async def test_nothing_is_created_in_an_empty_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)

    result = await run("doctor")
    others = [await run(*each.split()) for each in LOOKS]

    assert tree(tmp_path) == before
    assert database_line(result).startswith(
        f"warn  database {tmp_path}/data/darkroom.db: does not exist yet - darkroom run"
    )
    assert f"not in {tmp_path}" in database_line(result)
    missing = f"darkroom: there is no database yet at {tmp_path}/data/darkroom.db ("
    assert all(each.sentence(2).startswith(missing) for each in others)


@pytest.mark.parametrize("url", ["sqlite:///var/lib/darkroom.db"])
async def test_a_sqlite_url_without_a_slash_is_reported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "has four slashes: sqlite:////var/lib/darkroom.db" in database_line(await run("doctor"))


async def test_an_older_database_is_left_at_its_version(run: Run, url: str, tmp_path: Path) -> None:
    await left_by(1, url)
    before = tree(tmp_path)

    result = await run("doctor")
    others = [await run(*each.split()) for each in LOOKS]

    assert tree(tmp_path) == before
    assert f"has version 1, this Darkroom needs {len(migrations(engine_of(url)))} - darkroom run" in database_line(
        result
    )
    assert all("stop the bot, run `darkroom migrate`, start the bot" in each.sentence(2) for each in others)
    assert "has version 1, " in database_line(await run("doctor"))


async def test_the_doctor_checks_the_database_of_a_running_bot(run: Run, url: str, tmp_path: Path) -> None:
    database = await open_database(url, running=True)
    before = {name: entry[1] for name, entry in tree(tmp_path).items()}
    line = database_line(await run("doctor"))
    assert {name: entry[1] for name, entry in tree(tmp_path).items()} == before
    await database.aclose()

    assert line.startswith("ok    database ")
    assert line.endswith(" can be opened")


@pytest.mark.parametrize("blank_url", ["postgres"], indirect=True)
async def test_an_empty_database_of_a_server_stays_empty(run: Run, url: str) -> None:
    assert "has no tables yet - darkroom run creates them" in database_line(await run("doctor"))
    for each in LOOKS:
        assert "there is no database yet" in (await run(*each.split())).sentence(2)
    await by_hand(url, "CREATE TABLE darkroom_version (version BIGINT)")  # which would fail if there were one


@pytest.mark.parametrize("blank_url", ["sqlite"], indirect=True)
async def test_another_programs_database_is_unchanged(run: Run, url: str, tmp_path: Path) -> None:
    await by_hand(url, "CREATE TABLE bookmarks (address TEXT)")
    before = tree(tmp_path)

    assert "does not hold Darkroom's tables" in database_line(await run("doctor"))
    assert "does not hold Darkroom's tables" in (await run("jobs", "list")).sentence(2)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("blank_url", ["sqlite"], indirect=True)
async def test_files_that_others_may_read_are_reported_and_unchanged(run: Run, url: str, tmp_path: Path) -> None:
    await (await open_database(url)).aclose()
    (tmp_path / "darkroom.db").chmod(0o644)
    before = tree(tmp_path)

    result = await run("doctor")
    assert f"warn  other users of this machine may open {tmp_path}/darkroom.db - " in result.out
    assert (tree(tmp_path), (tmp_path / "darkroom.db").stat().st_mode & 0o777) == (before, 0o644)


@pytest.mark.parametrize("url", ["sqlite:///f/x.db"])
async def test_a_file_in_place_of_a_folder_is_reported_and_the_other_checks_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("a file")
    result = await run("doctor")

    assert database_line(result).startswith(f"FAIL  database {tmp_path}/f/x.db: {tmp_path}/f cannot be written")
    assert "FAIL  Discord: no token" in result.out


@pytest.mark.parametrize("data", ["theirs/pictures", "unlisted"])
async def test_unreadable_folders_are_reported_and_the_other_checks_run(tmp_path: Path, data: str) -> None:
    (tmp_path / "theirs").mkdir(mode=0)
    (tmp_path / "unlisted").mkdir(mode=0o300)
    env = {
        "DARKROOM_DATABASE__URL": f"sqlite:///{tmp_path}/theirs/x.db",
        "DARKROOM_DATA__DIR": f"{tmp_path}/{data}",
        "PATH": os.environ["PATH"],
    }
    process = await asyncio.create_subprocess_exec(
        *AS_ANYBODY, sys.executable, "-m", "bot", "doctor", env=env, stdout=-1
    )
    async with asyncio.timeout(20):
        result = (await process.communicate())[0].decode()

    assert [line.partition(" - ")[0] for line in result.splitlines()[1:]] == [
        f"FAIL  database {tmp_path}/theirs/x.db: Permission denied",
        f"FAIL  pictures: {tmp_path}/{data}: Permission denied",
        "FAIL  Discord: no token",
        "FAIL  runcomfy: no token",
    ]
