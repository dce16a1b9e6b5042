"""What the endpoint counts, in Prometheus' text form; no label ever holds what a client wrote."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import generate_latest as text_of

from phi_runner.model.answering import Finished

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SPACE = "phi"
_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0, 120.0, 180.0)
"""Upper bounds of the histograms; 0.4 s is the time to a first token that the endpoint is meant to keep."""


class Metrics:
    """One endpoint's counters; they live with the endpoint, so that two in one process do not mix."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "requests", "Requests answered or refused", ["route", "method", "status"],
            namespace=_SPACE, registry=registry,
        )  # fmt: skip
        self._refusals = Counter("refusals", "Requests refused", ["kind"], namespace=_SPACE, registry=registry)
        self._prompt_tokens = Counter("prompt_tokens", "Tokens of prompts", namespace=_SPACE, registry=registry)
        self._answer_tokens = Counter("answer_tokens", "Tokens of answers", namespace=_SPACE, registry=registry)
        self._first_token = self._times("first_token_seconds", "From a request's body to its first text")
        self._answer = self._times("answer_seconds", "From an answer's slot to its last token")
        self._wait = self._times("queue_wait_seconds", "From a request's body to its slot")
        self._slots = Gauge("slots", "Answers that may be given at a time", namespace=_SPACE, registry=registry)
        self._busy = Gauge("slots_busy", "Answers being given", namespace=_SPACE, registry=registry)
        self._queue = Gauge("queue_length", "Requests waiting for a slot", namespace=_SPACE, registry=registry)
        ProcessCollector(registry=registry)

    def _times(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, namespace=_SPACE, registry=self._registry, buckets=_SECONDS)

    def answered(self, *, route: str, method: str, status: int) -> None:
        """Count a request by its route's pattern and its status."""
        self._requests.labels(route=route, method=method, status=str(status)).inc()

    def refused(self, kind: str) -> None:
        """Count a refusal by its kind."""
        self._refusals.labels(kind=kind).inc()

    def waited(self, seconds: float) -> None:
        """Note how long a request waited for its slot."""
        self._wait.observe(seconds)

    def began(self, seconds: float) -> None:
        """Note how long a request waited for its first text."""
        self._first_token.observe(seconds)

    def ended(self, finished: Finished | None, *, seconds: float) -> None:
        """Note what an answer took; None: it failed."""
        self._answer.observe(seconds)
        if finished:
            self._prompt_tokens.inc(finished.prompt_tokens)
            self._answer_tokens.inc(finished.completion_tokens)

    def load(self, *, slots: int, busy: int, waiting: int) -> None:
        """Note how full the endpoint is."""
        self._slots.set(slots)
        self._busy.set(busy)
        self._queue.set(waiting)

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        return text_of(self._registry)
