"""What keeps the bot from its work and only its operator can put right: pure names."""

from enum import StrEnum


class Outage(StrEnum):
    DISK_FULL = "disk_full"
    NOT_WRITABLE = "not_writable"  # permissions, or a disk that is mounted read-only
    DISK_ERROR = "disk_error"
    DATABASE_AWAY = "database_away"  # it does not answer, or somebody else holds it
    DATABASE_REFUSED = "database_refused"  # wrong password, no such database, no connection left
    DATABASE_DAMAGED = "database_damaged"
    OPEN_FILES = "open_files"
    CLOCK = "clock"


# While one of these lasts nothing is ordered: a picture that is paid for could not be kept. Where it is the database
# that fails, nothing can be ordered anyway, since that is written down first.
UNSAFE = frozenset({Outage.DISK_FULL, Outage.NOT_WRITABLE, Outage.DISK_ERROR})
HARMLESS = frozenset({Outage.OPEN_FILES, Outage.CLOCK})  # work goes on
PROVEN = frozenset({Outage.DATABASE_AWAY, Outage.DATABASE_REFUSED})  # over as soon as a write comes through
