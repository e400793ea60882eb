"""What all tests share: an Airflow home of their own, nothing of this machine's settings, local services."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.support.shared_chain import SharedChain

# Before anything imports Airflow, which reads its settings once.
_HOME = Path(tempfile.mkdtemp(prefix="bloq-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
(_HOME / "dags").mkdir()
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(_HOME / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__CORE__TEST_CONNECTION="Enabled",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME / 'airflow.db'}",
)
for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
    del os.environ[name]
# Loopback servers are not behind a proxy; a test that wants one says so.
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)

#: Airflow's maskers, of its SDK and of its core, where they have been loaded.
_MASKERS = ("airflow.sdk._shared.secrets_masker", "airflow._shared.secrets_masker")


@pytest.fixture(scope="module", autouse=True)
def secrets_are_forgotten() -> Iterator[None]:
    """Have Airflow forget the secrets of a module's tests.

    It compiles all that it has to mask anew with each secret that is added, so that after thousands of tests it
    would do little else.
    """
    yield
    for name in _MASKERS:
        if module := sys.modules.get(name):
            module._secrets_masker().reset_masker()


@pytest.fixture(scope="session")
def running_service() -> Iterator[LocalBloq]:
    """One local service for all tests, with nothing behind its nodes; each test has an account of its own."""
    with LocalBloq(LocalBloqOptions(upstreams={}, node_quota=None)) as running:
        yield running


@pytest.fixture
def service(running_service: LocalBloq) -> Iterator[LocalBloq]:
    """The service, with its counters at zero and no fault in force."""
    running_service.reset_counters()
    yield running_service
    running_service.clear_faults()


@pytest.fixture(scope="session")
def chain() -> Iterator[Anvil]:
    """A real chain, shared by all tests."""
    with Anvil() as running:
        yield running


@pytest.fixture(scope="session")
def running_chains(chain: Anvil) -> Iterator[LocalBloq]:
    """One local service whose Ethereum nodes have that chain behind them."""
    upstreams = {"eth": lambda: SharedChain(chain)}
    with LocalBloq(LocalBloqOptions(upstreams=upstreams, node_quota=None)) as running:
        yield running


@pytest.fixture
def chains(running_chains: LocalBloq) -> Iterator[LocalBloq]:
    """That service, with its counters at zero and no fault in force."""
    running_chains.reset_counters()
    yield running_chains
    running_chains.clear_faults()
