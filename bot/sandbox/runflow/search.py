"""Parses and applies the query of `GET /v1/runs`: filter, order, page and fields. Pure.

Source: docs.runflow.io/api-reference/runs/search-runs, and Runflow's own scripts, which write client_ref.EQ:'…'
(github.com/runflow-io/templates, asset-validation/api/runs.mjs). The documentation has filters by status_code and
created_at and does not mention client_ref, so one fault disables that filter, and another one either spelling.
Terms are joined by AND; OR and NOT, which Runflow supports, are rejected here.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
MAX_LIMIT = 500
FILTERABLE = frozenset({"id", "status_code", "created_at", "model_id", "client_ref", "batch_id", "request_id"})
TERM = re.compile(r"""\s*(\w+)\s*(\.EQ:|>=|<=|[:=<>])\s*("[^"]*"|'[^']*'|[^\s"']+)\s*""")
SPELLINGS: Mapping[str, str] = {"eq": ".EQ:", "colon": ":"}
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ".EQ:": operator.eq,
    ":": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


class BadSearch(Exception):
    """An invalid search; *field* is the wrong parameter."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Search:
    terms: Sequence[tuple[str, str, str]]
    newest_first: bool
    limit: int
    offset: int
    fields: Sequence[str]

    def matches(self, record: Record) -> bool:
        return all(_matches(record.get(field), sign, value) for field, sign, value in self.terms)

    def page(self, records: Iterable[Record]) -> dict[str, Any]:
        """Return one page of *records*, which are in order of creation."""
        found = [each for each in records if self.matches(each)]
        if self.newest_first:
            found.reverse()
        end = self.offset + self.limit
        return {
            "items": [self._cut(each) for each in found[self.offset : end]],
            "next_pq": str(end) if end < len(found) else None,
            "prev_pq": str(max(0, self.offset - self.limit)) if self.offset else None,
        }

    def _cut(self, record: Record) -> dict[str, Any]:
        return {key: value for key, value in record.items() if not self.fields or key in self.fields}


def read_search(
    query: Mapping[str, str], *, filterable: frozenset[str] = FILTERABLE, spelling: str | None = None
) -> Search:
    """Parse the query parameters of a search. Raises `BadSearch`.

    *spelling*: the only key of `SPELLINGS` that is accepted; None accepts all.
    """
    order = query.get("sort_by", "created_at:desc")
    if order not in ("created_at", "created_at:asc", "created_at:desc"):
        raise BadSearch("sort_by", f"cannot sort by {order}")
    fields = [each.strip() for each in query.get("fields", "").split(",") if each.strip()]
    return Search(
        terms=_terms(query.get("q", ""), filterable, spelling=spelling),
        newest_first=order == "created_at:desc",
        limit=_number(query, "limit", default=50, minimum=1, maximum=MAX_LIMIT),
        offset=_number(query, "pq", default=0, minimum=0, maximum=10**9),
        fields=fields,
    )


def _terms(text: str, filterable: frozenset[str], *, spelling: str | None) -> list[tuple[str, str, str]]:
    terms = []
    for part in re.split(r"\s+AND\s+", text.strip()) if text.strip() else []:
        read = TERM.fullmatch(part)
        if read is None:
            raise BadSearch("q", "cannot read the filter")
        field, sign, value = read.groups()
        if spelling is not None and sign in SPELLINGS.values() and sign != SPELLINGS[spelling]:
            raise BadSearch("q", "cannot read the filter")
        if field not in filterable:
            raise BadSearch("q", f"{field} is not filterable")
        terms.append((field, sign, value.strip("\"'")))
    return terms


def _matches(has: Any, sign: str, value: str) -> bool:
    return isinstance(has, str) and COMPARE[sign](has, value)


def _number(query: Mapping[str, str], name: str, *, default: int, minimum: int, maximum: int) -> int:
    raw = query.get(name, str(default))
    if not raw.isdecimal() or not minimum <= int(raw) <= maximum:
        raise BadSearch(name, f"{name} is a number from {minimum} to {maximum}")
    return int(raw)
