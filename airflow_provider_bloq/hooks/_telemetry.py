"""Which of Bloq's services a URL leads to: a handful of names, fit for metrics."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.flow.events import Event, Observer, log_event

__all__ = [
    "COUNTED",
    "ServiceNames",
    "measure",
    "observer_of",
    "trace",
]


_CHAIN_IN_URL = "{chain}"
_ORIGIN = re.compile(r"[^:/]+://[^/]*")


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """Names services: ``accounts``, ``nodes``, ``connect``, and ``rpc`` for all else, which are nodes,
    clusters and raw URLs.

    :param bases: Base URL by name; may hold ``{chain}``.
    """

    bases: Mapping[str, str]

    @classmethod
    def of(cls, settings: BloqSettings) -> Self:
        """Take the base URLs of a connection."""
        return cls(
            {
                "nodes": settings.nodes_url,
                "connect": settings.connect_url,
                "accounts": settings.accounts_url,
            }
        )

    def name(self, url: str) -> str:
        """Name the service of a URL, or of a mere origin.

        :param url: The URL. Where services share their origin, the longest base URL that it begins with is
            right; of an origin alone, the first.
        """
        begun = [name for name, base in self.bases.items() if _begins_with(base, url)]
        if begun:
            return max(begun, key=lambda name: len(self.bases[name]))
        origins = {name: _ORIGIN.match(base) for name, base in self.bases.items()}
        return next(
            (name for name, origin in origins.items() if origin and _begins_with(origin[0], url)), "rpc"
        )


def _begins_with(base: str, url: str) -> bool:
    pattern = "[^./:]+".join(map(re.escape, base.split(_CHAIN_IN_URL)))
    return re.match(rf"{pattern}(?=[/?]|$)", url) is not None


#: Events that are counted without further details, under ``bloq.`` and their name.
COUNTED = frozenset(
    {
        "keys.changed",
        "keys.read",
        "keys.refused",
        "token.early_renewal_failed",
        "token.minted",
        "token.missed",
        "token.refresh_refused",
        "token.refreshed",
        "token.shared",
        "token.survived",
        "token.taken",
    }
)


def measure(event: Event, service_of: Callable[[str], str]) -> None:
    """Count an event.

    :param event: The event.
    :param service_of: Names the service of a URL. Metric names and tags have few values: never an id.
    """
    fields = event.fields
    match event.name:
        case "call":
            _measure_call(fields, service_of(fields["url"]))
        case "token.refused":
            STATS.incr(f"bloq.token.refused.{service_of(fields['url'])}")
        case "held_back":
            whose = "service" if fields["by_service"] else "connection"
            STATS.incr(f"bloq.held_back.{whose}")
            STATS.timing(f"bloq.held_back.{whose}.duration", timedelta(seconds=fields["seconds"]))
        case "poll":
            STATS.incr("bloq.poll.looks")
            STATS.incr("bloq.poll.served", fields["waiters"])
        case name if name in COUNTED:
            STATS.incr(f"bloq.{name}")


def _measure_call(call: Mapping[str, Any], service: str) -> None:
    # Plain StatsD has no tags, so the service is part of the name.
    status = call["status"]
    STATS.incr(f"bloq.call.{service}", tags={"answer": "none" if status is None else f"{status // 100}xx"})
    STATS.timing(f"bloq.call.{service}.duration", timedelta(seconds=call["elapsed"]))
    if status is None or status >= 500:
        STATS.incr(f"bloq.call.{service}.failed")


def _stats() -> Any:
    with suppress(ImportError):
        # In the triggerer, Airflow 3.3 sets up the core's metrics alone. Those of the task SDK it sets up when it
        # loads this, if nothing else has.
        import airflow.sdk.serde  # noqa: F401
    try:
        from airflow.providers.common.compat.sdk import Stats
    except ImportError:
        # Where the compatibility layer does not know it yet.
        from airflow.stats import Stats
    return Stats


#: Airflow's metrics. Found when this module is loaded, since that takes its time: in the triggerer, a thread
#: loads it. No DAG file does.
STATS = _stats()


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
    if event.name == "call":
        _span(api, event.fields, service_of(event.fields["url"]))
    elif event.level >= logging.INFO:
        api.get_current_span().add_event(f"bloq.{event.name}", {"message": event.message})


def _span(api: Any, call: Mapping[str, Any], service: str) -> None:
    ended = time.time_ns()
    span = api.get_tracer(__name__).start_span(
        f"bloq {service} {call['method']}",
        kind=api.SpanKind.CLIENT,
        start_time=ended - int(call["elapsed"] * _NANOSECONDS),
    )
    if span.is_recording():
        host, status = urlsplit(call["url"]), call["status"]
        span.set_attributes(
            {
                "bloq.service": service,
                "http.request.method": call["method"],
                "server.address": host.hostname or "",
                **({"server.port": host.port} if host.port else {}),
            }
        )
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= 400:
            span.set_attribute("error.type", call["failure"] or str(status))
            span.set_status(api.StatusCode.ERROR)
    span.end(end_time=ended)


@cache
def _opentelemetry() -> Any:
    try:
        from opentelemetry import trace as api
    except ImportError:
        return None
    return api


log = logging.getLogger(__name__)


def observer_of(settings: BloqSettings) -> Observer:
    """Make what is told of the events of a connection.

    :param settings: The connection's settings.
    """
    names = ServiceNames.of(settings)

    def observe(event: Event) -> None:
        log_event(event)
        for report in (measure, trace):
            try:
                report(event, names.name)
            except Exception:
                # Whoever counts may be misconfigured; the call it is about went well.
                log.debug("An event could not be reported", exc_info=True)

    return observe
