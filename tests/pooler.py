"""A real PgBouncer for the tests, in transaction mode: each transaction may be on another session of the server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SESSIONS = 3  # of the server, used in turn
CONFIGURATION = """
[databases]
* = host={server} user={user}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
server_round_robin = 1
server_login_retry = 0.2
max_client_conn = 500
log_connections = 0
log_disconnections = 0
"""


class NoPooler(Exception):
    """No PgBouncer can be started here; the text says why."""


@contextmanager
def pooler(address: str, *, sessions: int = SESSIONS) -> Iterator[str]:
    """The URL of the database at *address*, on a server with a Unix socket, through a PgBouncer of its own."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    parts = urlsplit(address)
    (server,) = parse_qs(parts.query).get("host", [""])
    if program is None or not server.startswith("/"):
        raise NoPooler("there is no pgbouncer on this machine" if program is None else "the server has no Unix socket")
    owner = Path(server).stat().st_uid  # PgBouncer refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pooler") as folder:
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(CONFIGURATION.format(server=server, user=parts.username, folder=folder, sessions=sessions))
        if owner != os.getuid():
            os.chown(folder, owner, -1)
        with subprocess.Popen(  # noqa: S603
            [program, str(file)], stderr=subprocess.PIPE, text=True, user=None if owner == os.getuid() else owner
        ) as process:
            assert process.stderr is not None
            try:
                if not any("process up" in line for line in iter(process.stderr.readline, "")):
                    raise NoPooler("pgbouncer does not start")
                yield f"postgresql://{parts.username}@{parts.path}?host={folder}&port=6432"
            finally:
                process.terminate()
