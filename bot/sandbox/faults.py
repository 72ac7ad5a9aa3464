"""The faults that the local image service can simulate, and which calls they apply to.

A `Fault` selects calls (*op*, *host*, *nth*, *times*, *match*) and says what happens to them (*do*). Each fault
counts the calls that match it, independently of other faults: ``nth=3, times=2`` is the third and the fourth. Without
*nth* it starts with the first; ``times=None`` never ends. *match* is a part of the prompt, of the run's id or of the
caller's reference; *host* is runcomfy or runflow, by default both. *op* is one of `OPS`, or any.
Runflow has one call where RunComfy has two: faults for *status* and *result* also apply to its *run*.

===============  ==========================================================================================
before reading   reset_before_read (no prompt to match yet)
instead of work  reset, hang, html_502, envelope_503, 429, error_200, status:<code>;
                 with ``accepted=True`` the work is done and only its answer is replaced
after the work   accepted_then_lost, latency, truncated, sliced, wrong_type, time_skew, no_request_id, same_id;
                 at Runflow: created_200, twice
status, result   queue:<n>, stuck_queue, unknown_status:<word>, upper_case, backwards, 404_after_submit, lost
result           fail, refuse, result_pending, no_output, empty_output, fewer_images, image_only, images_only,
                 both, foreign_host, echo_input, no_cost; at Runflow: partial, canceled, nsfw:<word>,
                 old_words, other_kinds, unsigned
cancel           cancel:not_cancellable, cancel:ignored
file             file:404, file:empty, file:huge, file:html, file:lying_type, file:truncated, file:slow,
                 file:endless, file:bomb; at Runflow: file:expired
search           unfilterable, spelling:<word>, unlisted
callback         callback:lost, callback:late, callback:early, callback:repeat, callback:unsigned,
                 callback:bad_signature, callback:upper_case, callback:second_secret, callback:reserialised,
                 callback:unknown_run, callback:envelope, callback:image_urls
===============  ==========================================================================================

The last six rows describe a run, except *unfilterable* and *spelling*. Given for *submit*, they apply to all later
calls about the accepted run (``n=``: to so many); given for another op, only to the calls that match.
A refused connection is not a fault: stop the service.
"""

import json
import tomllib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HOSTS = ("runcomfy", "runflow")
OPS = ("submit", "status", "result", "run", "cancel", "search", "model", "models", "balance", "file", "callback")
ALSO: Mapping[str, tuple[str, ...]] = {"run": ("status", "result")}  # other ops whose faults also apply to a call

