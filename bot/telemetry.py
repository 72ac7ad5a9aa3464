"""How Darkroom logs: one sentence with stable keys, and never a secret. It knows nothing of jobs."""

import logging
import re
import sys
import unicodedata
from collections.abc import Iterable

KEYS = (
    "event", "job_id", "run_id", "state", "reason", "picture", "way", "seconds", "reference", "key", "status",
)  # fmt: skip
SHAPES = (
    # Interaction tokens stand in webhook addresses; file links carry their signature in the query.
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/\s]{20,}"), r"\1…"),
    (re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]+"), r"\1?…"),
    (re.compile(r"(/callbacks/\w+/)[\w.]{20,}"), r"\1…"),
    (re.compile(r"(postgres(?:ql)?://[^\s:@/]*:)[^\s@]+@"), r"\1…@"),
    (re.compile(r"(https?://[^\s:@/?]*:)[^\s@/?]+@"), r"\1…@"),
    (re.compile(r"(?i)(bearer |bot )[\w.\-]{12,}"), r"\1…"),
)

# Controls and escapes, bidi and other invisible marks, lone surrogates, and the line ends that are not "\n".
UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = frozenset("\u200c\u200d")  # many scripts and emoji need them; they move nothing on a line


def printable(text: str) -> str:
    """*text* on one line, unable to steer a terminal: what `UNPRINTABLE` names becomes its Python escape.

    Idempotent; letters of all scripts stay as they are.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in UNPRINTABLE or char in JOINERS:
        return char
    return char.encode("unicode_escape").decode()


class Redactor(logging.Filter):
    """Removes secrets from records by value, and by shape where the value is not known."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = [each for each in secrets if len(each) >= 8]

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        for shape, instead in SHAPES:
            text = shape.sub(instead, text)
        return text


class Lines(logging.Formatter):
    """`2026-11-21T12:00:00+0000 WARNING bot.steps: sentence event=… job_id=…`."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = " ".join(f"{key}={getattr(record, key)}" for key in KEYS if getattr(record, key, None) is not None)
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = f"{stamp} {record.levelname} {record.name}: {record.getMessage()}"
        line = f"{line}  {pairs}" if pairs else line
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def without_traceback(record: logging.LogRecord) -> bool:
    """discord.py logs each broken connection as an error with its traceback and then mends it by itself."""
    if record.exc_info and record.getMessage().startswith("Attempting a reconnect"):
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def is_no_babble(record: logging.LogRecord) -> bool:
    """What is no HTTP reaches every open port; aiohttp would log each with a traceback and what it said."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__module__ != "aiohttp.http_exceptions"


def setup(level: str, *, secrets: Iterable[str]) -> None:
    """Log to standard error. discord.py, httpx and aiohttp would print tokens and signed links below these levels."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    handler.addFilter(Redactor(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("discord.client").addFilter(without_traceback)
    logging.getLogger("aiohttp.server").addFilter(is_no_babble)
    for noisy in ("httpx", "httpcore", "aiohttp.access", "aiosqlite", "discord.ui.view"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
