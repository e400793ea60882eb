"""Connect with a real Bitcoin node, and the async hook's client of its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.bitcoin.conftest import bitcoin, bitcoind, shared_bitcoin
from tests.connect.conftest import connected
from tests.connect.stream.waiting import EAGER
from tests.hooks.conftest import Connect, connect, no_tokens_of_others
from tests.support.shared_chain import SharedChain

__all__ = ["bitcoin", "bitcoind", "connect", "no_tokens_of_others", "shared_bitcoin"]

#: Starts a service of the test alone; ``bloq_default`` leads to it.
Serve = Callable[..., LocalBloq]


@pytest.fixture
def serve(bitcoin: Bitcoind, connect: Connect) -> Iterator[Serve]:
    """Start services on the shared node; ``bloq_default`` leads to the latest. Their clocks may be moved."""
    with ExitStack() as running:

        def started(**options: Any) -> LocalBloq:
            upstreams = {"btc": lambda: SharedChain(bitcoin)}
            service = LocalBloq(LocalBloqOptions(upstreams={}, connect_upstreams=upstreams, **options))
            connected(connect, running.enter_context(service))
            return service

        yield started


@pytest.fixture
def bloq(serve: Serve) -> LocalBloq:
    """A service with the default switches."""
    return serve()


@pytest.fixture
async def client(bloq: LocalBloq) -> AsyncIterator[HookConnectClient]:
    """The client of that service. It reconnects almost at once."""
    async with BloqAsyncHook() as hook:
        yield eager(hook)


def eager(hook: BloqAsyncHook) -> HookConnectClient:
    client = hook.connect("btc")
    client.stream = replace(client.stream, backoff=EAGER)
    return client
