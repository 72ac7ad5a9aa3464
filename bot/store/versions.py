"""Which steps bring a database of either engine up to date, and when one is too new for us."""

from collections.abc import Sequence
from importlib import resources

from bot.store.database import StoreTooNew


def migrations(engine: str) -> Sequence[str]:
    """The numbered files of an engine, in order; the n-th brings a database to version n."""
    folder = resources.files("bot.store") / "migrations" / engine
    return [each.read_text() for each in sorted(folder.iterdir(), key=lambda one: one.name) if each.name[:4].isdigit()]


def missing(engine: str, *, version: int) -> list[tuple[int, str]]:
    """What a database of *version* lacks: version numbers and the SQL that leads to them."""
    files = migrations(engine)
    if version > len(files):
        raise StoreTooNew(f"the database has version {version}, this Darkroom knows {len(files)}: update Darkroom")
    return list(enumerate(files, start=1))[version:]
