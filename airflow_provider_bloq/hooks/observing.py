"""What a hook's driver does with events: log, count and trace them."""

from __future__ import annotations

import logging

from airflow_provider_bloq.auth.events import Event, Observer, log_event
from airflow_provider_bloq.hooks.metrics import measure
from airflow_provider_bloq.hooks.services import ServiceNames
from airflow_provider_bloq.hooks.spans import trace
from airflow_provider_bloq.settings.connection import BloqSettings

__all__ = ["observer_of"]

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
