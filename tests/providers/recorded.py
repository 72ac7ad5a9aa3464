"""Recorded answers of providers by case: as values, and over the wire."""

import json
from pathlib import Path
from typing import Any

import httpx

from bot.providers.http import Answer
from tests.providers.raw_server import Act, answer

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = 1_795_219_200_000  # 2026-11-21 00:00:00 UTC


def recorded(host: str, case: str) -> Answer:
    found: dict[str, Any] = json.loads((SAMPLES / host / f"{case}.json").read_text(encoding="utf-8"))
    body = found["text"] if "text" in found else json.dumps(found["body"])
    return Answer(found["status"], httpx.Headers(found["headers"]), body.encode())


def says(host: str, case: str) -> Act:
    found = recorded(host, case)
    headers = {name.replace("-", "_"): value for name, value in found.headers.items()}
    kind = "text/html" if found.body.startswith(b"<") else "application/json"
    return answer(found.status, found.body, kind=kind, **headers)
