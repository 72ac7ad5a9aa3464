"""Logs: one sentence with stable keys, and never a secret."""

import logging

import pytest

from bot.telemetry import Lines, Redactor, printable

TOKEN = "MTA0.canary-bot-token.abcdef"
WEBHOOK = "https://discord.com/api/v10/webhooks/12345/aW50ZXJhY3Rpb246MTIzNDU2Nzg5MDEy:canary/messages/@original"


def record(message: str, *args: object, **extra: object) -> str:
    made = logging.LogRecord("bot.steps", logging.WARNING, "x.py", 1, message, args, None)
    made.__dict__.update(extra)
    Redactor([TOKEN]).filter(made)
    return Lines().format(made)


def test_a_line_has_a_sentence_and_keys() -> None:
    line = record("A job has ended", event="job_ended", job_id="01ABC", unknown="x")

    assert line.endswith("WARNING bot.steps: A job has ended  event=job_ended job_id=01ABC")


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
    ],
)
def test_secrets_are_taken_out_by_value_and_by_shape(text: str) -> None:
    assert "canary" not in record("%s", text)


def _fail() -> None:
    raise RuntimeError(f"cannot use {TOKEN}")


def test_secrets_are_taken_out_of_tracebacks() -> None:
    with pytest.raises(RuntimeError) as caught:
        _fail()
    exc = caught.value
    made = logging.LogRecord("bot", logging.ERROR, "x.py", 1, "broken", (), (type(exc), exc, exc.__traceback__))
    Redactor([TOKEN]).filter(made)
    line = Lines().format(made)

    assert "RuntimeError" in line
    assert "canary" not in line


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
def test_what_ends_a_line_or_steers_a_terminal_is_shown_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
