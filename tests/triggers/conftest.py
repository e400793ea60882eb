"""What the tests of the triggers share: a service whose nodes start when told to, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq, LocalBloqOptions
from tests.hooks.conftest import Connect, connect, new_keys

__all__ = ["connect"]


@pytest.fixture(scope="session")
def running_provisioning() -> Iterator[LocalBloq]:
    """A service whose nodes are not started before a test says so."""
    options = LocalBloqOptions(upstreams={}, node_quota=None, provision_seconds=1e6)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture(scope="session")
def shared_keys(running_provisioning: LocalBloq) -> IssuedKeys:
    """The client keys of one account: each further secret that Airflow must mask slows its masking down."""
    return new_keys(running_provisioning)


@pytest.fixture
def provisioning(
    running_provisioning: LocalBloq, shared_keys: IssuedKeys, connect: Connect
) -> Iterator[LocalBloq]:
    """That service, with its counters at zero, and ``bloq_default`` leading to that account."""
    service = running_provisioning
    connect(service.accounts_url, service.nodes_url, shared_keys)
    service.reset_counters()
    yield service
    service.clear_faults()


@pytest.fixture
def node_id(provisioning: LocalBloq) -> str:
    """A node that is starting."""
    node = BloqHook().nodes.create(provisioning.service_id("btc"))
    provisioning.reset_counters()
    return node.id
