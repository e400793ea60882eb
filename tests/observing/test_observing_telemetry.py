"""Metrics and spans as Airflow sends them to a collector, from a process that is set up as a task's is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from airflow_provider_bloq.testing.stack import LocalStack
from tests.observing.collector import Collector
from tests.observing.conftest import Settings

#: What the runner of a task does around it: metrics are set up, and a span is opened.
TASK = """
import airflow.settings
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import trace

stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
with trace.get_tracer("task").start_as_current_span("worker.task"):
    from airflow_provider_bloq.hooks.bloq import BloqHook

    BloqHook().nodes.list()
if hasattr(trace.get_tracer_provider(), "force_flush"):
    trace.get_tracer_provider().force_flush()
"""


@pytest.fixture
def collector() -> Collector:
    return Collector()


def run_task(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TASK],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_metrics_and_spans_arrive_at_a_collector(
    stack: LocalStack, settings: Settings, collector: Collector
) -> None:
    with collector:
        run_task({**settings(), **collector.environment})
    counted = {name.removeprefix("airflow."): value for name, value in collector.metrics.items()}
    assert counted["bloq.token.minted"] == 1
    assert counted["bloq.call.nodes"] == 1
    assert counted["bloq.call.nodes.duration"] == 1

    (task,) = [span for span in collector.spans if span.name == "worker.task"]
    calls = {span.name: span for span in collector.spans if span.name.startswith("bloq ")}
    assert set(calls) == {"bloq accounts POST", "bloq nodes GET"}
    for span in calls.values():
        assert (span.parent_id, span.trace_id) == (task.span_id, task.trace_id)
        assert 0 < span.seconds <= task.seconds
    assert calls["bloq nodes GET"].attributes["http.response.status_code"] == "200"
    assert calls["bloq nodes GET"].attributes["server.address"] == "127.0.0.1"
    assert "bloq.token.minted" in task.events
    secrets = [stack.keys.client_secret, stack.keys.client_id, "eyJ"]
    assert not [secret for secret in secrets if secret.encode() in collector.raw]


def test_where_both_are_off_nothing_is_sent(
    stack: LocalStack, settings: Settings, collector: Collector
) -> None:
    with collector:
        off = {"AIRFLOW__METRICS__OTEL_ON": "False", "AIRFLOW__TRACES__OTEL_ON": "False"}
        run_task({**settings(), **collector.environment, **off})
    assert collector.raw == b""
