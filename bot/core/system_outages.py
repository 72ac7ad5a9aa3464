"""Outages of the bot itself, which only the operator can fix."""

from enum import StrEnum


class Outage(StrEnum):
    DISK_FULL = "disk_full"
    NOT_WRITABLE = "not_writable"  # permissions, or a disk that is mounted read-only
    DISK_ERROR = "disk_error"
    STORAGE_AWAY = "storage_away"  # the bucket of pictures does not answer
    STORAGE_REFUSED = "storage_refused"  # wrong keys, missing permissions, no such bucket
    DATABASE_AWAY = "database_away"  # it does not answer, or another process locks it
    DATABASE_REFUSED = "database_refused"  # wrong password, no such database, too many connections
    DATABASE_DAMAGED = "database_damaged"
    OPEN_FILES = "open_files"
    CLOCK = "clock"


# During these outages no request is submitted, because a paid picture could not be stored. Outages of the database need
# not be listed: a submit is recorded before it is sent.
STOPS_SUBMITS = frozenset(
    {Outage.DISK_FULL, Outage.NOT_WRITABLE, Outage.DISK_ERROR, Outage.STORAGE_AWAY, Outage.STORAGE_REFUSED}
)
HARMLESS = frozenset({Outage.OPEN_FILES, Outage.CLOCK})  # jobs continue
OVER_AFTER_WRITE = frozenset(  # over as soon as a write succeeds
    {Outage.STORAGE_AWAY, Outage.STORAGE_REFUSED, Outage.DATABASE_AWAY, Outage.DATABASE_REFUSED}
)
