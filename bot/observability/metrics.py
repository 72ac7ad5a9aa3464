"""Definitions of all metrics, the counters and histograms, and the Prometheus text format.

No label may hold data of members or servers: every combination of labels is stored until the bot ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Kind(StrEnum):
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    kind: Kind
    help: str
    labels: Sequence[str] = ()
    buckets: Sequence[float] = ()  # of a histogram, in seconds


REQUESTS = Definition(
    "darkroom_provider_requests_total",
    Kind.COUNTER,
    "Calls to a provider by outcome: ok, unavailable, paused, rejected, refused, unknown, lost or unreadable",
    ("provider", "call", "outcome"),
)
CALLBACKS = Definition(
    "darkroom_callbacks_total",
    Kind.COUNTER,
    "Callbacks by outcome: rung (the run is polled now), early (its id is not known yet), late (the job has ended), "
    "other_run, unknown_job, unread (the database failed) or ignored; or the reason for a rejection: token, unsigned, "
    "signature, too_large, slow or broken",
    ("outcome",),
)
ACKNOWLEDGED = Definition(
    "darkroom_acknowledgement_seconds",
    Kind.HISTOGRAM,
    "Time from a request until Discord shows its card; Discord allows 3 seconds",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 2.5, 3),
)
OVERLOADED = Definition(
    "darkroom_requests_overloaded_total",
    Kind.COUNTER,
    "Requests that were refused because their card could not have been shown in time",
)
POLL_DELAY = Definition(
    "darkroom_poll_delay_seconds",
    Kind.HISTOGRAM,
    "Delay between the due time of a job and its step",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300),
)
QUEUE_REPAIRS = Definition(
    "darkroom_queue_repairs_total",
    Kind.COUNTER,
    "Jobs that were wrong in the queue in memory, and were repaired from their rows: each is a defect",
)
LOOP_LAG = Definition(
    "darkroom_loop_lag_seconds",
    Kind.HISTOGRAM,
    "Lag of the event loop, measured four times a second",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
JOBS = Definition("darkroom_jobs", Kind.GAUGE, "Unfinished jobs by state", ("state",))
ENDED = Definition("darkroom_jobs_ended_last_hour", Kind.GAUGE, "Jobs that ended in the last hour by state", ("state",))
RESERVED_JOBS = Definition("darkroom_reserved_jobs", Kind.GAUGE, "Open reservations")
RESERVED_IMAGES = Definition("darkroom_reserved_images", Kind.GAUGE, "Pictures in open reservations")
RESERVED_DOLLARS = Definition("darkroom_reserved_dollars", Kind.GAUGE, "Dollars in open reservations")
SETTLED_IMAGES = Definition(
    "darkroom_settled_images", Kind.GAUGE, "Pictures charged to members this month, in each server's timezone"
)
SETTLED_DOLLARS = Definition(
    "darkroom_settled_dollars", Kind.GAUGE, "Dollars charged to members this month, in each server's timezone"
)
HOST_COST = Definition(
    "darkroom_host_cost_dollars",
    Kind.GAUGE,
    "Cost of all runs this month (UTC): known from the provider, or assumed where it did not report one",
    ("basis",),
)
HOST_CAP = Definition(
    "darkroom_host_cap_dollars", Kind.GAUGE, "Limit on the cost of all runs this month (UTC); absent without a limit"
)
PROVIDER_OUTAGE = Definition(
    "darkroom_provider_trouble",
    Kind.GAUGE,
    "1 during an outage of a provider: credentials, balance or down",
    ("provider", "kind"),
)
BREAKER = Definition(
    "darkroom_provider_breaker",
    Kind.GAUGE,
    "1 for the state of the circuit breaker: closed (paid requests are sent), half_open (one is sent to probe), "
    "open (none is sent)",
    ("provider", "state"),
)
BALANCE = Definition(
    "darkroom_provider_balance_dollars",
    Kind.GAUGE,
    "Dollars left on the account at a provider, read every 15 minutes; absent if it reports none",
    ("provider",),
)
MODELS_GONE = Definition(
    "darkroom_models_gone",
    Kind.GAUGE,
    "Configured routes that a provider no longer has; they are not offered",
    ("provider",),
)
AUDIT = Definition(
    "darkroom_audit_findings",
    Kind.GAUGE,
    "Defects found by the last hourly audit: reservations whose job has ended (outlived) or that are open for a day "
    "(old), totals that are not the sum of their rows (totals)",
    ("kind",),
)

MEASURED = (REQUESTS, CALLBACKS, ACKNOWLEDGED, OVERLOADED, POLL_DELAY, QUEUE_REPAIRS, LOOP_LAG)
READ = (JOBS, ENDED, RESERVED_JOBS, RESERVED_IMAGES, RESERVED_DOLLARS, SETTLED_IMAGES, SETTLED_DOLLARS, HOST_COST,
        HOST_CAP, PROVIDER_OUTAGE, BREAKER, BALANCE, MODELS_GONE, AUDIT)  # fmt: skip

Values = Mapping[tuple[str, ...], float]  # by label values; the key is () for a metric without labels
Reading = Mapping[str, Values]  # by the gauge's name


class Metrics:
    """Counters and histograms, one method for each. `text` adds the gauges."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(REQUESTS)
        self._callbacks = self._counter(CALLBACKS)
        self._acknowledged = self._histogram(ACKNOWLEDGED)
        self._overloaded = self._counter(OVERLOADED)
        self._poll_delay = self._histogram(POLL_DELAY)
        self._queue_repairs = self._counter(QUEUE_REPAIRS)
        self._loop_lag = self._histogram(LOOP_LAG)

    def request(self, provider: str, call: str, outcome: str) -> None:
        self._requests.labels(provider, call, outcome).inc()

    def callback(self, outcome: str) -> None:
        self._callbacks.labels(outcome).inc()

    def acknowledged(self, seconds: float) -> None:
        self._acknowledged.observe(seconds)

    def overloaded(self) -> None:
        self._overloaded.inc()

    def poll_delay(self, seconds: float) -> None:
        self._poll_delay.observe(seconds)

    def queue_repaired(self, jobs: int) -> None:
        self._queue_repairs.inc(jobs)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def text(self, reading: Reading) -> bytes:
        """Return all metrics in Prometheus' text format; gauges missing in *reading* are left out."""
        gauges = CollectorRegistry()
        gauges.register(_Gauges(reading))
        return generate_latest(self._registry) + generate_latest(gauges)

    def _counter(self, metric: Definition) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Definition) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)


class _Gauges(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        for each in READ:
            if each.name in self._reading:
                family = GaugeMetricFamily(each.name, each.help, labels=each.labels)
                for labels, value in self._reading[each.name].items():
                    family.add_metric(labels, value)
                yield family
