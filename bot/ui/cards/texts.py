"""Localized texts: keys and values to sentences.

The texts are in `bot/config/locales`, one TOML file for each language. English is the fallback for missing keys. A
table with the key `other` has the plural forms of one text, named as in Unicode's CLDR.
"""

import logging
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from babel import Locale
from babel.dates import format_skeleton

log = logging.getLogger(__name__)

ENGLISH = "en"
COMMAND = re.compile(r"`/(?P<path>(?P<name>[a-z_]+)(?: [a-z_]+)*)`")
UNFORMATTED = ("command.", "form.", "button.")  # Discord shows no mentions in names, descriptions and labels
PLACEHOLDER = re.compile(r"\{(\w+)\}")
FALLBACK = "Something happened that has no words yet. Please tell the people who run this bot."
PLURAL = "other"  # the form that every language has
ENGLISH_PLURAL: Callable[[int], str] = Locale.parse(ENGLISH).plural_form
COUNTED = range(200)  # numbers whose forms a language must have; those of millions may be missing
KILO = 1024


class Words:
    """The texts of one language. *strict*: raise `KeyError` for a missing key or value instead of logging it."""

    def __init__(
        self,
        locale: str,
        own: Mapping[str, str],
        *,
        english: Mapping[str, str],
        strict: bool = False,
        commands: Mapping[str, int] | None = None,
    ) -> None:
        self.locale = locale
        self._babel = Locale.parse(locale, sep="-")
        self._own = own
        self._english = english
        self._strict = strict
        self._commands = commands if commands is not None else {}

    def say(self, key: str, **values: object) -> str:
        """The text for *key* with *values* filled in; *count* selects one of its plural forms."""
        sentence = self._sentence(key, values.get("count"))
        if "`/" in sentence and not key.startswith(UNFORMATTED):
            sentence = COMMAND.sub(self._command, sentence)
        return PLACEHOLDER.sub(lambda found: self._value(key, found[1], values), sentence)

    def _command(self, found: re.Match[str]) -> str:
        """A command's name as a mention that opens it, once Discord's id of it is known."""
        command_id = self._commands.get(found["name"])
        return found[0] if command_id is None else f"</{found['path']}:{command_id}>"

    def knows(self, key: str) -> bool:
        """Whether there is a text for *key*."""
        return key in self._english or f"{key}.{PLURAL}" in self._english

    def money(self, micro_usd: int, *, about: bool = False) -> str:
        """An amount in dollars with at least two decimals, exact; *about* marks it as an estimate."""
        dollars = f"{Decimal(abs(micro_usd)) / 1_000_000:.6f}"
        whole, _, rest = dollars.partition(".")
        amount = whole + self.say("format.decimal") + rest.rstrip("0").ljust(2, "0")
        money = self.say("format.money", amount=amount)
        signed = f"-{money}" if micro_usd < 0 else money
        return self.say("format.about", amount=signed) if about else signed

    def size(self, number: int) -> str:
        """A number of bytes in kB or MB, rounded."""
        if number < KILO * KILO:
            return self.say("format.kilobytes", number=max(1, round(number / KILO)))
        return self.say("format.megabytes", number=round(number / KILO / KILO))

    def either(self, choices: Sequence[str]) -> str:
        """`a, b or c`; the text `format.none` for an empty list."""
        if not choices:
            return self.say("format.none")
        if len(choices) == 1:
            return choices[0]
        return self.say("format.either", others=", ".join(choices[:-1]), last=choices[-1])

    def day(self, day: date) -> str:
        """A day without its year, such as `Nov 21`."""
        return format_skeleton("MMMd", day, locale=self._babel)

    def _sentence(self, key: str, count: object) -> str:
        for sentences, rule in ((self._own, self._babel.plural_form), (self._english, ENGLISH_PLURAL)):
            form = rule(count) if isinstance(count, int) else PLURAL
            for each in (key, f"{key}.{form}", f"{key}.{PLURAL}"):
                if each in sentences:
                    return sentences[each]
        if self._strict:
            raise KeyError(key)
        log.error("There is no sentence for a key", extra={"event": "text_missing", "key": key})
        return self._english.get("error.wordless", FALLBACK)

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
        self._commands: dict[str, int] = {}
        self._words = {
            locale: Words(locale, own, english=english, strict=strict, commands=self._commands)
            for locale, own in locales.items()
        }

    @property
    def locales(self) -> Sequence[str]:
        return tuple(self._words)

    def set_commands(self, ids: Mapping[str, int]) -> None:
        """Set Discord's ids of the slash commands by name, so that texts mention them."""
        self._commands.clear()
        self._commands.update(ids)

    def for_locale(self, code: str) -> Words:
        """The texts for a Discord locale, such as `de`, `en-GB` or `es-419`; English for unknown ones."""
        language = code.partition("-")[0]
        return self._words.get(code) or self._words.get(language) or self._words[ENGLISH]


def relative(at: int) -> str:
    """Markup for a time in UTC milliseconds, which Discord shows as *in 5 minutes* and keeps up to date."""
    return f"<t:{at // 1000}:R>"


def moment(at: int) -> str:
    """Markup for a time in UTC milliseconds, which Discord shows as date and time in the reader's time zone."""
    return f"<t:{at // 1000}:f>"


def discord_url(address: str) -> str:
    """The URL of a message or a channel; *address* as of `message_address`, or its beginning."""
    return f"https://discord.com/channels/{address}"


def load(folder: Path, *, strict: bool = False) -> Texts:
    """The texts in every `*.toml` of *folder*; raises as `read_locales`."""
    return Texts(read_locales(folder), strict=strict)


def read_locales(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Read every `*.toml` in *folder*, by language; `ValueError` with one line if a file is invalid.

    Every language must have the same keys and placeholders as English.
    """
    locales = {path.stem: _read(path) for path in sorted(folder.glob("*.toml"))}
    if ENGLISH not in locales:
        raise ValueError(f"{folder}: en.toml is missing")
    for locale, own in locales.items():
        _compare(locale, own, locales[ENGLISH])
    return locales


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
    rule: Callable[[int], str] = Locale.parse(locale, sep="-").plural_form
    numbers: dict[str, set[int]] = {PLURAL: set()}  # form → numbers that have it
    for n in COUNTED:
        numbers.setdefault(rule(n), set()).add(n)
    plurals = {key.removesuffix(f".{PLURAL}") for key in english if key.endswith(f".{PLURAL}")}
    wanted = {key: key for key in english if key.rpartition(".")[0] not in plurals}  # key → English key
    wanted |= {f"{key}.{form}": f"{key}.{PLURAL}" for key in plurals for form in numbers}
    for key in wanted.keys() - own.keys():
        raise ValueError(f"{locale}.toml: {key} is missing")
    for key in own.keys() - wanted.keys():
        raise ValueError(f"{locale}.toml: {key} is not in en.toml")
    for key, english_key in wanted.items():
        different = set(PLACEHOLDER.findall(english[english_key])) ^ set(PLACEHOLDER.findall(own[key]))
        if key != english_key and numbers[key.rpartition(".")[2]] <= {0, 1}:  # "one picture" needs no number
            different.discard("count")
        if different:
            names = ", ".join(sorted(different))
            raise ValueError(f"{locale}.toml: {key} differs from en.toml in the values {names}")
