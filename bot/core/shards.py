"""Which shards of Discord's gateway a process connects: all of them, or a range of a fixed number. Pure."""

import re
from dataclasses import dataclass
from typing import Self

AUTO = "auto"
FORM = re.compile(r"(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?/(?P<count>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Shards:
    """*count* in all, of which this process connects *ids*. Discord sends events of a server to one shard."""

    ids: tuple[int, ...]
    count: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `0-3/8` or `3/8`; None for `auto`: as many as Discord recommends, all here. Raises `ValueError`."""
        if text == AUTO:
            return None
        if (found := FORM.fullmatch(text)) is None:
            raise ValueError
        first, count = int(found["first"]), int(found["count"])
        last = int(found["last"] or first)
        if not first <= last < count:
            raise ValueError
        return cls(tuple(range(first, last + 1)), count)


ONE = Shards((0,), 1)
