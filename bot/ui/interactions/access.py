"""Access control: in which servers and direct messages pictures may be made.

Servers whose owner is the application's owner, or a member of its team, are always open. The setting `guilds` opens
other servers by id, or all with `*`. Direct messages with the bot are open to the application's owners, and to
everybody if all servers are open. In servers that the bot is not a member of, only the setting `user_install` decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.errors import UserError

ALL_SERVERS = "*"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an interaction comes from. *owner_id* is the server's owner, None if unknown."""

    user_id: int
    guild_id: int | None = None
    owner_id: int | None = None
    member: bool = False  # the bot is a member of that server
    direct: bool = False  # a direct message with the bot
    age_restricted: bool = False  # Discord lets only adults see the channel


class Access:
    def __init__(self, guilds: Iterable[str], *, user_install: bool, age_restricted: bool = False) -> None:
        """*age_restricted*: pictures are made only in channels that Discord restricts to adults."""
        self._age_restricted = age_restricted
        listed = set(guilds)
        self._all_open = ALL_SERVERS in listed
        self._listed = frozenset(int(each) for each in listed - {ALL_SERVERS})
        self._user_install = user_install
        self._owners: frozenset[int] = frozenset()

    def set_owners(self, owners: Iterable[int]) -> None:
        """Set the user ids of the application's owners, which are known after login."""
        self._owners = frozenset(owners)

    def is_owner(self, user_id: int) -> bool:
        """Whether the user is one of the application's owners."""
        return user_id in self._owners

    def needs_owner(self, guild_id: int) -> bool:
        """Whether the server is open depends on its owner."""
        return not self._all_open and guild_id not in self._listed

    def guild_is_open(self, guild_id: int, *, owner_id: int | None) -> bool:
        return not self.needs_owner(guild_id) or owner_id in self._owners

    def check(self, location: Location) -> None:
        """Raise `UserError` with a key below `place` if no pictures may be made at *location*."""
        if location.guild_id is not None and location.member:
            if not self.guild_is_open(location.guild_id, owner_id=location.owner_id):
                raise UserError("place.not_open", guild_id=location.guild_id)
            if self._age_restricted and not location.age_restricted:
                raise UserError("place.age")
        elif location.direct:
            if not self._all_open and location.user_id not in self._owners:
                raise UserError("place.dm_off")
        elif not self._user_install:
            raise UserError("place.user_install_off")
