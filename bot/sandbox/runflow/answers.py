"""Builds the emulated Runflow's records of runs and bodies of callbacks, changed by faults. Pure.

Source: docs.runflow.io, api-reference/runs/get-run and concepts/{runs,callbacks,errors}.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bot.sandbox.faults import Fault
from bot.sandbox.responses import CRASHED, REFUSED, Answer, FaultedCall
from bot.sandbox.runflow.models import uuid_of
from bot.sandbox.runflow.runs import FlowRun

STATUSES = ("queued", "dispatching", "running", "succeeded", "failed", "canceled", "partial_succeeded")
BILLED = frozenset({"succeeded", "partial_succeeded"})
ENDED = BILLED | {"failed", "canceled"}
BACKWARDS = {"succeeded": "running", "running": "dispatching", "dispatching": "queued"}
EVENTS = {"succeeded": "completed", "canceled": "cancelled"}  # words in callbacks that differ from the record's status
ORG = "0192aa00-5a4d-7000-8000-0000000da12c"
CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    402: "INSUFFICIENT_CREDIT",
    403: "PERMISSION_DENIED",
    404: "RUN_NOT_FOUND",
    409: "CONFLICT",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    503: "MODEL_UNAVAILABLE",
}
Sign = Callable[[str], str]


def problem(status: int, *, code: str | None = None, message: str, errors: Any = None, nested: bool = False) -> Answer:
    body = {"code": code or CODES.get(status, "INTERNAL_ERROR"), "message": message, "errors": errors}
    return Answer(status, {"error": body} if nested else body)


NOT_FOUND = problem(404, message="Run not found.")


def envelope(fault: Fault) -> Answer:
    """Return Runflow's error answer for *fault*."""
    fixed = {"envelope_503": 503, "429": 429, "error_200": 200}
    status = fixed.get(fault.name) or int(fault.word)
    if "body" in fault.params:
        return Answer(status, fault.params["body"])
    errors = [{"field": "input", "message": "not valid"}] if status == 422 else None
    code, nested = fault.params.get("code"), bool(fault.params.get("nested"))
    return problem(status, code=code, message="Something went wrong.", errors=errors, nested=nested)


@dataclass(frozen=True, slots=True)
class Failure:
    code: str | None
    message: str | None
    stage: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run's state, in the words of its record."""

    status: str
    output: Any = None
    failure: Failure | None = None


def outcome(run: FlowRun, met: FaultedCall, *, sign: Sign, broken: str | None) -> Outcome:
    """*broken*: why the run failed without a fault (a reference that could not be downloaded)."""
    status = _progress(run, met)
    if status != "succeeded":
        return Outcome(status)
    if "canceled" in met:
        return Outcome("canceled")
    if failure := _failure(met, broken):
        return Outcome("failed", failure=failure)
    status = "partial_succeeded" if "partial" in met else "succeeded"
    return Outcome(status, None if "no_output" in met else _output(run, met, sign=sign))


def record(run: FlowRun, result: Outcome, met: FaultedCall) -> dict[str, Any]:
    """Return the run's record, the answer to `GET /v1/runs/{id}` and to a submit."""
    ended = result.status in ENDED
    cost = Decimal(billed_micro_usd(run, result, met)) / 1_000_000
    failure = result.failure or Failure(None, None, None)
    record_: dict[str, Any] = {
        "id": run.id,
        "model_id": uuid_of(run.model),
        "target_type": "model",
        "target_version": None,
        "org_id": ORG,
        "status_code": result.status.upper() if "upper_case" in met else result.status,
        "source_code": "api",
        "input": run.inputs,
        "output": result.output,
        "context": None,
        "duration_ms": _duration(run) if ended else None,
        "cost": f"{cost:f}" if ended and "no_cost" not in met else None,
        "cost_breakdown": None,
        "nodes_total": None,
        "nodes_completed": None,
        "batch_id": None,
        "client_ref": run.client_ref,
        "request_id": run.request_id,
        "created_by": None,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at) if ended or result.status == "running" else None,
        "completed_at": iso(run.finished_at) if ended else None,
        "callback_url": run.callback_url,
        "metadata": run.metadata,
        "has_logs": False,
        "has_node_runs": False,
        "links": None,
        "failure_code": failure.code,
        "failure_message": failure.message,
        "failure_stage_code": failure.stage,
        "node_runs": None,
        "logs": None,
    }
    return _older(record_) if "old_words" in met else record_