EARLY: Mapping[str, str] = {
    "reset_before_read": "the connection is reset before the body is read; nothing is accepted",
}
INSTEAD: Mapping[str, str] = {
    "reset": "the connection is reset without an answer",
    "hang": "no answer, and the connection stays open until the client gives up",
    "html_502": "502 with an HTML page",
    "envelope_503": "503 with the host's own JSON envelope (retry_after=); Runflow's MODEL_UNAVAILABLE",
    "429": "429 with the host's JSON envelope (retry_after= seconds)",
    "error_200": "200 with the host's JSON envelope (code=)",
    "status:<code>": "that HTTP status (body= JSON, retry_after=, headers=; at Runflow code=, nested=)",
}
AFTER: Mapping[str, str] = {
    "accepted_then_lost": "the work is done, then the connection is reset without an answer",
    "latency": "the answer takes that much longer (seconds=)",
    "truncated": "half of the answer, then the connection is reset",
    "sliced": "the answer comes in pieces of a few bytes (seconds= in all)",
    "wrong_type": "the right body, called text/plain",
    "time_skew": "the Date header is off (seconds=)",
    "no_request_id": "the submit is accepted and answered without the run's id",
    "same_id": "the submit is accepted and answered with the id of the run before it",
    "created_200": "Runflow answers the submit with 200 instead of 201",
    "twice": "Runflow takes the submit twice, and answers with the first of the two runs",
}
PROGRESS: Mapping[str, str] = {
    "queue:<n>": "in_queue at place n; given for submit: starts there and counts down; 1 is Runflow's dispatching",
    "stuck_queue": "in_queue for ever",
    "unknown_status:<word>": "the given word as status",
    "upper_case": "status words in capitals",
    "backwards": "the status goes one step back",
    "404_after_submit": "the run is not found yet, in n calls (n=, 1 by default)",
    "lost": "404 with error_code 404001, at Runflow RUN_NOT_FOUND: the run is gone",
}
OUTCOME: Mapping[str, str] = {
    "fail": "completed, and the result says failed (error= text or object, None for no error at all)",
    "refuse": "completed, and the result says failed for reasons of safety (text=)",
    "result_pending": "the status says completed, the result in_progress, in n calls (n=, 1 by default)",
    "no_output": "succeeded without an output",
    "empty_output": "succeeded with an empty output (output=)",
    "fewer_images": "succeeded with fewer pictures than asked for (n=)",
    "image_only": "output.image with the first picture and no output.images",
    "images_only": "output.images and no output.image",
    "both": "output.image and output.images",
    "foreign_host": "the pictures' addresses are on another host (url=)",
    "echo_input": "the result repeats the inputs, reference pictures included",
    "no_cost": "the cost is not known yet",
    "partial": "Runflow's partial_succeeded: n= pictures, and an entry without an address for each of the others",
    "canceled": "somebody else cancelled the run at Runflow",
    "nsfw:<word>": "Runflow's nsfw_detected: true or false; null without this",
    "old_words": "the record with the keys of Runflow's older pages: status, error{}, failure_stage, finished_at",
    "other_kinds": "Runflow's outputs also hold a text",
    "unsigned": "Runflow signs the pictures' addresses only where add_signature=true asks for it",
}
CANCEL: Mapping[str, str] = {
    "cancel:not_cancellable": "the host will not cancel, and the run goes on",
    "cancel:ignored": "the host says cancelled, and the run completes",
}
FILE: Mapping[str, str] = {
    "file:404": "the picture is not there",
    "file:empty": "200 and no bytes",
    "file:huge": "a real picture of pure noise (mb=, 12 by default)",
    "file:html": "a page of HTML",
    "file:lying_type": "HTML with the content type of a picture",
    "file:truncated": "half of the picture, then the connection is reset",
    "file:slow": "the picture comes in small pieces (seconds= in all, 2 by default)",
    "file:endless": "an endless body without Content-Length",
    "file:bomb": "a tiny file that declares 60000 x 60000 pixels",
    "file:expired": "403 for Runflow's addresses signed so far; reading the run again signs new ones",
}
SEARCH: Mapping[str, str] = {
    "unfilterable": "422: client_ref is not filterable",
    "spelling:<word>": "422 for a filter in the other spelling: eq is that of Runflow's scripts, colon its documents'",
    "unlisted": "the run is not among those found, in n searches (n=, 1 by default)",
}
CALLBACK: Mapping[str, str] = {
    "callback:lost": "no callback comes",
    "callback:late": "it comes that much later (seconds=, 30 by default)",
    "callback:early": "the run ends, and its callback comes before the submit is answered",
    "callback:repeat": "it comes several times (n=, 5 by default)",
    "callback:unsigned": "without a signature",
    "callback:bad_signature": "signed with an unknown secret",
    "callback:upper_case": "the signature in capitals",
    "callback:second_secret": "signed with the second of the secrets",
    "callback:reserialised": "the same JSON, serialised again after it was signed",
    "callback:unknown_run": "it names an unknown run",
    "callback:envelope": "the output is an error envelope",
    "callback:image_urls": "the output is as in the callbacks page's example: image_urls",
}
KINDS = (EARLY, INSTEAD, AFTER, PROGRESS, OUTCOME, CANCEL, FILE, SEARCH, CALLBACK)
FAULTS: Mapping[str, str] = {name: about for kind in KINDS for name, about in kind.items()}
RUN_FAULTS = (  # faults that describe a run, and the op that shows them
    (PROGRESS, "any"),
    (OUTCOME, "result"),
    (CANCEL, "cancel"),
    (FILE, "file"),
    (("unlisted",), "search"),
    (CALLBACK, "callback"),
)
AFTER_READING = frozenset(FAULTS.keys() - EARLY.keys())
NUMBERED = frozenset({"fewer_images", "partial", "callback:repeat"})  # their n= is not a number of calls
ONCE = frozenset(
    {"404_after_submit", "result_pending", "backwards", "unlisted", "file:expired"}
)  # as faults of a run, these apply to one call by default


