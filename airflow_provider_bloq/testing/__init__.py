"""A local Bloq service, a local Vault and a local Airflow, for tests of DAGs and for trying things out.

Needs the extra: ``pip install 'airflow-provider-bloq[testing]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_bloq.testing.airflow import LocalAirflow
    from airflow_provider_bloq.testing.anvil import Anvil
    from airflow_provider_bloq.testing.bitcoind import Bitcoind
    from airflow_provider_bloq.testing.errors import TestingSetupError
    from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
    from airflow_provider_bloq.testing.openbao import LocalVault
    from airflow_provider_bloq.testing.stack import LocalStack

__all__ = [
    "Anvil",
    "Bitcoind",
    "Fault",
    "FaultKind",
    "LocalAirflow",
    "LocalBloq",
    "LocalBloqOptions",
    "LocalStack",
    "LocalVault",
    "TestingSetupError",
]

_HOMES = {
    "Anvil": "anvil",
    "Bitcoind": "bitcoind",
    "Fault": "local",
    "FaultKind": "local",
    "LocalAirflow": "airflow",
    "LocalBloq": "local",
    "LocalBloqOptions": "local",
    "LocalStack": "stack",
    "LocalVault": "openbao",
    "TestingSetupError": "errors",
}


def __getattr__(name: str) -> Any:
    # Only what is used is loaded: the command must be able to say that the extra is missing.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
