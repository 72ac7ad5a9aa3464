"""Remembers the names of members who used the bot since it started.

discord.py's own cache has no members, because the bot does not ask Discord for them.
"""

from collections import OrderedDict

MAX_NAMES = 20_000


class SeenNames:
    """Display names by server and member, from their interactions; the longest unseen are forgotten first."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._names: OrderedDict[tuple[int, int], str] = OrderedDict()

    def remember(self, server: int, user: int, name: str) -> None:
        self._names[server, user] = name
        self._names.move_to_end((server, user))
        if len(self._names) > self._max_names:
            self._names.popitem(last=False)

    def name_of(self, server: int, user: int) -> str | None:
        return self._names.get((server, user))