@dataclass(frozen=True, slots=True, init=False)
class Fault:
    """One simulated fault. Raises `ValueError` for an unknown op, host or name."""

    op: str
    do: str
    nth: int | None
    times: int | None
    match: str | None
    host: str | None
    params: Mapping[str, Any]

    def __init__(
        self,
        op: str,
        do: str,
        *,
        nth: int | None = None,
        times: int | None = 1,
        match: str | None = None,
        host: str | None = None,
        **params: Any,
    ) -> None:
        if op not in (*OPS, "any"):
            raise ValueError(f"no operation {op!r}: one of {', '.join(OPS)}, any")
        if host not in (None, *HOSTS):
            raise ValueError(f"no host {host!r}: one of {', '.join(HOSTS)}")
        if _fault_key(do) not in FAULTS:
            raise ValueError(f"no fault {do!r}: one of {', '.join(FAULTS)}")
        values = {"op": op, "do": do, "nth": nth, "times": times, "match": match, "host": host, "params": params}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """Its name without the number or word after the colon."""
        return _fault_key(self.do).split(":<")[0]

    @property
    def word(self) -> str:
        return self.do.partition(":")[2]

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("op"), str) or not isinstance(raw.get("do"), str):
            raise ValueError("a fault is an object with at least op and do")  # noqa: TRY004 - one error class for all invalid input
        return cls(**{str(key): value for key, value in raw.items()})

    def as_json(self) -> dict[str, Any]:
        plain = {"op": self.op, "do": self.do, "nth": self.nth, "times": self.times, "match": self.match}
        return {**plain, "host": self.host, **self.params}

    def describes_run(self) -> bool:
        """Return whether, given for a submit, it applies to the run and not to the answer."""
        return any(_fault_key(self.do) in kind for kind, _ in RUN_FAULTS)

    def for_run(self) -> "Fault":
        """Return the same fault for the later calls of one run."""
        kind = _fault_key(self.do)
        op = next(op for kinds, op in RUN_FAULTS if kind in kinds)
        times = self.params.get("n", 1 if kind in ONCE else None) if kind not in NUMBERED else None
        return Fault(op, self.do, times=times, **self.params)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0

    def applies_to(self, op: str, about: Iterable[str], *, host: str | None) -> bool:
        """Return whether the fault applies to this call; counts the call if it matches."""
        fault = self.fault
        if fault.op not in (op, "any", *ALSO.get(op, ())) or (fault.host and host and fault.host != host):
            return False
        if fault.match is not None and not any(fault.match in each for each in about):
            return False
        is_due = self.is_due()
        self.seen += 1
        return is_due

    def is_due(self) -> bool:
        """Return whether the fault applies to the next call that matches."""
        first = self.fault.nth or 1
        return self.seen + 1 >= first and (self.fault.times is None or self.seen + 1 < first + self.fault.times)


class Faults:
    """The active faults, each with the number of calls it matched."""

    def __init__(self, *faults: Fault) -> None:
        self._armed: list[_Armed] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        self._armed += [_Armed(each) for each in faults]

    def clear(self) -> None:
        self._armed.clear()

    def replace(self, faults: Iterable[Fault]) -> None:
        self._armed = [_Armed(each) for each in faults]

    def __iter__(self) -> Any:
        return iter([each.fault for each in self._armed])

    def take(
        self, op: str, about: Iterable[str], *, host: str | None = None, among: Container[str] | None = None
    ) -> list[Fault]:
        """Return the faults that apply to this call, in the order they were added, and count the call.

        Only faults in *among* are considered; by default all except those before reading.
        """
        about = list(about)
        armed = [
            each for each in self._armed if _fault_key(each.fault.do) in (AFTER_READING if among is None else among)
        ]
        return [each.fault for each in armed if each.applies_to(op, about, host=host)]

    def peek(self, among: Container[str]) -> list[Fault]:
        """Return the faults in *among* that are due now, without counting a call."""
        return [each.fault for each in self._armed if _fault_key(each.fault.do) in among and each.is_due()]


def parse_faults(raw: Any) -> list[Fault]:
    """Parse faults from a JSON list. Raises `ValueError`."""
    if not isinstance(raw, list):
        raise ValueError("faults are a list")  # noqa: TRY004 - as above
    try:
        return [Fault.parse(each) for each in raw]
    except TypeError as exc:
        raise ValueError(str(exc)) from exc


def load_faults(path: Path) -> list[Fault]:
    """Read faults from a JSON list, or from TOML with one `[[fault]]` table each (`times = "forever"`: no end)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".toml":
        return parse_faults(json.loads(text))
    tables = tomllib.loads(text).get("fault", [])
    return parse_faults([{**each, **({"times": None} if each.get("times") == "forever" else {})} for each in tables])


def _fault_key(do: str) -> str:
    """Return the key of *do* in FAULTS: ``queue:<n>`` for ``queue:3``."""
    if do in FAULTS:
        return do
    head, colon, word = do.partition(":")
    if colon and word and (head not in ("queue", "status") or word.isdigit()):
        return next((each for each in FAULTS if each.startswith(f"{head}:<")), do)
    return do
