"""Where settings are written: variables of the environment, lines of TOML files, and sentences that name them.

Nothing here knows which settings there are: names and the forms that work come from the models that are checked.
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
UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # blanks, line ends, byte order marks, zero widths

Place = tuple[str | int, ...]  # of a value in a table: its keys, and the numbers of entries in lists

HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
KEY = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")

# What pydantic finds wrong, in our words; the fields of settings have sentences of their own.
PHRASES = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": 'must be a text, for example "png"',
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
AMBIGUOUS = frozenset({"missing", "extra_forbidden", "model_type"})  # one kind of table lacks what another has
FOREIGN = "has a form that is not known; compare the file as shipped"


class BadSettings(Exception):
    """The configuration cannot be used; the text is one line that names what was typed, and the form that works."""


def tidy(value: Any) -> Any:
    """*value* without what pasting brings along: blanks, line ends and unseen characters around a text."""
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if not isinstance(value, str):
        return value
    seen = [n for n, char in enumerate(value) if unicodedata.category(char) not in UNSEEN]
    return value[seen[0] : seen[-1] + 1] if seen else ""


@dataclass(frozen=True, slots=True)
class TomlFile:
    path: Path
    table: Mapping[str, Any]
    text: str

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
            return cls(path, tomllib.loads(text), text)
        except OSError as exc:
            raise BadSettings(f"{path} cannot be read: {exc.strerror}") from None
        except (ValueError, RecursionError) as exc:  # not UTF-8, not TOML, or numbers with thousands of digits
            raise BadSettings(f"{path} is not valid TOML: {' '.join(str(exc).split())}") from None

    def line(self, place: Place) -> tuple[int | None, int]:
        """The line of the value at *place*, or of the innermost table around it, and how many keys of it are there."""
        found, depth = None, 0
        for number, written in self._lines():
            most = min(len(written), len(place))
            if most > depth and written[:most] == place[:most]:
                found, depth = number, most
        return found, depth

    def _lines(self) -> Iterator[tuple[int, Place]]:
        """Numbers of lines that begin something, and what: a table or a value."""
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
        """`/etc/darkroom.toml, line 3: web.port`."""
        line, _ = self.line(place)
        where = f"{self.path}, line {line}" if line else str(self.path)
        return f"{where}: {_dotted(place)}" if place else where

    def sentence(self, wrong: ValidationError, *, kinds: Collection[str] = ()) -> str:
        """The first thing that is wrong with this file, by name; no value is quoted.

        *kinds* are names of models that stand for the same key: they are not part of what was written.
        """
        problems = wrong.errors(include_input=False, include_url=False)
        problem = next((each for each in problems if each["type"] not in AMBIGUOUS), problems[0])
        place = self._written(tuple(each for each in problem["loc"] if each != "[key]" and each not in kinds))
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            return f"{self.name(place)}: there is no such key"
        if kind == "value_error":
            return f"{self.name(place)}: {context['error']}"
        phrase = AMOUNT if kind.startswith(("decimal", "finite")) else PHRASES.get(kind, FOREIGN)
        return f"{self.name(place)} {phrase.format(**context)}"

    def _written(self, place: Place) -> Place:
        """*place*, or with one key less, where what is common to several tables was written once above them."""
        shorter = [place[:n] + place[n + 1 :] for n in range(2, len(place) - 1)]
        return max([place, *shorter], key=lambda each: self.line(each)[1])


def _keys(dotted: str) -> Place:
    return tuple(each.strip("\"'") for each in KEY.findall(dotted))


def _dotted(place: Place) -> str:
    return ".".join(str(each + 1) if isinstance(each, int) else each for each in place)


class Sources:
    """Sections of values from several files and the environment; later ones override earlier ones."""

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
                known = f"write [{section}] above its settings" if section in self._fields else "there is none such"
                raise BadSettings(f"{file.name((section,))} is not a section: {known}, for example [web]")
            self.values.setdefault(section, {}).update({key: tidy(value) for key, value in values.items()})

    def _read_variable(self, name: str, value: str) -> None:
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not separator or section not in self._fields:
            raise BadSettings(f"{name}: there is no such setting{self._meant(name)}")
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

    def _meant(self, name: str) -> str:
        """What a misspelt variable was probably meant to be."""
        known = [variable(section, key) for section, keys in self._fields.items() for key in keys]
        found = get_close_matches(name, known, n=1, cutoff=0.8)
        return f"; did you mean {found[0]}?" if found else ""

    def name(self, place: Place) -> str:
        """How the value at *place* was named by whoever wrote it."""
        entry = f" (entry {place[2] + 1})" if len(place) > 2 and isinstance(place[2], int) else ""
        if place[:2] in self._variables:
            return self._variables[place[:2]] + entry
        file = next((each for each in reversed(self._files) if _has(each.table, place[:2])), self._files[-1])
        return file.name(place[:2]) + entry

    def sentence(self, wrong: ValidationError) -> str:
        """The first thing that is wrong, by its name, with the form that works; no value is quoted."""
        problem = wrong.errors(include_input=False, include_url=False)[0]
        section, key = (*problem["loc"], "")[:2]
        name, is_variable = self.name(problem["loc"]), (section, key) in self._variables
        field = self._fields.get(str(section), {}).get(str(key))
        if field is None:
            known = [variable(str(section), each) for each in self._fields.get(str(section), ())]
            return f"{name}: there is no such setting{self._meant(name) if is_variable else _near(str(key), known)}"
        if problem["type"] == "missing":
            return f"{self._files[-1].path}: {section}.{key} is missing, for example {_example(field, key=str(key))}"
        must = f"must be {field.description}"
        if is_variable:
            must = must.replace("must be a list", "must be a JSON list")
        said = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else must
        example = f", for example {_example(field, variable=is_variable, key=str(key))}"
        return f"{name} {said}{'' if 'for example' in said else example}"


def variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key}".upper()


def _near(key: str, known: Collection[str]) -> str:
    keys = [each.partition("__")[2].lower() for each in known]
    found = get_close_matches(key, keys, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _fields(section: FieldInfo) -> Mapping[str, FieldInfo]:
    model = section.annotation
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _example(field: FieldInfo, *, variable: bool = False, key: str = "") -> str:
    """A value that works, as it is written in the environment, or in a file after *key*."""
    value = (field.examples or [""])[0]
    if variable:
        return value if isinstance(value, str) else json.dumps(value)
    return f"{key} = {json.dumps(value)}"


def _has(table: Mapping[str, Any], place: Place) -> bool:
    section = table.get(str(place[0]))
    return isinstance(section, dict) and (len(place) < 2 or place[1] in section)
