"""Which shards of the gateway a process connects."""

import pytest

from bot.core.shards import Shards


def test_a_range_one_shard_and_the_recommended_number_are_read() -> None:
    assert Shards.parse("0-3/8") == Shards((0, 1, 2, 3), 8)
    assert Shards.parse("7/8") == Shards((7,), 8)
    assert Shards.parse("auto") is None


@pytest.mark.parametrize("text", ["", "8", "8/8", "3-1/8", "0-8/8", "-1/8", "0-3", "0-3/0", "a/b", "0 - 3/8"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the setting says what is wrong
        Shards.parse(text)
