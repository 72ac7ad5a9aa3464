"""Files are readable by their owner only, whatever the umask; modes of existing files are tightened."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.app import build
from bot.files.folder import FolderStorage
from bot.files.modes import is_there
from bot.settings.settings import Settings
from bot.store.database import Tx
from bot.store.sqlite import SqliteDatabase
from tests.kit import Rig

PICTURE = "01M7Y0XSNXXPA2WVYTX3MESRVG-1.png"


@pytest.fixture(params=[0o000, 0o022, 0o777])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(each.relative_to(folder)): each.stat().st_mode & 0o777 for each in folder.rglob("*")}


async def _note(tx: Tx) -> None:
    await tx.run("INSERT INTO notes (key, value) VALUES ('a', 'b')")


@pytest.mark.usefixtures("_umask")
async def test_new_files_and_folders_are_their_owners(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "data" / "deep" / "darkroom.db", running=True)
    await database.write(_note)
    await FolderStorage(tmp_path / "data").write(PICTURE, b"bytes")
    found = modes(tmp_path)
    await database.aclose()

    assert found == {
        "data": 0o700,
        "data/deep": 0o700,
        "data/deep/darkroom.db": 0o600,
        "data/deep/darkroom.db-wal": 0o600,
        "data/deep/darkroom.db-shm": 0o600,
        "data/deep/darkroom.db.lock": 0o600,
        f"data/{PICTURE}": 0o600,
    }


@pytest.mark.usefixtures("_umask")
async def test_a_deleted_picture_folder_is_created_again_with_mode_0700(app: Rig) -> None:
    app.services.outages._storage = FolderStorage(app.folder / "data" / "pictures")
    await app.services.outages.check()

    assert modes(app.folder / "data") == {"pictures": 0o700}
    assert app.services.outages.current == ()


async def test_only_too_open_modes_are_changed_at_the_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "pictures").mkdir(parents=True)
    await (await SqliteDatabase.open(home / "darkroom.db")).aclose()
    (home / "pictures" / PICTURE).write_bytes(b"bytes")
    (home / "pictures" / "mine.txt").write_text("the operator's own")
    (home / "darkroom.db-backup").write_text("the operator's own")
    for each in (home, *home.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)

    settings = Settings.load(
        {"DARKROOM_DATABASE__URL": f"sqlite:///{home}/darkroom.db", "DARKROOM_DATA__DIR": str(home / "pictures")}
    )
    async with build(settings):
        found = {name: mode for name, mode in modes(tmp_path).items() if not name.endswith((".lock", "-wal", "-shm"))}

    assert found == {
        "home": 0o755,
        "home/darkroom.db": 0o600,
        "home/darkroom.db-backup": 0o644,
        "home/pictures": 0o700,
        f"home/pictures/{PICTURE}": 0o600,
        "home/pictures/mine.txt": 0o644,
    }


def test_an_unreadable_path_does_not_count_as_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")

    assert [is_there(tmp_path / each) for each in ("file", "none", "file/below", "circle")] == [True, *[False] * 3]
    with pytest.raises(OSError, match="too long"):
        is_there(tmp_path / ("long" * 100))
