"""What all tests of the local service share: a service to start, and a caller that has an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind
from airflow_provider_bloq.testing.bitcoind_download import bitcoind_command
from airflow_provider_bloq.testing.errors import TestingSetupError
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.service_caller import Caller
from tests.support.shared_chain import SharedChain

Start = Callable[..., LocalBloq]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services with the options given; nothing runs behind their nodes unless asked for."""
    with ExitStack() as running:

        def started(**options: Any) -> LocalBloq:
            return running.enter_context(LocalBloq(LocalBloqOptions(**{"upstreams": {}, **options})))

        yield started


@pytest.fixture
def bloq(start: Start) -> LocalBloq:
    """A service with the default switches."""
    return start()


@pytest.fixture
def caller(bloq: LocalBloq) -> Caller:
    """An ordinary account of that service."""
    return Caller.of(bloq)


@pytest.fixture(scope="session")
def shared_regtest() -> Iterator[Bitcoind]:
    """A Bitcoin node for all tests of Connect."""
    try:
        bitcoind_command()
    except TestingSetupError as error:
        pytest.skip(f"NO BITCOIN NODE, Connect is not tested: {error}")
    with Bitcoind() as running:
        yield running


@pytest.fixture
def regtest(shared_regtest: Bitcoind) -> Bitcoind:
    """That node, with nothing in its mempool."""
    shared_regtest.mine()
    assert shared_regtest.rpc("getrawmempool") == []
    return shared_regtest


@pytest.fixture(scope="session")
def running_connect(shared_regtest: Bitcoind) -> Iterator[LocalBloq]:
    """A service whose Connect has that node behind it."""
    upstreams = {"btc": lambda: SharedChain(shared_regtest)}
    with LocalBloq(LocalBloqOptions(upstreams={}, connect_upstreams=upstreams)) as running:
        yield running


@pytest.fixture
def connect(running_connect: LocalBloq, regtest: Bitcoind) -> Iterator[ConnectCaller]:
    """An account that calls that service, which has counted nothing yet and has no other on its stream."""
    running_connect.drop_streams()
    running_connect.reset_counters()
    yield ConnectCaller.of(running_connect)
    running_connect.clear_faults()
