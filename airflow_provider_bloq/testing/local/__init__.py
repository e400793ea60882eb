"""A faithful local Bloq service: Accounts, Nodes and Connect with real chains behind them.

It imports nothing of the provider's own layers, so that it can be held against them. What Bloq does not
document is a switch of :class:`LocalBloqOptions`.

Ethereum-like nodes run on anvil, those of Bitcoin and Bitcoin Cash on the chain that Connect shows. What is of
other chains (Litecoin, Avalanche, Algorand) exists and can be listed, but its RPC answers 503 unless something is
plugged in by :attr:`LocalBloqOptions.upstreams`; Avalanche and Algorand clusters still tell their version.
"""

from __future__ import annotations

from airflow_provider_bloq.testing.local.backend import CounterSnapshot
from airflow_provider_bloq.testing.local.control import Account, IssuedKeys
from airflow_provider_bloq.testing.local.errors import (
    LocalBloqConfigurationError,
    LocalBloqError,
    UnknownThing,
)
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.testing.local.options import LocalBloqOptions, Upstream
from airflow_provider_bloq.testing.local.server import LocalBloq
from airflow_provider_bloq.testing.local.users import Mail

__all__ = [
    "Account",
    "CounterSnapshot",
    "Fault",
    "FaultKind",
    "IssuedKeys",
    "LocalBloq",
    "LocalBloqConfigurationError",
    "LocalBloqError",
    "LocalBloqOptions",
    "Mail",
    "UnknownThing",
    "Upstream",
]
