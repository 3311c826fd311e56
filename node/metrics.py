"""What a node counts about itself, in its own registry, as Prometheus reads it.

Obeys DESIGN §1 (loop lag is a metric) and §7 (`/metrics` on the Unix socket and an optional
loopback port). Labels are few and bounded: lanes, outcomes, codes of the catalogue, never agency
codes, ids or addresses. Serving the text is left to the API.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""The media type of `Metrics.render`."""

_STEP_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
"""A batch holds at most 1,000 steps (DESIGN §1)."""
_SECOND_BOUNDS: Final = (0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads


class Metrics:
    """One node's numbers. Services increase them directly: `metrics.commits.inc()`."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._documents()
        self._store()
        self._network()
        self._process()

    def render(self) -> bytes:
        """The text form, about 10 KB."""
        return generate_latest(self.registry)

    def _documents(self) -> None:
        self.documents_submitted = self._counter(
            "truc_documents_submitted", "Documents taken over from local software.", "lane"
        )
        self.consignments_settled = self._counter(
            "truc_consignments_settled", "Consignments whose first receipt or final outcome is durable here.", "outcome"
        )
        self.consignments_accepted = self._counter(
            "truc_consignments_accepted", "Consignments durably accepted for agencies hosted here."
        )
        self.consignments_refused = self._counter(
            "truc_consignments_refused", "Signed final refusals by this node.", "code"
        )
        self.offers_deferred = self._counter("truc_offers_deferred", "Answers not-now by this node.", "code")
        self.receipts_made = self._counter("truc_receipts_made", "Receipts made by this node.", "status")
        self.receipts_settled = self._counter("truc_receipts_settled", "Receipts of others settled.", "status")
        self.queue_depth = self._gauge("truc_queue_depth", "Consignments owed and not yet settled.", "lane")

    def _store(self) -> None:
        self.commits = self._counter("truc_commits", "Batches written.")
        self.commit_steps = self._histogram("truc_commit_steps", "Steps in one batch.", _STEP_BOUNDS)
        self.commit_seconds = self._histogram("truc_commit_seconds", "Duration of one batch.", _SECOND_BOUNDS)
        self.commits_failed = self._counter("truc_commits_failed", "Batches that could not be written.")
        self.fsyncs = self._counter("truc_fsyncs", "fsync and fdatasync calls, synced batches included.")
        self.signatures = self._counter("truc_signatures", "Public-key operations.", "operation")
        self.disk_free_bytes = self._gauge("truc_disk_free_bytes", "Space left for the data folder.")

    def _network(self) -> None:
        self.peers = self._gauge("truc_peers", "Peers by state.", "state")
        self.streams_opened = self._counter("truc_streams_opened", "Streams opened by this node.", "protocol")
        self.streams_refused = self._counter("truc_streams_refused", "Streams reset by admission.", "reason")
        self.network_bytes = self._counter("truc_network_bytes", "Bytes of frames and bodies.", "direction")
        self.announcements = self._counter("truc_announcements", "Announcements of directory news.", "outcome")
        self.directory_things = self._counter(
            "truc_directory_things", "Signed things newly taken into the directory.", "road"
        )
        self.api_requests = self._counter("truc_api_requests", "Answers of the local API.", "status")

    def _process(self) -> None:
        self.thread_hops = self._counter("truc_thread_hops", "Calls handed to worker threads.", "worker")
        self.loop_lag_seconds = self._histogram(
            "truc_loop_lag_seconds", "How late the loop woke up.", _SECOND_BOUNDS
        )
        self.log_lines_lost = self._gauge("truc_log_lines_lost", "Log lines that could not be written.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=bounds, registry=self.registry)
