"""Runflow's callbacks: which are authentic, and that only the run's id is used."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from bot.providers.runflow.client import BadCallback, read_callback
from tests.providers.test_runflow import JOB, RUN

SECRET, OLDER = "whsec_2f6c8f0a1b2c", "whsec_before"
PAYLOAD = {
    "event": "run.completed",
    "run_id": RUN,
    "status": "succeeded",
    "output": {"image_urls": ["http://169.254.169.254/latest"]},
    "duration_ms": 18000,
    "created_at": "2026-11-20T10:00:00+00:00",
    "completed_at": "2026-11-20T10:00:18+00:00",
    "metadata": {"job_id": JOB},
}
BODY = json.dumps(PAYLOAD).encode()


def signature(body: bytes = BODY, *, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(body: bytes = BODY, *, secret: str = SECRET) -> dict[str, str]:
    return {"Content-Type": "application/json", "Runflow-Signature": signature(body, secret=secret)}


def problem(headers: Mapping[str, str], body: bytes = BODY, *, secrets: tuple[str, ...] = (SECRET,)) -> str:
    with pytest.raises(BadCallback) as caught:
        read_callback(headers, body, secrets=secrets)
    return caught.value.problem


def payload(**changes: Any) -> bytes:
    return json.dumps({**PAYLOAD, **changes}).encode()


@pytest.mark.parametrize("event", ["run.completed", "run.failed", "run.cancelled", "run.partial_succeeded"])
@pytest.mark.parametrize("output", [None, {"code": "PROVIDER_ERROR"}, {"outputs": []}])
def test_a_signed_callback_names_its_run(event: str, output: object) -> None:
    body = payload(event=event, output=output, metadata=None)
    assert read_callback(signed(body), body, secrets=[SECRET]) == RUN


def test_a_header_is_found_in_any_case() -> None:
    assert read_callback({"runflow-signature": signature()}, BODY, secrets=[SECRET]) == RUN
    assert read_callback(CIMultiDict({"RUNFLOW-SIGNATURE": signature()}), BODY, secrets=[SECRET]) == RUN


@pytest.mark.parametrize("secret", [SECRET, OLDER])
def test_two_secrets_are_valid_during_a_rotation(secret: str) -> None:
    assert read_callback(signed(secret=secret), BODY, secrets=[SECRET, OLDER]) == RUN


@pytest.mark.parametrize("secret", ["whsec_other", SECRET.removeprefix("whsec_"), SECRET + " ", ""])
def test_no_other_secret_is_valid(secret: str) -> None:
    assert problem(signed(secret=secret), secrets=(SECRET, OLDER)) == "signature"


@pytest.mark.parametrize("secrets", [(), ("",), ("", "")])
def test_without_a_secret_no_callback_is_valid(secrets: tuple[str, ...]) -> None:
    assert problem(signed(secret=""), secrets=secrets) == "signature"
    assert problem({}, secrets=secrets) == "unsigned"


def test_a_callback_without_a_signature_is_unsigned() -> None:
    assert problem({"Content-Type": "application/json", "Runflow-Request-Id": "req_1"}) == "unsigned"


@pytest.mark.parametrize(
    "header",
    [
        "",
        signature().upper(),
        signature()[:-1],
        signature() + "0",
        signature() + "\n",
        " " + signature(),
        "sha256=" + signature(),
        f"{signature()}, {signature()}",
        "é" * 64,
        "\udcff" * 64,
        "\u0660" * 64,
        "g" * 64,
        "0" * 64,
    ],
)
def test_a_malformed_signature_counts_as_missing(header: str) -> None:
    assert problem({"Runflow-Signature": header}) == "signature"


def test_two_signatures_are_rejected() -> None:
    headers = CIMultiDict([("Runflow-Signature", signature()), ("Runflow-Signature", signature())])
    assert problem(headers) == "signature"


def test_every_bit_of_the_body_is_signed() -> None:
    for place in range(len(BODY)):
        flipped = bytearray(BODY)
        flipped[place] ^= 1
        assert problem(signed(), bytes(flipped)) == "signature"


def test_every_digit_of_the_signature_is_checked() -> None:
    good = signature()
    for place, digit in enumerate(good):
        other = "0" if digit != "0" else "1"
        assert problem({"Runflow-Signature": good[:place] + other + good[place + 1 :]}) == "signature"


def test_the_same_json_serialised_differently_is_rejected() -> None:
    assert problem(signed(), json.dumps(PAYLOAD, separators=(",", ":")).encode()) == "signature"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"run.completed"', "body"),
        (b"{" * 20_000, "body"),
        (b"[" * 20_000, "body"),
        (b'{"event": "run.completed", "run_id": "\xff"}', "body"),
        (BODY[:-1], "body"),
        (payload(run_id=None), "body"),
        (payload(run_id=7), "body"),
        (payload(run_id=""), "body"),
        (payload(run_id="r" * 65), "body"),
        (payload(run_id="../v1/billing"), "body"),
        (payload(run_id=RUN + "\n"), "body"),
        (payload(event=None), "body"),
        (payload(event=["run.completed"]), "body"),
        (payload(event="run.started"), "event"),
        (payload(event="RUN.COMPLETED"), "event"),
        (b'{"event": "batch.completed", "batch_id": "b1"}', "event"),
        (b'{"event": "run.completed", "batch_id": "b1"}', "body"),
    ],
)
def test_a_signed_callback_without_a_run_is_rejected(body: bytes, word: str) -> None:
    assert problem(signed(body), body) == word


def test_the_longest_id_is_accepted() -> None:
    body = payload(run_id="r" * 64)
    assert read_callback(signed(body), body, secrets=[SECRET]) == "r" * 64
