"""A collector of OpenTelemetry's own protocol over HTTP: keeps the metrics and spans that it is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "Span"]


@dataclass(frozen=True)
class Span:
    """One span as it arrived."""

    name: str
    span_id: bytes
    parent_id: bytes
    trace_id: bytes
    seconds: float
    attributes: dict[str, str]
    events: list[str]


@dataclass
class Collector:
    """Listens on loopback; a context manager."""

    #: The names of metrics, with the latest sum or count of each.
    metrics: dict[str, float] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    #: All that was sent, as it was sent.
    raw: bytes = b""
    _server: Any = None

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What an Airflow is told to send metrics and spans here."""
        return {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_address[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }

    def take(self, path: str, body: bytes) -> None:
        self.raw += body
        if path.endswith("/metrics"):
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        self._take_metric(metric)
        else:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    self.spans.extend(map(_span, scope.spans))

    def _take_metric(self, metric: Any) -> None:
        kind = metric.WhichOneof("data")
        points = getattr(metric, kind).data_points
        values = (
            point.count if "istogram" in kind else point.as_double or float(point.as_int) for point in points
        )
        self.metrics[metric.name] = sum(values)


def _span(span: Any) -> Span:
    values = {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes}
    return Span(
        span.name,
        span.span_id,
        span.parent_span_id,
        span.trace_id,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        values,
        [event.name for event in span.events],
    )
