"""What a server counts, as Prometheus reads it. Never audio, never text."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
LAG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """One server's counters; nothing is shared between servers of one process."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.streams = self._gauge("streams", "Streams that are being heard")
        self.parked = self._gauge("streams_parked", "Streams that wait for their client")
        self.connections = self._gauge("connections", "Open WebSocket and Wyoming connections")
        self.queued = self._gauge("queued", "Pieces of audio that wait for a worker")
        self.audio_s = self._counter("audio_seconds", "Audio that was heard")
        self.compute_s = self._counter("compute_seconds", "Time that workers computed")
        self.messages = self._counter("messages", "Messages of clients")
        self.resumed = self._counter("resumed", "Streams that went on after a lost connection")
        self.refused = self._counter("refused", "Connections that were refused", "reason")
        self.dropped = self._counter("dropped", "Connections that the server closed", "reason")
        self.lag = Histogram(
            "rivulet_lag_seconds",
            "From the arrival of a message to its answer",
            registry=self.registry,
            buckets=LAG_BUCKETS_S,
        )
        self.words = self._counter("words", "Words in finished segments")
        rate = self._gauge("real_time_factor", "Time computed over audio heard, since the start")
        rate.set_function(self._real_time_factor)

    def render(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self.registry)

    def watch(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Let a gauge ask for its value when it is read."""
        gauge.set_function(value)

    def _real_time_factor(self) -> float:
        audio_s = _counted(self.audio_s)
        return _counted(self.compute_s) / audio_s if audio_s else 0.0

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"rivulet_{name}", help_text, registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"rivulet_{name}", help_text, labels, registry=self.registry)


def _counted(counter: Counter) -> float:
    """Return what a counter without labels has counted."""
    (family,) = counter.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))
