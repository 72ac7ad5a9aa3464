"""Commands run in this process set up its logging; other tests do not see that."""

import logging
from collections.abc import Iterator

import pytest

from bot.observability.logging import Redactor


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for each in [each for each in root.handlers if any(isinstance(one, Redactor) for one in each.filters)]:
        root.removeHandler(each)
