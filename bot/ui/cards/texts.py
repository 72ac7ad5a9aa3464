"""Turns keys and values into sentences people read, in their language.

The sentences are in `bot/config/locales`, one TOML file a language; English is complete by definition
and stands in for anything that another language cannot say.
"""

import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ENGLISH = "en"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LAST_RESORT = "Something happened that has no words yet. Please tell the people who run this bot."
ONE_UNTIL = {"fr": 2}  # French counts nothing as singular too
KILO = 1024


class Words:
    """One language. *strict* raises `KeyError` for what production would paper over."""

    def __init__(
        self, locale: str, own: Mapping[str, str], *, english: Mapping[str, str], strict: bool = False
    ) -> None:
        self.locale = locale
        self._own = own
        self._english = english
        self._strict = strict

    def say(self, key: str, **values: object) -> str:
        """The sentence for *key*; one with forms `.one` and `.other` chooses by the value named *count*."""
        sentence = self._sentence(key, values.get("count"))
        return PLACEHOLDER.sub(lambda found: self._value(key, found[1], values), sentence)

    def knows(self, key: str) -> bool:
        return key in self._english or f"{key}.other" in self._english

    def money(self, micro_usd: int, *, about: bool = False) -> str:
        """Dollars, to the cent at least and as exact as the amount is; *about* marks an estimate."""
        dollars = f"{Decimal(abs(micro_usd)) / 1_000_000:.6f}"
        whole, _, rest = dollars.partition(".")
        amount = whole + self.say("format.decimal") + rest.rstrip("0").ljust(2, "0")
        money = self.say("format.money", amount=amount)
        signed = f"-{money}" if micro_usd < 0 else money
        return self.say("format.about", amount=signed) if about else signed

    def size(self, number: int) -> str:
        """A size in bytes, in the unit that people read."""
        if number < KILO * KILO:
            return self.say("format.kilobytes", number=max(1, round(number / KILO)))
        return self.say("format.megabytes", number=round(number / KILO / KILO))

    def either(self, choices: Sequence[str]) -> str:
        """`a, b or c`; a word of its own for an empty list."""
        if not choices:
            return self.say("format.none")
        if len(choices) == 1:
            return choices[0]
        return self.say("format.either", others=", ".join(choices[:-1]), last=choices[-1])

    def _sentence(self, key: str, count: object) -> str:
        for each in (key, f"{key}.{self._form(count)}"):
            for sentences in (self._own, self._english):
                if each in sentences:
                    return sentences[each]
        if self._strict:
            raise KeyError(key)
        log.error("There is no sentence for a key", extra={"event": "text_missing", "key": key})
        return self._english.get("error.wordless", LAST_RESORT)

    def _form(self, count: object) -> str:
        singular = isinstance(count, int) and (count == 1 or 0 <= count < ONE_UNTIL.get(self.locale, 0))
        return "one" if singular else "other"

    def _value(self, key: str, name: str, values: Mapping[str, object]) -> str:
        if name in values:
            return str(values[name])
        if self._strict:
            raise KeyError(f"{key}: {name}")
        log.error("A sentence lacks a value", extra={"event": "text_value_missing", "key": key, "value": name})
        return "?"


class Texts:
    def __init__(self, locales: Mapping[str, Mapping[str, str]], *, strict: bool = False) -> None:
        english = locales[ENGLISH]
        self._words = {
            locale: Words(locale, own, english=english, strict=strict) for locale, own in locales.items()
        }  # fmt: skip

    @property
    def locales(self) -> Sequence[str]:
        return tuple(self._words)

    def for_locale(self, code: str) -> Words:
        """The language for one of Discord's codes, such as `de`, `en-GB` or `es-419`; English for unknown ones."""
        language = code.partition("-")[0]
        return self._words.get(code) or self._words.get(language) or self._words[ENGLISH]


def relative(at: int) -> str:
    """A moment (UTC milliseconds) that Discord shows as *in 5 minutes* and keeps up to date by itself."""
    return f"<t:{at // 1000}:R>"


def moment(at: int) -> str:
    """A day and a time that Discord shows by everybody's own clock."""
    return f"<t:{at // 1000}:f>"


def load(folder: Path, *, strict: bool = False) -> Texts:
    """Every language in *folder*; `ValueError` with one line unless each says exactly what English says."""
    locales = {path.stem: _read(path) for path in sorted(folder.glob("*.toml"))}
    if ENGLISH not in locales:
        raise ValueError(f"{folder}: en.toml is missing")
    for locale, own in locales.items():
        _compare(locale, own, locales[ENGLISH])
    return Texts(locales, strict=strict)


def _read(path: Path) -> Mapping[str, str]:
    try:
        return dict(_flat(tomllib.loads(path.read_text(encoding="utf-8")), path=path))
    except OSError as exc:
        raise ValueError(f"{path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} is not valid TOML: {exc}") from exc


def _flat(table: Mapping[str, Any], *, path: Path, above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            yield from _flat(value, path=path, above=f"{key}.")
        elif isinstance(value, str) and value.strip():
            yield key, value
        else:
            raise ValueError(f"{path.name}: {key} is not a sentence")


def _compare(locale: str, own: Mapping[str, str], english: Mapping[str, str]) -> None:
    for key in english.keys() - own.keys():
        raise ValueError(f"{locale}.toml: {key} is missing")
    for key in own.keys() - english.keys():
        raise ValueError(f"{locale}.toml: {key} is not in en.toml")
    for key, sentence in english.items():
        wanted, found = set(PLACEHOLDER.findall(sentence)), set(PLACEHOLDER.findall(own[key]))
        if wanted != found:
            names = ", ".join(sorted(wanted ^ found))
            raise ValueError(f"{locale}.toml: {key} differs from en.toml in the values {names}")
