"""Prompts quoted anywhere in a provider's answers are in no log line at INFO."""

import asyncio
import html
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.jobs import Verb
from bot.core.request_draft import RequestDraft
from bot.observability.logging import LineFormatter, Redactor
from bot.providers.http import client
from bot.providers.runcomfy.client import RunComfy
from bot.providers.runflow.client import Runflow
from tests.kit import rig
from tests.providers.raw_server import answer, serving

WAYS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "escaped": json.dumps,
    "as Python": repr,
    "for HTML": html.escape,
    "for an address": quote,
    "in a link": lambda prompt: f"see https://host.example/{prompt}?q={prompt}",
    "in capitals": str.upper,
    "on one line": lambda prompt: " ".join(prompt.split()),
    "in lines": lambda prompt: prompt.replace(" ", "\n"),
    "cut": lambda prompt: f"{prompt[: len(prompt) * 2 // 3]}...",
    "late": lambda prompt: f"{'x' * 280}: {prompt} was refused",
    "as one name": lambda prompt: "_".join(filter(str.isalnum, prompt.split())),
}
FIELDS = (
    "error", "error_code", "error_message", "message", "code", "failure_code", "failure_message", "failure_stage_code",
    "detail", "errors", "output", "status", "status_code",
)  # fmt: skip
SHAPES: tuple[Callable[[str], object], ...] = (
    str,
    lambda quoted: {"code": quoted, "message": quoted, "type": quoted},
    lambda quoted: [
        {"loc": ["input", quoted], "msg": quoted, "type": quoted, "input": quoted, "ctx": {quoted: quoted}}
    ],
    lambda quoted: {quoted: {quoted: [quoted]}},
)
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "M")), min_size=1, max_size=12)
prompts = st.lists(words | st.sampled_from(["fox", "castle", "SNOW"]), min_size=4, max_size=60).map(" ".join)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that is logged at INFO and above, as it is written."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    handler.addFilter(Redactor([]))
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


async def live(folder: Path, prompt: str, *, host: str, status: int, body: object, takes: bool) -> None:
    """A job of *prompt* at a provider that answers everything with *body*; if it *takes* submits, everything else."""
    taken = {"request_id": "run-1", "id": "run-1", "status_code": "queued"}

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if takes and server.got[-1].method == "POST":
            await answer(200, json.dumps(taken).encode())(reader, writer)
        else:
            await answer(status, json.dumps(body).encode())(reader, writer)

    async with serving(act) as server:
        http = client(server.url, "rf_live_key")
        provider = RunComfy(http) if host == "runcomfy" else Runflow(http)
        async with rig(folder, host=host, real={host: provider}) as app:
            card = await app.services.requests.accept(app.context(), RequestDraft(verb=Verb.IMAGINE, prompt=prompt))
            await app.services.requests.acknowledged(card.job.id, message_id=7, ephemeral=False)
            await app.turn(40, times=5)
        await provider.aclose()


@settings(max_examples=20, deadline=None)
@given(
    prompt=prompts.filter(lambda text: len(text) >= 20),
    path=st.sampled_from(sorted(WAYS)),
    shape=st.sampled_from(range(len(SHAPES))),
    fields=st.sets(st.sampled_from(FIELDS), min_size=1),
    host=st.sampled_from(["runcomfy", "runflow"]),
    status=st.sampled_from([200, 200, 422, 400, 500]),
    takes=st.booleans(),
)
def test_no_log_line_has_twenty_characters_of_a_prompt(
    *, prompt: str, path: str, shape: int, fields: set[str], host: str, status: int, takes: bool
) -> None:
    quoted = SHAPES[shape](WAYS[path](prompt))
    body = {"status": "failed", "status_code": "failed"} | dict.fromkeys(fields, quoted)
    with logged() as log, TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), prompt, host=host, status=status, body=body, takes=takes))

    assert "event=" in log.getvalue()
    pieces = {prompt[at : at + 20] for at in range(len(prompt) - 19)}
    assert [each for each in pieces if each in log.getvalue()] == []
