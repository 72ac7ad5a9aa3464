"""What is measured, under which names: counted as it happens, or read when somebody looks. It knows nothing of jobs.

No label may hold what a member or a server brings along: each combination of labels is kept for good.
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
    about: str
    labels: Sequence[str] = ()
    buckets: Sequence[float] = ()  # of a histogram, in seconds


REQUESTS = Definition(
    "darkroom_provider_requests_total",
    Kind.COUNTER,
    "Calls to a provider by what came of them: ok, unavailable, paused, rejected, refused, unknown, lost or unreadable",
    ("provider", "call", "outcome"),
)
CALLBACKS = Definition(
    "darkroom_callbacks_total",
    Kind.COUNTER,
    "Callbacks of providers by what came of them: rung, early, late, other_run, unknown_job, unread or ignored; or why "
    "they were refused: token, unsigned, signature, too_large, slow or broken",
    ("outcome",),
)
ACKNOWLEDGED = Definition(
    "darkroom_acknowledgement_seconds",
    Kind.HISTOGRAM,
    "From the receipt of a wish until Discord shows its card; Discord waits for three seconds",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 2.5, 3),
)
POLL_DELAY = Definition(
    "darkroom_poll_delay_seconds",
    Kind.HISTOGRAM,
    "How late a due job was taken up",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300),
)
LOOP_LAG = Definition(
    "darkroom_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late the event loop woke up, four times a second",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
JOBS = Definition("darkroom_jobs", Kind.GAUGE, "Unfinished jobs by state", ("state",))
ENDED = Definition("darkroom_jobs_ended_last_hour", Kind.GAUGE, "Jobs that ended within an hour, by state", ("state",))
RESERVED_JOBS = Definition("darkroom_reserved_jobs", Kind.GAUGE, "Open reservations")
RESERVED_IMAGES = Definition("darkroom_reserved_images", Kind.GAUGE, "Pictures that open reservations hold")
RESERVED_DOLLARS = Definition("darkroom_reserved_dollars", Kind.GAUGE, "Dollars that open reservations hold")
SETTLED_IMAGES = Definition(
    "darkroom_settled_images", Kind.GAUGE, "Pictures charged to members this month, by each server's calendar"
)
SETTLED_DOLLARS = Definition(
    "darkroom_settled_dollars", Kind.GAUGE, "Dollars charged to members this month, by each server's calendar"
)
HOST_COST = Definition(
    "darkroom_host_cost_dollars",
    Kind.GAUGE,
    "What providers billed this month (UTC): known, or assumed where they did not say",
    ("basis",),
)
HOST_CAP = Definition(
    "darkroom_host_cap_dollars", Kind.GAUGE, "What everything may cost this month (UTC); absent where nothing limits it"
)
PROVIDER_OUTAGE = Definition(
    "darkroom_provider_trouble",
    Kind.GAUGE,
    "1 while a provider takes nothing: credentials, balance or down",
    ("provider", "kind"),
)
BREAKER = Definition(
    "darkroom_provider_breaker",
    Kind.GAUGE,
    "1 for what holds: paid requests go to a provider (closed), one goes there to see (half_open), none does (open)",
    ("provider", "state"),
)
BALANCE = Definition(
    "darkroom_provider_balance_dollars",
    Kind.GAUGE,
    "Dollars left on the account at a provider, asked for every 15 minutes; absent where it does not say",
    ("provider",),
)
MODELS_GONE = Definition(
    "darkroom_models_gone",
    Kind.GAUGE,
    "Configured routes that a provider does not have any more, so that they are not offered",
    ("provider",),
)
AUDIT = Definition(
    "darkroom_audit_findings",
    Kind.GAUGE,
    "What the last hourly audit found wrong: reservations that outlived their job (outlived) or are open for a day "
    "(old), totals that are not the sum of their rows (totals)",
    ("kind",),
)

MEASURED = (REQUESTS, CALLBACKS, ACKNOWLEDGED, POLL_DELAY, LOOP_LAG)
READ = (JOBS, ENDED, RESERVED_JOBS, RESERVED_IMAGES, RESERVED_DOLLARS, SETTLED_IMAGES, SETTLED_DOLLARS, HOST_COST,
        HOST_CAP, PROVIDER_OUTAGE, BREAKER, BALANCE, MODELS_GONE, AUDIT)  # fmt: skip

Values = Mapping[tuple[str, ...], float]  # by the labels' values; an empty tuple where there are none
Reading = Mapping[str, Values]  # by the gauge's name


class Metrics:
    """Everything that is counted while the program runs. Each method is named for what happened."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(REQUESTS)
        self._callbacks = self._counter(CALLBACKS)
        self._acknowledged = self._histogram(ACKNOWLEDGED)
        self._poll_delay = self._histogram(POLL_DELAY)
        self._loop_lag = self._histogram(LOOP_LAG)

    def request(self, provider: str, call: str, outcome: str) -> None:
        self._requests.labels(provider, call, outcome).inc()

    def callback(self, outcome: str) -> None:
        self._callbacks.labels(outcome).inc()

    def acknowledged(self, seconds: float) -> None:
        self._acknowledged.observe(seconds)

    def poll_delay(self, seconds: float) -> None:
        self._poll_delay.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def text(self, reading: Reading) -> bytes:
        """All of it in Prometheus' text format, and *reading* with it; a gauge that is not in there is left out."""
        once = CollectorRegistry()
        once.register(_Gauges(reading))
        return generate_latest(self._registry) + generate_latest(once)

    def _counter(self, one: Definition) -> Counter:
        return Counter(one.name, one.about, one.labels, registry=self._registry)

    def _histogram(self, one: Definition) -> Histogram:
        return Histogram(one.name, one.about, one.labels, buckets=one.buckets, registry=self._registry)


class _Gauges(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        for each in READ:
            if each.name in self._reading:
                family = GaugeMetricFamily(each.name, each.about, labels=each.labels)
                for labels, value in self._reading[each.name].items():
                    family.add_metric(labels, value)
                yield family
