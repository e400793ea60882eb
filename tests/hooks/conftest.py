"""What all tests of the hooks share: a real local service, scripted servers, and the connection."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from tests.support.raw_server import RawServer, Script, Serve

#: The fixture that defines the connection ``bloq_default``: URLs or parts of it by name.
Connect = Callable[..., None]


@pytest.fixture(autouse=True)
def no_tokens_of_others() -> Iterator[None]:
    """Start each test with an empty cache of tokens, and leave none behind."""
    shared_providers.forget()
    yield
    shared_providers.forget()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Define the connection ``bloq_default``, with client keys in it."""

    def connected(accounts_url: str, nodes_url: str, keys: IssuedKeys | None = None, **parts: Any) -> None:
        extra = {"environment": "local", "nodes_url": nodes_url, **parts.pop("extra", {})}
        connection = {
            "conn_type": "bloq",
            "host": accounts_url,
            "login": keys.client_id if keys else "client-id",
            "password": keys.client_secret if keys else "a-client-secret",
            "extra": extra,
            **parts,
        }
        monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))

    return connected


@pytest.fixture
def keys(service: LocalBloq, connect: Connect) -> IssuedKeys:
    """The client keys of a new account, which ``bloq_default`` has."""
    issued = new_keys(service)
    connect(service.accounts_url, service.nodes_url, issued)
    return issued


@pytest.fixture
def connected_chains(chains: LocalBloq, connect: Connect) -> LocalBloq:
    """The service with chains, to which ``bloq_default`` leads with a new account."""
    extra = {"ca_bundle": str(chains.ca_bundle)}
    connect(chains.accounts_url, chains.nodes_url, new_keys(chains), extra=extra)
    return chains


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as running:

        def started(script: Script, tls: ssl.SSLContext | None = None, **options: Any) -> RawServer:
            return running.enter_context(RawServer(script, tls, **options))

        yield started


def new_keys(service: LocalBloq) -> IssuedKeys:
    account = service.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
    return service.create_client_keys(account.id)
