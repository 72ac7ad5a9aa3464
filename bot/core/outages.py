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


# While one of these lasts nothing is ordered: what is paid for could not be kept.
UNSAFE = frozenset(Outage) - {Outage.CLOCK, Outage.OPEN_FILES}
