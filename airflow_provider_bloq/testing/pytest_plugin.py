"""pytest fixtures for tests of DAGs: a local Bloq service, a local Vault, and the connections to both.

Load them in the ``conftest.py`` at the root of the tests::

    pytest_plugins = ["airflow_provider_bloq.testing.pytest_plugin"]

There is no entry point: it would load the plugin in every run of pytest in an environment with the provider,
even without the extra ``testing``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
    from airflow_provider_bloq.testing.openbao import LocalVault
    from airflow_provider_bloq.testing.stack import LocalTeam

__all__ = [
    "bloq_connection",
    "bloq_local",
    "bloq_local_options",
    "bloq_vault",
]


_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(scope="session")
def bloq_local_options() -> LocalBloqOptions:
    """Options of the local Bloq service; override this fixture to change them.

    :return: Token lifetimes as at Bloq, anvil behind Ethereum nodes, ten nodes for an account.
    """
    _need_the_extra()
    from airflow_provider_bloq.testing.local import LocalBloqOptions

    return LocalBloqOptions()


@pytest.fixture(scope="session")
def _bloq_service(bloq_local_options: LocalBloqOptions) -> Iterator[LocalBloq]:
    """The service that all tests share."""
    _need_the_extra()
    from airflow_provider_bloq.testing.anvil import anvil_binary
    from airflow_provider_bloq.testing.local import LocalBloq

    if bloq_local_options.upstreams is None:
        # The first create would time out waiting for the download.
        anvil_binary()
    with LocalBloq(bloq_local_options) as running:
        yield running


@pytest.fixture(scope="session")
def _bloq_vault_server() -> Iterator[LocalVault]:
    """The Vault that all tests share."""
    _need_the_extra()
    from airflow_provider_bloq.testing.openbao import LocalVault

    with LocalVault() as running:
        yield running


@pytest.fixture
def bloq_local(_bloq_service: LocalBloq) -> Iterator[LocalBloq]:
    """The local Bloq service, with its counters at zero.

    After the test its faults are cleared and its clock is set back. Services that were disabled stay disabled.

    :raises TestingSetupError: The extra ``testing`` is not installed, or the program behind the nodes is not
        available.
    """
    clock = _bloq_service.options.clock
    ahead = _bloq_service.now() - clock()
    _bloq_service.reset_counters()
    yield _bloq_service
    _bloq_service.clear_faults()
    _bloq_service.advance_clock(ahead - (_bloq_service.now() - clock()))


@pytest.fixture
def bloq_vault(_bloq_vault_server: LocalVault) -> Iterator[LocalVault]:
    """A real Vault (OpenBao) with a KV engine of version 2 at ``secret``; unsealed after the test if necessary.

    :raises TestingSetupError: The extra ``testing`` is not installed, or Vault does not start.
    """
    yield _bloq_vault_server
    if _bloq_vault_server.client.sys.is_sealed():
        _bloq_vault_server.unseal()


@pytest.fixture
def bloq_connection(
    bloq_local: LocalBloq, bloq_vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalTeam]:
    """The connections ``bloq_default`` and ``vault_bloq`` as environment variables, for hooks and ``dag.test()``.

    Each test has a new account with client keys in Vault, and so no nodes or tokens of another test. Proxy
    settings are removed during the test.

    :raises TestingSetupError: The extra ``testing`` is not installed, or a service does not start.
    """
    from airflow_provider_bloq.auth.cache import shared_providers
    from airflow_provider_bloq.testing.stack import LocalTeam

    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
    team = LocalTeam(bloq_local, bloq_vault).set_up()
    for conn_id, fields in team.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    # All tests share one process, but each has different keys.
    shared_providers.forget()
    yield team
    shared_providers.forget()


def _need_the_extra() -> None:
    from airflow_provider_bloq.testing.errors import EXTRA_REMEDY, TestingSetupError, missing_of_the_extra

    if missing := missing_of_the_extra():
        raise TestingSetupError(
            f"the fixtures need the extra 'testing'; not installed: {', '.join(missing)}",
            EXTRA_REMEDY,
        )
