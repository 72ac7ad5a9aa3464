"""The migrations of each engine, by version."""

from collections.abc import Sequence
from importlib import resources

from bot.store.database import StoreTooNew


def migrations(engine: str) -> Sequence[str]:
    """The SQL of an engine's numbered files, in order; the n-th migrates a database to version n."""
    folder = resources.files("bot.store") / "migrations" / engine
    return [each.read_text() for each in sorted(folder.iterdir(), key=lambda one: one.name) if each.name[:4].isdigit()]


def pending_migrations(engine: str, *, version: int) -> list[tuple[int, str]]:
    """The migrations that a database of *version* needs, as (version, SQL); `StoreTooNew` if it is newer than ours."""
    files = migrations(engine)
    if version > len(files):
        raise StoreTooNew(f"the database has version {version}, this Darkroom knows {len(files)}: update Darkroom")
    return list(enumerate(files, start=1))[version:]
