"""The numbers: one registry per node, few labels, readable by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from node.metrics import CONTENT_TYPE, Metrics

BENCHMARKED = {
    "truc_fsyncs",
    "truc_streams_opened",
    "truc_thread_hops",
    "truc_signatures",
    "truc_commits",
    "truc_commit_steps",
    "truc_loop_lag_seconds",
    "truc_queue_depth",
    "process_cpu_seconds",
    "process_resident_memory_bytes",
}


def families(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(metrics.render().decode())
    }


def test_everything_that_benchmarks_read_is_there_from_the_start() -> None:
    assert set(families(Metrics())) >= BENCHMARKED
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_what_is_counted_is_rendered() -> None:
    metrics = Metrics()
    metrics.commits.inc()
    metrics.commit_steps.observe(3)
    metrics.documents_submitted.labels("hoa_toc").inc(2)
    metrics.queue_depth.labels("khan").set(7)
    metrics.thread_hops.labels("committer").inc()
    read = families(metrics)
    assert read["truc_commits"] == {("truc_commits_total",): 1}
    assert read["truc_commit_steps"]["truc_commit_steps_bucket", "4.0"] == 1
    assert read["truc_commit_steps"]["truc_commit_steps_bucket", "2.0"] == 0
    assert read["truc_documents_submitted"] == {("truc_documents_submitted_total", "hoa_toc"): 2}
    assert read["truc_queue_depth"] == {("truc_queue_depth", "khan"): 7}
    assert read["truc_thread_hops"] == {("truc_thread_hops_total", "committer"): 1}


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.fsyncs.inc(5)
    assert families(one)["truc_fsyncs"] == {("truc_fsyncs_total",): 5}
    assert families(other)["truc_fsyncs"] == {("truc_fsyncs_total",): 0}
    assert not [family for family in REGISTRY.collect() if family.name.startswith("truc_")]


def test_every_number_is_explained_and_its_name_says_whose_it_is() -> None:
    for family in Metrics().registry.collect():
        assert len(family.documentation) >= 15
        assert family.name.startswith(("truc_", "process_"))


def test_no_series_is_rendered_twice_for_its_birthday() -> None:
    metrics = Metrics()
    metrics.commits.inc()
    assert b"_created" not in metrics.render()
