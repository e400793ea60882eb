"""What the tests of conditions share: a chain of their own, a service before it, and scripted nodes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, opened_clients
from tests.clients.scripted_node import NOWHERE
from tests.conditions.bitcoin_node import BitcoinNode
from tests.conditions.evm_chain import EvmChain
from tests.support.drivers import DRIVERS, DriverKind
from tests.support.raw_server import RawServer, Script, Serve
from tests.support.shared_chain import SharedChain


@pytest.fixture(params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> DriverKind:
    chosen: DriverKind = request.param
    return chosen


@pytest.fixture(scope="session")
def anvil_to_steer() -> Iterator[Anvil]:
    """A real chain that no other tests use: these stop its mining and reorganise it."""
    with Anvil() as running:
        yield running


@pytest.fixture(scope="session")
def running_bloq(anvil_to_steer: Anvil) -> Iterator[LocalBloq]:
    """A local service with that chain behind its Ethereum nodes; updates of clusters end when told."""
    upstreams = {"eth": lambda: SharedChain(anvil_to_steer)}
    options = LocalBloqOptions(upstreams=upstreams, node_quota=None, update_seconds=None)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def bloq_service(running_bloq: LocalBloq) -> LocalBloq:
    """That service, with its counters at zero."""
    running_bloq.reset_counters()
    return running_bloq


@pytest.fixture
def bloq(bloq_service: LocalBloq, kind: DriverKind) -> Iterator[BothWays]:
    """The clients of a new account."""
    account = bloq_service.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
    keys = bloq_service.create_client_keys(account.id)
    client_keys = ClientKeys(keys.client_id, Secret(keys.client_secret))
    with opened_clients(kind, bloq_service.accounts_url, bloq_service.nodes_url, client_keys) as opened:
        yield opened


@pytest.fixture
def chain(anvil_to_steer: Anvil) -> EvmChain:
    """The chain itself, with mining stopped and nothing pending."""
    steered = EvmChain(anvil_to_steer)
    steered.begin()
    return steered


@pytest.fixture
def eth(bloq_service: LocalBloq, bloq: BothWays) -> RpcSubject:
    """A node of that chain, named by what the create operator returns."""
    node = bloq.nodes.create(bloq_service.service_id("eth"))
    return RpcSubject.of({**node.public(), "tls_fingerprint": bloq_service.node_fingerprint(node.id)})


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as running:

        def started(script: Script) -> RawServer:
            return running.enter_context(RawServer(script))

        yield started


@pytest.fixture
def outsider(kind: DriverKind) -> Iterator[BothWays]:
    """Clients without an account, for nodes that are called by their URL."""
    with opened_clients(kind, NOWHERE, NOWHERE) as opened:
        yield opened


@pytest.fixture
def btc_node(serve: Serve) -> BitcoinNode:
    """A scripted Bitcoin node."""
    return BitcoinNode(serve)


@pytest.fixture
def btc(btc_node: BitcoinNode) -> RpcSubject:
    """That node, named by its URL."""
    return RpcSubject.of(btc_node.url, family="bitcoin")
