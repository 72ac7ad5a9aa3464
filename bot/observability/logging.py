"""How Darkroom logs: one sentence with stable keys, and never a secret. It knows nothing of jobs."""

import logging
import re
import sys
import unicodedata
from collections.abc import Iterable

KEYS = (
    "event", "job_id", "run_id", "state", "reason", "picture", "way", "seconds", "reference", "key", "status",
)  # fmt: skip
PIECE = 12  # letters and digits in a row that may not be quoted
LEAST = 4  # fewer are no quotation
INDENT = "    "  # of tracebacks: only a record begins at the beginning of a line
USERINFO = re.compile(r"(?<!postgres)(?<!postgresql)(://)[^\s/?#\"'<>]+@")  # of any address but a database's
SHAPES = (
    # Interaction tokens stand in webhook addresses; file links carry their signature in the query.
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/\s]{20,}"), r"\1…"),
    (re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]+"), r"\1?…"),
    (re.compile(r"(/callbacks/\w+/)[\w.]{20,}"), r"\1…"),
    (re.compile(r"(postgres(?:ql)?://[^\s:@/]*:)\S+@"), r"\1…@"),  # who it is for stays to be seen
    (USERINFO, r"\1…@"),
    (re.compile(r"(?i)(bearer |bot )[\w.\-]{12,}"), r"\1…"),
    # pydantic, asyncpg and PostgreSQL quote what they were given: rows with prompts in them.
    (re.compile(r"(input_value=).*(, input_type=)"), r"\1…\2"),
    (re.compile(r"(invalid input for query argument \$\d+: ).*"), r"\1…"),
    (re.compile(r"(DETAIL: +).*?(?=\nHINT: |\n\nThe above exception |\n\nDuring handling |\Z)", re.DOTALL), r"\1…"),
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


def without_quotes(text: str, words: str) -> str:
    """*text* without the longer pieces of *words*, in whatever case, spacing and punctuation they are quoted."""
    letters = [(at, each) for at, char in enumerate(text) for each in char.casefold() if each.isalnum()]
    heard = "".join(each for _, each in letters)
    said = "".join(filter(str.isalnum, words.casefold()))
    size = min(PIECE, len(said))
    if size < LEAST:
        return text
    pieces = {said[at : at + size] for at in range(len(said) - size + 1)}
    shown = list(text)
    for start in range(len(heard) - size + 1):
        if heard[start : start + size] in pieces:
            first, last = letters[start][0], letters[start + size - 1][0]
            shown[first : last + 1] = ["…"] + [""] * (last - first)
    return re.sub("…+", "…", "".join(shown))


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
        for key in KEYS:
            if (value := getattr(record, key, None)) is not None:
                setattr(record, key, self.clean(str(value)))
        return True

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        for shape, instead in SHAPES:
            text = shape.sub(instead, text)
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
    """discord.py logs each broken connection as an error with its traceback and then mends it by itself."""
    if record.exc_info and record.getMessage().startswith("Attempting a reconnect"):
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def is_relevant(record: logging.LogRecord) -> bool:
    """What is no HTTP reaches every open port; aiohttp would log each with a traceback and what it said."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__module__ != "aiohttp.http_exceptions"


def setup(level: str, *, secrets: Iterable[str]) -> None:
    """Log to standard error. discord.py, httpx and aiohttp would print tokens and signed links below these levels."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    handler.addFilter(Redactor(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("discord.client").addFilter(without_traceback)
    logging.getLogger("aiohttp.server").addFilter(is_relevant)
    for noisy in ("httpx", "httpcore", "aiohttp.access", "aiosqlite", "discord.ui.view"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
