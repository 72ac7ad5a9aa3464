"""Sources of settings: environment variables and TOML files, and error messages that name variable, file and line.

This module does not know the individual settings: names, descriptions and examples come from the pydantic model.
"""

import json
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

PREFIX = "DARKROOM_"
CONFIG = "DARKROOM_CONFIG"
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # spaces, line ends, byte order marks, zero-width characters

Place = tuple[str | int, ...]  # path of a value in a table: keys, and indexes of list entries

HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
KEY = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")

# Phrases for pydantic's error types; the fields of settings have descriptions of their own.
PHRASES = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": 'must be a string, for example "png"',
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number, for example 4"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number, for example 2.5"),
    **dict.fromkeys(("tuple_type", "frozen_set_type"), 'must be a list, for example ["1K", "2K"]'),
    **dict.fromkeys(("mapping_type", "dict_type", "model_type"), "must be a table, for example {{ key = 1 }}"),
}
AMOUNT = 'must be a number of dollars or a factor, for example "0.08"'
AMBIGUOUS = frozenset(
    {"missing", "extra_forbidden", "model_type"}
)  # errors that every member of a union of tables reports
UNKNOWN_FORM = "has an unknown form; compare the shipped file"


class BadSettings(Exception):
    """The configuration cannot be used. The message is one line with the setting's name and a form that works."""


def tidy(value: Any) -> Any:
    """Return *value* without the whitespace and invisible characters around texts that pasting adds."""
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if not isinstance(value, str):
        return value
    visible = [n for n, char in enumerate(value) if unicodedata.category(char) not in INVISIBLE]
    return value[visible[0] : visible[-1] + 1] if visible else ""


@dataclass(frozen=True, slots=True)
class TomlFile:
    path: Path
    table: Mapping[str, Any]
    text: str

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            text = path.read_text(encoding="utf-8-sig")  # utf-8-sig: some editors write a byte order mark
            return cls(path, tomllib.loads(text), text)
        except OSError as exc:
            raise BadSettings(f"{path} cannot be read: {exc.strerror}") from None
        except (ValueError, RecursionError) as exc:  # not UTF-8, not TOML, or a number with thousands of digits
            raise BadSettings(f"{path} is not valid TOML: {' '.join(str(exc).split())}") from None

    def line(self, place: Place) -> tuple[int | None, int]:
        """Return the line of the value at *place*, or of its innermost table, and the number of keys matched."""
        line, depth = None, 0
        for number, written in self._lines():
            common = min(len(written), len(place))
            if common > depth and written[:common] == place[:common]:
                line, depth = number, common
        return line, depth

    def _lines(self) -> Iterator[tuple[int, Place]]:
        """Yield the number of each line that begins a table or a value, with its path."""
        above: Place = ()
        counts: dict[Place, int] = {}
        for number, line in enumerate(self.text.split("\n"), start=1):
            if found := HEADER.fullmatch(line):
                above = _keys(found[2])
                if found[1] == "[[":
                    counts[above] = counts.get(above, -1) + 1
                    above = (*above, counts[above])
                yield number, above
            elif found := ASSIGNMENT.match(line):
                yield number, (*above, *_keys(found[1]))

    def name(self, place: Place) -> str:
        """Return the name for messages, such as `/etc/darkroom.toml, line 3: web.port`."""
        line, _ = self.line(place)
        where = f"{self.path}, line {line}" if line else str(self.path)
        return f"{where}: {_dotted(place)}" if place else where

    def sentence(self, wrong: ValidationError, *, kinds: Collection[str] = ()) -> str:
        """Return a message about the first error in this file, without quoting its values.

        *kinds*: names of the models of a union, which pydantic inserts into the path.
        """
        problems = wrong.errors(include_input=False, include_url=False)
        problem = next((each for each in problems if each["type"] not in AMBIGUOUS), problems[0])
        place = self._as_written(tuple(each for each in problem["loc"] if each != "[key]" and each not in kinds))
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            return f"{self.name(place)}: there is no such key"
        if kind == "value_error":
            return f"{self.name(place)}: {context['error']}"
        phrase = AMOUNT if kind.startswith(("decimal", "finite")) else PHRASES.get(kind, UNKNOWN_FORM)
        return f"{self.name(place)} {phrase.format(**context)}"

    def _as_written(self, place: Place) -> Place:
        """Return *place*, without a key if the value was written once above several tables."""
        shorter = [place[:n] + place[n + 1 :] for n in range(2, len(place) - 1)]
        return max([place, *shorter], key=lambda each: self.line(each)[1])


