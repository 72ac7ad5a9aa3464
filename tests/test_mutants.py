"""The table of `make mutants` matches the files it changes."""

import shlex

from tests.mutants import MUTANTS, ROOT


def test_every_guard_is_in_its_file_once_and_has_tests() -> None:
    found = {each.guard: (ROOT / each.file).read_text(encoding="utf-8").count(each.text) for each in MUTANTS}
    tests = {shlex.split(each.tests)[0] for each in MUTANTS}

    assert found == dict.fromkeys((each.guard for each in MUTANTS), 1)
    assert [each for each in tests if not (ROOT / each).exists()] == []
