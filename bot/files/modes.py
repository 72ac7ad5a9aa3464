"""Keeps what is written to disk from the machine's other users: files get 0600 and folders 0700, whatever the umask."""

import os
from collections.abc import Iterable
from pathlib import Path

FILE, FOLDER, OTHERS = 0o600, 0o700, 0o077


def make_folder(path: Path) -> None:
    """Make *path* and what is missing above it; what is there already is left as it is."""
    for each in [each for each in (path, *path.parents) if not each.exists()][::-1]:
        each.mkdir(exist_ok=True)
        each.chmod(FOLDER)


def open_private(path: str | Path, flags: int) -> int:
    """An `opener` for `open`: a file that it makes is the owner's alone."""
    is_new = flags & os.O_CREAT and not os.path.lexists(path)
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE)
    if is_new:
        os.fchmod(descriptor, FILE)
    return descriptor


def make_file(path: Path) -> None:
    """Make *path* an empty file unless it is there."""
    if not path.exists():
        os.close(open_private(path, os.O_CREAT | os.O_RDWR))


def is_there(path: Path) -> bool:
    """Whether *path* exists; `OSError` where that cannot be told, which `Path.exists` takes for no since 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def tighten(paths: Iterable[Path]) -> list[Path]:
    """Take from others what they may do with each of *paths*; those where that cannot be done, by another's file."""
    left = []
    for each in paths:
        try:
            if is_open(each):
                each.chmod(FOLDER if each.is_dir() else FILE)
        except OSError:
            left.append(each)
    return left


def is_open(path: Path) -> bool:
    """Whether others than its owner may do anything with *path*; False where it is not there or out of our reach."""
    try:
        return bool(path.stat().st_mode & OTHERS)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
