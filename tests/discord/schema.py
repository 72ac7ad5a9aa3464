"""Checks recorded requests against Discord's published schema, if a copy of it and its checker are present."""

import importlib.util
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tests.discord.calls import Recorded

CHECKER = Path("shared", "tools", "discord_spec_check.py")


class Problems(list[str]):
    """Violations of the schema. *skipped*: there is no checker."""

    skipped = False


@cache
def _spec() -> Any:
    found = next((base / CHECKER for base in Path(__file__).resolve().parents if (base / CHECKER).is_file()), None)
    if found is None:
        return None
    described = importlib.util.spec_from_file_location("discord_spec_check", found)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the checker does not close its file
        return module.Spec()


def check_schema(requests: Iterable[Recorded]) -> Problems:
    """One line for each violation, with its request; the CDN is not part of the schema."""
    problems = Problems()
    spec = _spec()
    if spec is None:
        problems.skipped = True
        return problems
    for each in requests:
        if each.method in {"POST", "PUT", "PATCH"}:
            problems += [f"{each.method} {each.path}: {one}" for one in _complaints(spec, each)]
    return problems


def _complaints(spec: Any, request: Recorded) -> list[str]:
    try:
        return list(spec.check(request.method, request.path, request.json))
    except KeyError as unknown:
        return [str(unknown)]
