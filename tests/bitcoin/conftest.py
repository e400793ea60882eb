"""A real Bitcoin node, alone and behind the nodes of a local service; skipped where there is no bitcoind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.bitcoind_download import bitcoind_command
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.anvil.conftest import lifeline, repository, run_script
from tests.clients.both_ways import BothWays, opened_clients
from tests.hooks.conftest import Connect, connect, new_keys, no_tokens_of_others
from tests.support.drivers import DRIVERS, DriverKind
from tests.support.shared_chain import SharedChain

__all__ = [
    "account_of",
    "connect",
    "lifeline",
    "no_tokens_of_others",
    "repository",
    "run_script",
    "subject_of",
]


@pytest.fixture(scope="session")
def bitcoind() -> list[str]:
    """The command that runs bitcoind."""
    try:
        return bitcoind_command()
    except TestingSetupError as error:
        pytest.skip(f"NO BITCOIN NODE, nothing of Bitcoin is tested: {error}")


@pytest.fixture(scope="session")
def shared_bitcoin(bitcoind: list[str]) -> Iterator[Bitcoind]:
    """A running node, for all tests."""
    with Bitcoind() as running:
        yield running


@pytest.fixture
def bitcoin(shared_bitcoin: Bitcoind) -> Bitcoind:
    """That node, with nothing in its mempool."""
    shared_bitcoin.mine()
    assert shared_bitcoin.rpc("getrawmempool") == []
    return shared_bitcoin


@pytest.fixture(scope="session")
def running_bitcoin_service(shared_bitcoin: Bitcoind) -> Iterator[LocalBloq]:
    """A local service whose Bitcoin nodes have that node behind them."""
    upstreams = {"btc": lambda: SharedChain(shared_bitcoin)}
    with LocalBloq(LocalBloqOptions(upstreams=upstreams, node_quota=None)) as running:
        yield running


@pytest.fixture
def bitcoin_service(running_bitcoin_service: LocalBloq, connect: Connect) -> LocalBloq:
    """That service, to which ``bloq_default`` leads with a new account."""
    service = running_bitcoin_service
    service.reset_counters()
    connect(service.accounts_url, service.nodes_url, new_keys(service))
    return service


@pytest.fixture(params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> DriverKind:
    chosen: DriverKind = request.param
    return chosen


@contextmanager
def account_of(service: LocalBloq, kind: DriverKind) -> Iterator[BothWays]:
    """The clients of a new account."""
    account = service.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
    issued = service.create_client_keys(account.id)
    keys = ClientKeys(issued.client_id, Secret(issued.client_secret))
    with opened_clients(kind, service.accounts_url, service.nodes_url, keys) as opened:
        yield opened


def subject_of(service: LocalBloq, bloq: BothWays) -> RpcSubject:
    """Create a node and name it by what the create operator returns."""
    node = bloq.nodes.create(service.service_id("btc"))
    return RpcSubject.of({**node.public(), "tls_fingerprint": service.node_fingerprint(node.id)})


@pytest.fixture
def bloq(running_bitcoin_service: LocalBloq, kind: DriverKind) -> Iterator[BothWays]:
    with account_of(running_bitcoin_service, kind) as opened:
        yield opened


@pytest.fixture
def btc(running_bitcoin_service: LocalBloq, bloq: BothWays) -> RpcSubject:
    """A node of the chain."""
    return subject_of(running_bitcoin_service, bloq)
