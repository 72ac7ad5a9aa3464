"""Logging: one line per record with stable keys, secrets redacted, control characters escaped."""

import logging
import re
import sys
import unicodedata
from collections.abc import Iterable

KEYS = (
    "event", "job_id", "run_id", "state", "reason", "picture", "way", "seconds", "reference", "key", "status", "jobs",
)  # fmt: skip
QUOTE_LENGTH = 12  # letters and digits in a row that count as a quotation
MIN_QUOTE = 4  # shorter texts are not removed
INDENT = "    "  # of tracebacks: only a record starts in the first column
USERINFO = re.compile(r"(?<!postgres)(?<!postgresql)(://)[^\s/?#\"'<>]+@")  # of any URL except a database's
PATTERNS = (
    # Webhook URLs contain interaction tokens; links to files contain a signature in the query.
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/\s]{20,}"), r"\1…"),
    (re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]+"), r"\1?…"),
    (re.compile(r"(/callbacks/\w+/)[\w.]{20,}"), r"\1…"),
    (re.compile(r"(postgres(?:ql)?://[^\s:@/]*:)\S+@"), r"\1…@"),  # the user name stays readable
    (USERINFO, r"\1…@"),
    (re.compile(r"(?i)(bearer |bot )[\w.\-]{12,}"), r"\1…"),
    # pydantic, asyncpg and PostgreSQL quote their input, which may be rows with prompts.
    (re.compile(r"(input_value=).*(, input_type=)"), r"\1…\2"),
    (re.compile(r"(invalid input for query argument \$\d+: ).*"), r"\1…"),
    (re.compile(r"(DETAIL: +).*?(?=\nHINT: |\n\nThe above exception |\n\nDuring handling |\Z)", re.DOTALL), r"\1…"),
)

# Control and format characters (escapes, bidi marks), lone surrogates, and line separators other than "\n".
UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = frozenset("\u200c\u200d")  # needed by many scripts and emoji, and harmless


def printable(text: str) -> str:
    """Return *text* on one line, with characters of the categories `UNPRINTABLE` as Python escapes.

    Idempotent; letters of all scripts are unchanged.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in UNPRINTABLE or char in JOINERS:
        return char
    return char.encode("unicode_escape").decode()


def without_quotes(text: str, words: str) -> str:
    """Return *text* with quotations of *words* replaced by ellipses, ignoring case, spacing and punctuation."""
    letters = [(at, each) for at, char in enumerate(text) for each in char.casefold() if each.isalnum()]
    text_letters = "".join(each for _, each in letters)
    word_letters = "".join(filter(str.isalnum, words.casefold()))
    size = min(QUOTE_LENGTH, len(word_letters))
    if size < MIN_QUOTE:
        return text
    quotes = {word_letters[at : at + size] for at in range(len(word_letters) - size + 1)}
    shown = list(text)
    for start in range(len(text_letters) - size + 1):
        if text_letters[start : start + size] in quotes:
            first, last = letters[start][0], letters[start + size - 1][0]
            shown[first : last + 1] = ["…"] + [""] * (last - first)
    return re.sub("…+", "…", "".join(shown))


class Redactor(logging.Filter):
    """Removes known secrets from records by value, and others by their pattern."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = [each for each in secrets if len(each) >= 8]

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        for key in KEYS:
            if (value := getattr(record, key, None)) is not None:
                setattr(record, key, self.clean(str(value)))
        return True

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text


class LineFormatter(logging.Formatter):
    """`2026-11-21T12:00:00+0000 WARNING bot.steps: sentence event=… job_id=…`, and a traceback indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        values = {key: getattr(record, key, None) for key in KEYS}
        pairs = " ".join(f"{key}={_field(value)}" for key, value in values.items() if value is not None)
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = f"{stamp} {record.levelname} {record.name}: {printable(record.getMessage())}"
        line = f"{line}  {pairs}" if pairs else line
        below = record.exc_text.split("\n") if record.exc_text else []
        return "\n".join([line, *(INDENT + printable(each) for each in below)])


def _field(value: object) -> str:
    text = printable(str(value))
    return f'"{text}"' if re.search(r"[\s=]", text) else text


def without_traceback(record: logging.LogRecord) -> bool:
    """Reduce discord.py's error and traceback for a lost connection to a warning: it reconnects by itself."""
    if record.exc_info and record.getMessage().startswith("Attempting a reconnect"):
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def is_relevant(record: logging.LogRecord) -> bool:
    """Drop aiohttp's tracebacks for malformed HTTP, which every open port receives; they quote the request."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__module__ != "aiohttp.http_exceptions"


def setup(level: str, *, secrets: Iterable[str]) -> None:
    """Log to standard error. Below these levels, discord.py, httpx and aiohttp print tokens and signed links."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    handler.addFilter(Redactor(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("discord.client").addFilter(without_traceback)
    logging.getLogger("aiohttp.server").addFilter(is_relevant)
    for noisy in ("httpx", "httpcore", "aiohttp.access", "aiosqlite", "discord.ui.view"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
