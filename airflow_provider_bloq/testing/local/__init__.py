"""A faithful local Bloq service: Accounts, Nodes and Connect with real chains behind them.

It imports nothing of the provider, so that the provider can be tested against it. Behaviour that Bloq does not
document is an option of :class:`LocalBloqOptions`.

Ethereum-like nodes run on anvil, Bitcoin and Bitcoin Cash nodes on the chain that Connect serves. Nodes and
clusters of other chains (Litecoin, Avalanche, Algorand) can be created and listed, but their RPC answers 503
unless :attr:`LocalBloqOptions.upstreams` has a chain for them; Avalanche and Algorand clusters still report their
version.
"""

from __future__ import annotations

from airflow_provider_bloq.testing.local.backend import CounterSnapshot
from airflow_provider_bloq.testing.local.control import IssuedKeys, LocalAccount
from airflow_provider_bloq.testing.local.errors import (
    LocalBloqConfigurationError,
    LocalBloqError,
    LocalBloqNotFound,
)
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.testing.local.options import LocalBloqOptions, Upstream
from airflow_provider_bloq.testing.local.server import LocalBloq
from airflow_provider_bloq.testing.local.users import Mail

__all__ = [
    "CounterSnapshot",
    "Fault",
    "FaultKind",
    "IssuedKeys",
    "LocalAccount",
    "LocalBloq",
    "LocalBloqConfigurationError",
    "LocalBloqError",
    "LocalBloqNotFound",
    "LocalBloqOptions",
    "Mail",
    "Upstream",
]