def _keys(dotted: str) -> Place:
    return tuple(each.strip("\"'") for each in KEY.findall(dotted))


def _dotted(place: Place) -> str:
    return ".".join(str(each + 1) if isinstance(each, int) else each for each in place)


class Sources:
    """The merged sections of several files and the environment; later sources override earlier ones."""

    def __init__(self, files: Sequence[TomlFile], environment: Mapping[str, str], *, model: type[BaseModel]) -> None:
        self._files = files
        self._fields = {name: _fields(each) for name, each in model.model_fields.items()}
        self._variables: dict[Place, str] = {}
        self.values: dict[str, dict[str, Any]] = {}
        for file in files:
            self._read_file(file)
        for name, value in sorted(environment.items()):
            if name.startswith(PREFIX) and name != CONFIG:
                self._read_variable(name, value)

    def _read_file(self, file: TomlFile) -> None:
        for section, values in file.table.items():
            if not isinstance(values, dict):
                known = f"write [{section}] above its settings" if section in self._fields else "no such section"
                raise BadSettings(f"{file.name((section,))} is not a section: {known}, for example [web]")
            self.values.setdefault(section, {}).update({key: tidy(value) for key, value in values.items()})

    def _read_variable(self, name: str, value: str) -> None:
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not separator or section not in self._fields:
            raise BadSettings(f"{name}: no such setting{self._suggest_variable(name)}")
        self._variables[section, key] = name
        self.values.setdefault(section, {})[key] = self._parsed(name, tidy(value), field=self._fields[section].get(key))

    def _parsed(self, name: str, value: str, *, field: FieldInfo | None) -> Any:
        if not value.startswith("[") or field is None or not isinstance((field.examples or [""])[0], list):
            return value
        try:
            return tidy(json.loads(value))
        except (ValueError, RecursionError):
            example = _example(field, variable=True)
            raise BadSettings(f"{name} must be a JSON list, for example {example}") from None

    def _suggest_variable(self, name: str) -> str:
        """Return a suggestion for a misspelt variable, "" if no name is similar."""
        known = [variable(section, key) for section, keys in self._fields.items() for key in keys]
        found = get_close_matches(name, known, n=1, cutoff=0.8)
        return f"; did you mean {found[0]}?" if found else ""

    def name(self, place: Place) -> str:
        """Return the name of the value at *place* where it was set: the variable, or file, line and key."""
        entry = f" (entry {place[2] + 1})" if len(place) > 2 and isinstance(place[2], int) else ""
        if place[:2] in self._variables:
            return self._variables[place[:2]] + entry
        file = next((each for each in reversed(self._files) if _has(each.table, place[:2])), self._files[-1])
        return file.name(place[:2]) + entry

    def sentence(self, wrong: ValidationError) -> str:
        """Return a message about the first error, with the setting's name and a form that works; quotes no value."""
        problem = wrong.errors(include_input=False, include_url=False)[0]
        section, key = (*problem["loc"], "")[:2]
        name, is_variable = self.name(problem["loc"]), (section, key) in self._variables
        field = self._fields.get(str(section), {}).get(str(key))
        if field is None:
            known = [variable(str(section), each) for each in self._fields.get(str(section), ())]
            suggestion = self._suggest_variable(name) if is_variable else _suggest_key(str(key), known)
            return f"{name}: no such setting{suggestion}"
        if problem["type"] == "missing":
            return f"{self._files[-1].path}: {section}.{key} is missing, for example {_example(field, key=str(key))}"
        must = f"must be {field.description}"
        if is_variable:
            must = must.replace("must be a list", "must be a JSON list")
        phrase = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else must
        example = f", for example {_example(field, variable=is_variable, key=str(key))}"
        return f"{name} {phrase}{'' if 'for example' in phrase else example}"


def variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key}".upper()


def _suggest_key(key: str, known: Collection[str]) -> str:
    keys = [each.partition("__")[2].lower() for each in known]
    found = get_close_matches(key, keys, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _fields(section: FieldInfo) -> Mapping[str, FieldInfo]:
    model = section.annotation
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _example(field: FieldInfo, *, variable: bool = False, key: str = "") -> str:
    """Return a valid value as written in an environment variable, or in a file with its *key*."""
    value = (field.examples or [""])[0]
    if variable:
        return value if isinstance(value, str) else json.dumps(value)
    return f"{key} = {json.dumps(value)}"


def _has(table: Mapping[str, Any], place: Place) -> bool:
    section = table.get(str(place[0]))
    return isinstance(section, dict) and (len(place) < 2 or place[1] in section)