def billed_micro_usd(run: FlowRun, result: Outcome, met: FaultedCall) -> int:
    """Return the cost of a run: failed ones are free, partial ones cost only the delivered pictures."""
    return run.entry.cost_micro_usd(run.asked, images=run.delivered(met)) if result.status in BILLED else 0


def payload(run: FlowRun, result: Outcome, met: FaultedCall, *, event: str | None = None) -> dict[str, Any]:
    """Return the body of a callback; an unfinished run is reported as succeeded."""
    status = result.status if result.status in ENDED else "succeeded"
    word = EVENTS.get(status, status)
    output = result.output
    if "callback:envelope" in met:
        failure = result.failure or Failure("GENERATION_FAILED", CRASHED, None)
        output = {"code": failure.code, "message": failure.message, "errors": None}
    elif "callback:image_urls" in met:
        output = {"image_urls": [each["url"] for each in (output or {}).get("outputs", [])]}
    return {
        "event": event or f"run.{word}",
        "run_id": run.id,
        "status": "succeeded" if word == "completed" else word,
        "output": output,
        "duration_ms": _duration(run),
        "created_at": iso(run.created_at),
        "completed_at": iso(run.finished_at),
        "metadata": run.metadata,
    }


def iso(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="microseconds")


def _progress(run: FlowRun, met: FaultedCall) -> str:
    if fault := met.get("unknown_status"):
        return fault.word
    if "stuck_queue" in met:
        return "queued"
    if fault := met.get("queue"):
        return "queued" if int(fault.word) > 1 else "dispatching"
    status = {"in_progress": "running", "completed": "succeeded", "cancelled": "canceled"}.get(run.state)
    if status is None:
        status = "queued" if run.queue.hold or run.queue.position_of(run) > 1 else "dispatching"
    if status == "succeeded" and "result_pending" in met:
        return "running"
    return BACKWARDS.get(status, status) if "backwards" in met else status


def _failure(met: FaultedCall, broken: str | None) -> Failure | None:
    if fault := met.get("refuse"):
        return Failure("CONTENT_POLICY_VIOLATION", fault.params.get("text", REFUSED), "inference")
    if fault := met.get("fail"):
        error = fault.params.get("error", CRASHED)
        if isinstance(error, Mapping):
            return Failure(error.get("code"), error.get("message"), error.get("stage"))
        return Failure("GENERATION_FAILED" if error is not None else None, error, "inference")
    return Failure("INPUT_VALIDATION_FAILED", broken, "preprocess") if broken else None


def _output(run: FlowRun, met: FaultedCall, *, sign: Sign) -> Any:
    if fault := met.get("empty_output"):
        return fault.params.get("output", {"outputs": []})
    nsfw = met.get("nsfw")
    outputs = [_entry(run, path, met, sign=sign) for path in run.images[: run.delivered(met)]]
    if "partial" in met:
        lost = {"url": None, "type": "image", "error": {"code": "GENERATION_FAILED", "message": CRASHED}}
        outputs += [lost] * (run.count - len(outputs))
    if "other_kinds" in met:
        outputs.insert(0, {"url": "https://pictures.example.net/told.txt", "type": "text"})
    return {
        "outputs": outputs,
        "model_data": {"description": ""},
        "nsfw_detected": {"true": True, "false": False}.get(nsfw.word) if nsfw else None,
        "seed": run.asked.value("seed"),
        "timing": None,
    }


def _entry(run: FlowRun, path: str, met: FaultedCall, *, sign: Sign) -> dict[str, Any]:
    foreign = met.get("foreign_host")
    kind = run.asked.output_format
    url = str(foreign.params.get("url", f"https://pictures.example.net/{run.id}.{kind}")) if foreign else sign(path)
    return {"url": url, "type": "image", "content_type": f"image/{kind}", "width": None, "height": None}


def _duration(run: FlowRun) -> int | None:
    return None if run.finished_at is None else run.finished_at - run.created_at


def _older(record_: dict[str, Any]) -> dict[str, Any]:
    """Return the record with the keys of Runflow's older documentation and SDK."""
    names = {"status_code": "status", "completed_at": "finished_at", "failure_stage_code": "failure_stage"}
    code, message = record_.pop("failure_code"), record_.pop("failure_message")
    error = {"code": code, "message": message} if code or message else None
    return {names.get(key, key): value for key, value in record_.items()} | {"error": error}
