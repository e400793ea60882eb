"""The state that all parts of one running service share."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_bloq.testing.local.catalogue import Catalogue
from airflow_provider_bloq.testing.local.clock import ServiceClock
from airflow_provider_bloq.testing.local.counters import Counters
from airflow_provider_bloq.testing.local.faults import FaultPlan
from airflow_provider_bloq.testing.local.fleet import Fleet
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.tokens import TokenBook
from airflow_provider_bloq.testing.local.users import UserDirectory

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """All that the service knows. Everything in it is touched on the event loop only."""

    options: LocalBloqOptions
    clock: ServiceClock
    users: UserDirectory
    tokens: TokenBook
    catalogue: Catalogue
    fleet: Fleet
    faults: FaultPlan
    counters: Counters

    @classmethod
    def fresh(cls, options: LocalBloqOptions) -> Backend:
        """Make the state of a service that has just been started."""
        clock = ServiceClock(options.clock)
        return cls(
            options=options,
            clock=clock,
            users=UserDirectory(),
            tokens=TokenBook(options, clock),
            catalogue=Catalogue(),
            fleet=Fleet(),
            faults=FaultPlan(),
            counters=Counters(),
        )
