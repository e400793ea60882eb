"""Counts what happens by Airflow's ``Stats``; the names are explained in the documentation's page on metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from airflow_provider_bloq.auth.events import Called, Event, HeldBack, Looked
from airflow_provider_bloq.auth.shared_events import (
    SharedTokenMissed,
    SharedTokenWritten,
    TokenTaken,
)
from airflow_provider_bloq.auth.token_events import (
    EarlyRenewalFailed,
    KeysChanged,
    KeysRead,
    KeysRefused,
    RefreshRefused,
    TokenMinted,
    TokenRefreshed,
    TokenRefused,
    TokenSurvived,
)

__all__ = ["COUNTED", "measure"]

#: What is counted by one each time that it happens.
COUNTED: dict[type[Event], str] = {
    TokenMinted: "bloq.token.minted",
    TokenRefreshed: "bloq.token.refreshed",
    TokenTaken: "bloq.token.taken",
    TokenSurvived: "bloq.token.survived",
    SharedTokenWritten: "bloq.token.shared",
    SharedTokenMissed: "bloq.token.missed",
    EarlyRenewalFailed: "bloq.token.early_renewal_failed",
    RefreshRefused: "bloq.token.refresh_refused",
    KeysRead: "bloq.keys.read",
    KeysRefused: "bloq.keys.refused",
    KeysChanged: "bloq.keys.changed",
}


def measure(event: Event, service_of: Callable[[str], str]) -> None:
    """Count an event.

    :param event: The event.
    :param service_of: Names the service of a URL. There are a handful of names: in the name and tags of a
        metric stands nothing that there are many of, such as an id.
    """
    stats = STATS
    match event:
        case Called():
            _measure_call(event, service_of(event.url), stats)
        case TokenRefused():
            stats.incr(f"bloq.token.refused.{service_of(event.url)}")
        case HeldBack():
            whose = "service" if event.by_service else "connection"
            stats.incr(f"bloq.held_back.{whose}")
            stats.timing(f"bloq.held_back.{whose}.duration", timedelta(seconds=event.seconds))
        case Looked():
            stats.incr("bloq.poll.looks")
            stats.incr("bloq.poll.served", event.waiters)
        case _ if type(event) in COUNTED:
            stats.incr(COUNTED[type(event)])


def _measure_call(call: Called, service: str, stats: Any) -> None:
    # Plain StatsD knows no tags, so the service stands in the name.
    answer = "none" if call.status is None else f"{call.status // 100}xx"
    stats.incr(f"bloq.call.{service}", tags={"answer": answer})
    stats.timing(f"bloq.call.{service}.duration", timedelta(seconds=call.elapsed))
    if call.status is None or call.status >= 500:
        stats.incr(f"bloq.call.{service}.failed")


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
