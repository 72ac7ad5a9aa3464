"""Empty databases with the current schema: the migrations create the first of each test process, the others are copies.

Tests of the migrations use the fixture `blank_url`, which names a database without tables.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bot.store.connect import open_database
from tests import postgres

POSTGRES_IN_PROVE = ("sqlite", pytest.param("postgres", marks=pytest.mark.prove))  # where tests/store has what differs
_file: list[bytes] = []  # the content of an empty SQLite database, once there is one
_names: dict[str, str] = {}  # a server's address -> the name of the database that is copied there


async def make_file(path: Path) -> None:
    """Create the SQLite file *path* unless it exists."""
    if not _file:
        with TemporaryDirectory() as folder:
            first = Path(folder, "first.db")
            await (await open_database(f"sqlite:///{first}")).aclose()
            _read(first)
    _write(path)


def _read(path: Path) -> None:
    _file.append(path.read_bytes())


def _write(path: Path) -> None:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_file[0])


@asynccontextmanager
async def empty(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    """The address of a database of the engine that is the parameter of the requesting fixture."""
    if request.param == "sqlite":
        await make_file(folder / "darkroom.db")
        yield f"sqlite:///{folder}/darkroom.db"
        return
    server: str = request.getfixturevalue("postgres_server")
    async with postgres.fresh(server, template=await template(server)) as found:
        yield found


async def template(address: str) -> str:
    """The name of a database on the server at *address* from which others can be made."""
    if address not in _names:
        name = f"darkroom_template_{os.getpid()}"
        await postgres.by_hand(address, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        await (await open_database(postgres.named(address, name))).aclose()
        _names[address] = name
    return _names[address]


async def drop_template(address: str) -> None:
    if name := _names.pop(address, None):
        await postgres.by_hand(address, f"DROP DATABASE {name}")
