"""Decides where pictures may be made at all: spending is closed except where the operator opened it.

Servers of the application's owner, or of a member of the team behind it, are always open; listed ids open
others; `*` opens all. Direct messages with the bot are open to those same people, and to everybody once all
servers are. Where the bot is not a member, `user_install` decides alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.errors import UserError

EVERY = "*"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an interaction comes from. *owner_id* is None where the server's owner is not known."""

    user_id: int
    guild_id: int | None = None
    owner_id: int | None = None
    member: bool = False  # the bot itself is in that server
    direct: bool = False  # a direct message with the bot


class Access:
    def __init__(self, guilds: Iterable[str], *, user_install: bool) -> None:
        listed = set(guilds)
        self._every = EVERY in listed
        self._listed = frozenset(int(each) for each in listed - {EVERY})
        self._user_install = user_install
        self._operators: frozenset[int] = frozenset()

    def set_owners(self, operators: Iterable[int]) -> None:
        """Who the application belongs to, as Discord says."""
        self._operators = frozenset(operators)

    def needs_owner(self, guild_id: int) -> bool:
        """Whether only its owner can tell if this server is open."""
        return not self._every and guild_id not in self._listed

    def guild_is_open(self, guild_id: int, *, owner_id: int | None) -> bool:
        return not self.needs_owner(guild_id) or owner_id in self._operators

    def check(self, spot: Location) -> None:
        """Raise `UserError` where nothing may be made."""
        if spot.guild_id is not None and spot.member:
            if not self.guild_is_open(spot.guild_id, owner_id=spot.owner_id):
                raise UserError("place.not_open", guild_id=spot.guild_id)
        elif spot.direct:
            if not self._every and spot.user_id not in self._operators:
                raise UserError("place.dm_off")
        elif not self._user_install:
            raise UserError("place.user_install_off")
