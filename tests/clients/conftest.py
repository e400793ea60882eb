"""What all tests of the clients share: a real local service, scripted servers, and an account's clients."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays, OpenClients, opened_clients
from tests.clients.scripted_node import NOWHERE, Answer, ScriptedNode, StartNode, answering_by
from tests.support.drivers import DriverKind
from tests.support.raw_server import RawServer, Script, Serve


@pytest.fixture
def kind() -> DriverKind:
    """The blocking driver: that both do the same is shown by the contract in ``tests/flow``."""
    return "blocking"


@pytest.fixture
def open_clients(kind: DriverKind) -> Iterator[OpenClients]:
    """Open clients of either kind: for a local service a new account's, else for two URLs."""
    with ExitStack() as opened:

        def clients(
            accounts: LocalBloq | str,
            nodes_url: str | None = None,
            keys: ClientKeys | None = None,
            **options: Any,
        ) -> BothWays:
            if isinstance(accounts, LocalBloq):
                nodes_url = nodes_url or accounts.nodes_url
                keys = keys or new_keys(accounts)
                accounts = accounts.accounts_url
            return opened.enter_context(
                opened_clients(kind, accounts, nodes_url or accounts, keys, **options)
            )

        yield clients


@pytest.fixture
def account(service: LocalBloq) -> ClientKeys:
    """The client keys of a new account."""
    return new_keys(service)


@pytest.fixture
def bloq(service: LocalBloq, account: ClientKeys, open_clients: OpenClients) -> BothWays:
    """That account's clients."""
    return open_clients(service, keys=account)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as running:

        def started(script: Script, tls: ssl.SSLContext | None = None, **options: Any) -> RawServer:
            return running.enter_context(RawServer(script, tls, **options))

        yield started


@pytest.fixture
def bloq_with_chains(chains: LocalBloq, open_clients: OpenClients) -> BothWays:
    """The clients of a new account of that service."""
    return open_clients(chains)


@pytest.fixture
def node(open_clients: OpenClients, serve: Serve) -> StartNode:
    """Start a node that answers the parsed body of each request by a function, with a status."""

    def started(answer: Answer, status: int = 200) -> ScriptedNode:
        return ScriptedNode(serve(answering_by(answer, status)), open_clients(NOWHERE))

    return started


def new_keys(service: LocalBloq) -> ClientKeys:
    account = service.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
    keys = service.create_client_keys(account.id)
    return ClientKeys(keys.client_id, Secret(keys.client_secret))
