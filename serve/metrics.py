"""What the endpoint did, as counters and histograms that Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recsys.index.online_recall import Figures

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
RECALL_GAUGES = (  # of the index that is served, since it took over
    ("online_recall", "Share of the exact top k that was found, by kind of query", ["kind"]),
    ("online_recall_queries", "Queries that were replayed exactly", ["kind"]),
    ("online_recall_dropped", "Sampled queries that found the queue full", []),
    ("found_top_share", "Share of found items in the fullest group", ["grouping"]),
    ("found_gini", "Inequality of found items over groups", ["grouping"]),
    ("stale_vectors_share", "Items whose stored vector isn't the present one", []),
)


class Metrics:
    """One replica's metrics in a registry of their own, so that several services in a process don't mix."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("recsys_requests", "Answers by status", ["code"], registry=registry)
        self.sources = Counter("recsys_answers", "Lists by source", ["source"], registry=registry)
        self.degraded = Counter("recsys_degraded", "Answers that left something out", ["reason"], registry=registry)
        self.dropped = Counter(
            "recsys_log_dropped", "Answers that weren't logged: the queue was full", registry=registry
        )
        self.in_flight = Gauge("recsys_in_flight", "Requests that are being answered", registry=registry)
        self.latency = Histogram("recsys_request_seconds", "From arrival to answer", buckets=SECONDS, registry=registry)
        self.stages = Histogram(
            "recsys_stage_seconds", "Of a batch, by stage", ["stage"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "recsys_batch_requests", "Requests answered together", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.release = Gauge("recsys_release", "What is served", list(versions), registry=registry)
        self.swaps = Counter("recsys_index_swaps", "Indexes that took over from another", registry=registry)
        self.refused = Counter("recsys_index_refused", "Published indexes that aren't served", registry=registry)
        self.recall = {
            name: Gauge(f"recsys_{name}", text, labels, registry=registry) for name, text, labels in RECALL_GAUGES
        }
        self.served(versions)

    def served(self, versions: Mapping[str, str]) -> None:
        self.release.clear()
        self.release.labels(**versions).set(1)

    def observe_batch(self, size: int, timings_ms: Mapping[str, float]) -> None:
        self.batch.observe(size)
        for stage, spent in timings_ms.items():
            self.stages.labels(stage=stage).observe(spent / 1000)

    def observe_recall(self, figures: Figures) -> None:
        by_label = {
            "online_recall": figures.recall,
            "online_recall_queries": figures.queries,
            "found_top_share": figures.top_share,
            "found_gini": figures.gini,
        }
        for name, held in by_label.items():
            self.recall[name].clear()
            for label, number in held.items():
                self.recall[name].labels(label).set(number)
        self.recall["online_recall_dropped"].set(figures.dropped)
        self.recall["stale_vectors_share"].set(figures.stale_share)

    def text(self) -> bytes:
        return generate_latest(self.registry)
