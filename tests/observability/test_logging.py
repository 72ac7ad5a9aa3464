"""Logs: one sentence with stable keys, and never a secret."""

import logging
import re
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from bot.observability.logging import LineFormatter, Redactor, printable, without_quotes

TOKEN = "MTA0.canary-bot-token.abcdef"
WEBHOOK = "https://discord.com/api/v10/webhooks/12345/aW50ZXJhY3Rpb246MTIzNDU2Nzg5MDEy:canary/messages/@original"


def record(message: str, *args: object, **extra: object) -> str:
    made = logging.LogRecord("bot.jobs.steps", logging.WARNING, "x.py", 1, message, args, None)
    made.__dict__.update(extra)
    Redactor([TOKEN]).filter(made)
    return LineFormatter().format(made)


def test_a_line_has_a_sentence_and_keys() -> None:
    line = record("A job has ended", event="job_ended", job_id="01ABC", unknown="x")

    assert line.endswith("WARNING bot.jobs.steps: A job has ended  event=job_ended job_id=01ABC")


@pytest.mark.parametrize(
    "text",
    [
        f"bad token {TOKEN}",
        f"PATCH {WEBHOOK}",
        "GET https://cdn.discordapp.com/attachments/1/2/a.png?ex=canary&is=1&hm=2 failed",
        "Authorization: Bearer canary-canary-canary",
        "cannot reach postgresql://ada:canary@db.example/darkroom",
        "no callback_url: https://darkroom.example/callbacks/runflow/01KSCANARY0000000000000000.canary0123456789",
        "POST /interactions/999/aW50ZXJhY3Rpb246canarycanary/callback",
        "GET https://canary:canary@api.example/v1/models: ConnectError",
        "wss://canary@gateway.example and postgres://ada:can/ary@canary@db.example/darkroom",
    ],
)
def test_secrets_are_taken_out_by_value_and_by_shape(text: str) -> None:
    assert "canary" not in record("%s", text)


def _traceback_of(exc: Exception) -> str:
    made = logging.LogRecord("bot", logging.ERROR, "x.py", 1, "broken", (), (type(exc), exc, exc.__traceback__))
    Redactor([TOKEN]).filter(made)
    return LineFormatter().format(made)


def test_secrets_are_taken_out_of_tracebacks() -> None:
    line = _traceback_of(RuntimeError(f"cannot use {TOKEN}"))

    assert "RuntimeError" in line
    assert "canary" not in line


class Strict(BaseModel):
    request: int


def _validate(message: str) -> object:
    return Strict.model_validate({"request": message})


def _parse(message: str) -> object:
    return Strict.model_validate_json(message)


def _raise(message: str) -> object:
    raise ValueError(message)


@pytest.mark.parametrize(
    ("fail", "message", "kept"),
    [
        (_validate, "canary, input_type=canary", "Input should be a valid integer"),
        (_parse, '{"request": canary', "Invalid JSON"),
        (_raise, 'invalid input for query argument $7: \'{"prompt": "canary\' (a str)', "argument $7"),
        (_raise, "no null\nDETAIL:  Failing row (01K, canary\n\ncanary, 7).\nHINT:  Look", "HINT:  Look"),
        (_raise, "no null\nDETAIL:  Failing row (01K, canary\ncanary, 7).", "no null"),
    ],
)
def test_errors_of_libraries_are_logged_without_the_values_they_quote(
    fail: Callable[[str], object], message: str, kept: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(kept)) as caught:
        fail(message)
    line = _traceback_of(caught.value)

    assert kept in line
    assert "canary" not in line


FORGED = "x\n2026-11-21T12:00:00+0000 INFO bot.app: forged\r\x1b[31m\u202e\u2028\x85"


def test_no_logged_value_can_start_a_new_line_or_field() -> None:
    line = record("A host says %s", FORGED, status=f"{FORGED}  event=forged", reason=7)

    assert len(line.splitlines()) == 1
    assert line.endswith(r'forged\r\x1b[31m\u202e\u2028\x85  event=forged"')
    assert r' reason=7 status="x\n2026' in line
    assert line.isprintable()


def test_a_tracebacks_lines_are_indented_and_printable() -> None:
    first, *below = _traceback_of(RuntimeError(FORGED)).split("\n")

    assert first.endswith("ERROR bot: broken")
    assert below[-1].startswith("    2026-11-21T12:00:00+0000 INFO bot.app: forged\\r\\x1b")
    assert all(each.startswith("    ") and each.isprintable() for each in below)


def test_extra_values_go_through_the_redactor() -> None:
    assert "canary" not in record("no", reason=f"bad {TOKEN}", status=WEBHOOK)
    assert "canary" not in record("no", reason=RuntimeError(f"bad {TOKEN}"), status=[WEBHOOK])


@pytest.mark.parametrize(
    "quoted",
    [
        "a fox in the snow, at night",
        "A-FOX-IN-THE-SNOW!",
        "FoxInTheSnow",
        "a%20fox\tin\n the_snow",
        "ﬁne fox in the snow",
    ],
)
def test_pieces_of_a_prompt_are_found_however_they_are_quoted(quoted: str) -> None:
    message = without_quotes(f"HTTP 422, {quoted}: BAD_INPUT", "A ﬁne fox in the snow, at night")

    assert "snow" not in message.lower()
    assert message.startswith("HTTP 422, ")
    assert message.endswith(": BAD_INPUT")


@pytest.mark.parametrize("words", ["", "a", "fox"])
def test_short_words_are_no_quotation(words: str) -> None:
    assert without_quotes("a fox, HTTP 422", words) == "a fox, HTTP 422"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x1b[2J\x9b1A\x07\0\x7f", r"\x1b[2J\x9b1A\x07\x00\x7f"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("\u202eabc\u202c\u2066\u200f\u061c\ufeff", r"\u202eabc\u202c\u2066\u200f\u061c\ufeff"),
        ("lone \ud800", r"lone \ud800"),
        ("Zoë 👨\u200d👩\u200d👧 क्\u200dष a\u00a0b", "Zoë 👨\u200d👩\u200d👧 क्\u200dष a\u00a0b"),
    ],
)
def test_line_ends_and_terminal_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
