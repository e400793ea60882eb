"""Airflow metrics, OpenTelemetry spans and log lines for the events of a connection."""

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


log = logging.getLogger(__name__)

_CHAIN_IN_URL = "{chain}"
_NANOSECONDS = 1_000_000_000
_ORIGIN = re.compile(r"[^:/]+://[^/]*")


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """Names the service of a URL: ``accounts``, ``nodes``, ``connect``, or ``rpc`` for nodes, clusters and raw URLs.

    :param bases: Base URL by name; may hold ``{chain}``.
    """

    bases: Mapping[str, str]

    @classmethod
    def of(cls, settings: BloqSettings) -> Self:
        """Return the names for the base URLs of a connection."""
        return cls(
            {
                "nodes": settings.nodes_url,
                "connect": settings.connect_url,
                "accounts": settings.accounts_url,
            }
        )

    def name(self, url: str) -> str:
        """Return the name of the service of a URL or origin.

        The longest base URL that matches wins. For an origin that several services share, the first one wins.
        """
        matching = [name for name, base in self.bases.items() if _begins_with(base, url)]
        if matching:
            return max(matching, key=lambda name: len(self.bases[name]))
        origins = {name: _ORIGIN.match(base) for name, base in self.bases.items()}
        return next(
            (name for name, origin in origins.items() if origin and _begins_with(origin[0], url)), "rpc"
        )


def _begins_with(base: str, url: str) -> bool:
    pattern = "[^./:]+".join(map(re.escape, base.split(_CHAIN_IN_URL)))
    return re.match(rf"{pattern}(?=[/?]|$)", url) is not None


#: Events that are only counted, as ``bloq.`` and their name.
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
    """Report an event as metrics. Their names and tags take few values, never an id.

    :param service_of: Names the service of a URL.
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
        # The triggerer of Airflow 3.3 sets up only the metrics of the core. Loading this sets up those of the task
        # SDK.
        import airflow.sdk.serde  # noqa: F401
    try:
        from airflow.providers.common.compat.sdk import Stats
    except ImportError:
        # The compatibility layer does not have it yet.
        from airflow.stats import Stats
    return Stats


#: Airflow's metrics. Loading them is slow, so it happens with this module, which the triggerer loads in a thread and
#: DAG files never load.
STATS = _stats()


def trace(event: Event, service_of: Callable[[str], str]) -> None:
    """Report an event to OpenTelemetry: a call as a span, other events from level INFO as events of the current span.

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


def observer_of(settings: BloqSettings) -> Observer:
    """Return the observer of a connection's events, which logs, measures and traces them."""
    names = ServiceNames.of(settings)

    def observe(event: Event) -> None:
        log_event(event)
        for report in (measure, trace):
            try:
                report(event, names.name)
            except Exception:
                # A misconfigured metrics backend must not fail the call.
                log.debug("An event could not be reported", exc_info=True)

    return observe
