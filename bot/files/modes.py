"""Creates files with mode 0600 and folders with 0700, whatever the umask, and tightens existing ones."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

FILE, FOLDER, OTHERS = 0o600, 0o700, 0o077  # modes; the bits of group and others


def make_folder(path: Path) -> None:
    """Make *path* and its missing parents; existing folders are not changed."""
    for each in [each for each in (path, *path.parents) if not each.exists()][::-1]:
        each.mkdir(exist_ok=True)
        each.chmod(FOLDER)


def open_private(path: str | Path, flags: int) -> int:
    """An `opener` for `open` that creates files with mode 0600."""
    is_new = flags & os.O_CREAT and not os.path.lexists(path)
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE)
    if is_new:
        os.fchmod(descriptor, FILE)
    return descriptor


def make_file(path: Path) -> None:
    """Make *path* an empty file unless it exists."""
    if not path.exists():
        os.close(open_private(path, os.O_CREAT | os.O_RDWR))


def is_there(path: Path) -> bool:
    """Whether *path* exists; `OSError` where that cannot be told, which `Path.exists` takes for no since 3.14."""
    try:
        path.stat()
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def tighten(paths: Iterable[Path]) -> list[Path]:
    """Remove group's and others' permissions from *paths*. Return those that cannot be changed."""
    failed = []
    for each in paths:
        try:
            if is_open(each):
                each.chmod(FOLDER if each.is_dir() else FILE)
        except OSError:
            failed.append(each)
    return failed


def is_open(path: Path) -> bool:
    """Return whether group or others have any permission on *path*; False if it is missing or unreachable."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
