"""OpenTelemetry spans for calls, and span events for tokens, below the span that Airflow has for the task.

Where tracing is off there is a tracer that does nothing; where OpenTelemetry is not installed, not even that.
Airflow traces its tasks by OpenTelemetry's own means from 3.3 on. On older ones there are spans only where
something else has set up a tracer for the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_bloq.auth.events import Called, Event

__all__ = ["trace"]

_NANOSECONDS = 1_000_000_000


def trace(event: Event, service_of: Callable[[str], str]) -> None:
    """Show an event in the trace.

    :param event: The event. A call becomes a span, which is made when it has ended; what a log has at INFO
        becomes an event of the span that is under way.
    :param service_of: Names the service of a URL.
    """
    api = _opentelemetry()
    if api is None:
        return
    if isinstance(event, Called):
        _span(api, event, service_of(event.url))
    elif event.level >= logging.INFO:
        api.get_current_span().add_event(type(event).__name__, {"message": str(event)})


def _span(api: Any, call: Called, service: str) -> None:
    ended = time.time_ns()
    span = api.get_tracer(__name__).start_span(
        f"bloq {service} {call.method}",
        kind=api.SpanKind.CLIENT,
        start_time=ended - int(call.elapsed * _NANOSECONDS),
    )
    if span.is_recording():
        host = urlsplit(call.url)
        span.set_attributes(
            {
                "bloq.service": service,
                "http.request.method": call.method,
                "server.address": host.hostname or "",
                **({"server.port": host.port} if host.port else {}),
            }
        )
        if call.status is not None:
            span.set_attribute("http.response.status_code", call.status)
        if call.status is None or call.status >= 400:
            span.set_attribute("error.type", call.failure or str(call.status))
            span.set_status(api.StatusCode.ERROR)
    span.end(end_time=ended)


@cache
def _opentelemetry() -> Any:
    try:
        from opentelemetry import trace as api
    except ImportError:
        return None
    return api
