"""Builds RunComfy's JSON answers about a run, changed by faults. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from bot.sandbox.faults import Fault
from bot.sandbox.responses import CRASHED, REFUSED, Answer
from bot.sandbox.runs import Run, iso

BACKWARDS = {"completed": "in_progress", "in_progress": "in_queue"}


def problem(status: int, *, code: int, message: str) -> Answer:
    return Answer(status, {"error_code": code, "error_message": message})


def envelope(fault: Fault) -> Answer:
    """Return RunComfy's error answer for *fault*."""
    match fault.name:
        case "envelope_503":
            return problem(503, code=503001, message="Service temporarily unavailable.")
        case "429":
            return problem(429, code=429001, message="Too many requests.")
        case "error_200":
            return problem(200, code=int(fault.params.get("code", 500001)), message="Something went wrong.")
        case _:
            code = int(fault.word)
            return Answer(code, fault.params.get("body", {"error_code": code * 1000 + 1, "error_message": "Error."}))


NOT_FOUND = problem(
    404, code=404001, message="ResourceNotFound: request_id does not exist, was deleted or has expired."
)


def submitted(run_id: str, *, origin: str) -> dict[str, Any]:
    base = f"{origin}/v1/requests/{run_id}"
    return {
        "request_id": run_id,
        "status_url": f"{base}/status",
        "result_url": f"{base}/result",
        "cancel_url": f"{base}/cancel",
    }


def status_answer(run: Run, *, origin: str, faults: Iterable[Fault]) -> Answer:
    met = {each.name: each for each in faults}
    if met.keys() & {"404_after_submit", "lost"}:
        return NOT_FOUND
    word = _status_word(run, met)
    if word == "completed" and "fail" in met:  # RunComfy's own clients handle this status here, too
        word = "failed"
    body: dict[str, Any] = {"request_id": run.id, "status": word}
    if word.lower() == "in_queue":
        body["queue_position"] = int(met["queue"].word) if "queue" in met else run.queue.position_of(run)
    base = f"{origin}/v1/requests/{run.id}"
    return Answer(200, {**body, "status_url": f"{base}/status", "result_url": f"{base}/result"})


def result_answer(
    run: Run, *, origin: str, faults: Iterable[Fault], with_cost: bool, broken: str | None = None
) -> Answer:
    """*broken*: why the run failed without a fault (a reference that could not be downloaded)."""
    met = {each.name: each for each in faults}
    if met.keys() & {"404_after_submit", "lost"}:
        return NOT_FOUND
    word = _status_word(run, met)
    body: dict[str, Any] = {
        "request_id": run.id,
        "model_id": run.model,
        "status": word,
        "created_at": iso(run.created_at),
    }
    if "echo_input" in met:
        body["input"] = run.inputs
    if word.lower() != "completed":
        return Answer(200, body)
    if "result_pending" in met:
        return Answer(200, {**body, "status": _cased("in_progress", met)})
    body["finished_at"] = iso(run.finished_at)
    return Answer(200, {**body, **_outcome(run, met, origin=origin, with_cost=with_cost, broken=broken)})


def cancel_answer(run: Run, *, faults: Iterable[Fault]) -> Answer:
    """Cancel the run if it is still queued. The documented example has *completed* beside *cancelled*."""
    met = {each.do for each in faults}
    if "lost" in met or "404_after_submit" in met:
        return NOT_FOUND
    queued = run.state == "in_queue"
    if "cancel:ignored" in met:
        return Answer(202, {"request_id": run.id, "status": "completed", "outcome": "cancelled"})
    if not queued or "cancel:not_cancellable" in met:
        return Answer(202, {"request_id": run.id, "status": run.state, "outcome": "not_cancellable"})
    run.queue.move(run, "cancelled")
    return Answer(202, {"request_id": run.id, "status": "completed", "outcome": "cancelled"})


def _status_word(run: Run, met: Mapping[str, Fault]) -> str:
    word: str = run.state
    if "unknown_status" in met:
        word = met["unknown_status"].word
    elif met.keys() & {"queue", "stuck_queue"}:
        word = "in_queue"
    elif "backwards" in met:
        word = BACKWARDS.get(word, word)
    return _cased(word, met)


def _cased(word: str, met: Mapping[str, Fault]) -> str:
    return word.upper() if "upper_case" in met else word


def _outcome(run: Run, met: Mapping[str, Fault], *, origin: str, with_cost: bool, broken: str | None) -> dict[str, Any]:
    if "refuse" in met:
        return {"status": _cased("failed", met), "error": met["refuse"].params.get("text", REFUSED)}
    if "fail" in met or broken:
        error = met["fail"].params.get("error", CRASHED) if "fail" in met else broken
        return {"status": _cased("failed", met)} | ({} if error is None else {"error": error})
    result: dict[str, Any] = {"status": _cased("succeeded", met)}
    if with_cost and "no_cost" not in met:
        result["cost"] = run.cost_micro_usd / 1_000_000
    if "no_output" in met:
        return result
    if "empty_output" in met:
        return {**result, "output": met["empty_output"].params.get("output", {})}
    return {**result, "output": _output([_address(run, each, met, origin=origin) for each in run.images], met)}


def _address(run: Run, path: str, met: Mapping[str, Fault], *, origin: str) -> str:
    if "foreign_host" not in met:
        return origin + path
    foreign_url = f"https://pictures.example.net/{run.id}.{run.asked.output_format}"
    return str(met["foreign_host"].params.get("url", foreign_url))


def _output(urls: list[str], met: Mapping[str, Fault]) -> dict[str, Any]:
    if "fewer_images" in met:
        urls = urls[: int(met["fewer_images"].params.get("n", max(1, len(urls) - 1)))]
    if "both" in met and urls:
        return {"image": urls[0], "images": urls}
    single = "image_only" in met or (len(urls) == 1 and "images_only" not in met)
    return {"image": urls[0]} if single and urls else {"images": urls}
