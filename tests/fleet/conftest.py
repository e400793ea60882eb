"""A local Bloq service and a real Vault through which a fleet shares its token."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.flow.retry import shared_rate_limiters
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.support.real_fleet import RealFleet


@pytest.fixture(scope="session")
def fleet_service() -> Iterator[LocalBloq]:
    with LocalBloq(LocalBloqOptions(upstreams={}, node_quota=None)) as running:
        yield running


@pytest.fixture(scope="session")
def fleet_vault() -> Iterator[LocalVault]:
    with LocalVault() as running:
        yield running


@pytest.fixture
def fleet(
    fleet_service: LocalBloq, fleet_vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RealFleet]:
    """A fleet of its own for each test: account, paths, roles, and the connections of all three."""
    for name in [name for name in os.environ if name.startswith("VAULT_")]:
        monkeypatch.delenv(name)
    shared_providers.forget()
    shared_rate_limiters.forget()
    fleet_service.reset_counters()
    fleet = RealFleet(fleet_service, fleet_vault, f"fleet-{secrets.token_hex(4)}")
    for conn_id, connection in fleet.connections().items():
        define(monkeypatch, conn_id, connection)
    yield fleet
    fleet_service.clear_faults()
    shared_providers.forget()


def define(monkeypatch: pytest.MonkeyPatch, conn_id: str, connection: dict[str, Any]) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
