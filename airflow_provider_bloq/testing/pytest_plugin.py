"""pytest fixtures for tests of DAGs: a local Bloq service, a local Vault, and the connections to both.

They are asked for in the ``conftest.py`` at the root of the tests::

    pytest_plugins = ["airflow_provider_bloq.testing.pytest_plugin"]

An entry point would load this in every run of pytest of everyone who has the provider installed, also of those
who test no DAG and have not installed the extra ``testing``. So it is none.
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
    """How the local Bloq service behaves. To have it otherwise, define a fixture of this name.

    :return: Tokens that live as long as Bloq's, anvil behind Ethereum nodes, ten nodes for an account.
    """
    _need_the_extra()
    from airflow_provider_bloq.testing.local import LocalBloqOptions

    return LocalBloqOptions()


@pytest.fixture(scope="session")
def _bloq_service(bloq_local_options: LocalBloqOptions) -> Iterator[LocalBloq]:
    """The service that all tests share: it starts once."""
    _need_the_extra()
    from airflow_provider_bloq.testing.anvil import anvil_binary
    from airflow_provider_bloq.testing.local import LocalBloq

    if bloq_local_options.upstreams is None:
        # A create that had to wait for its download would be given up by its caller.
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

    After the test its faults are cleared, and its clock is what it was before. Services that were taken off the
    market stay off.

    :raises TestingSetupError: The extra ``testing`` is missing, or the program behind the nodes cannot be had.
    """
    clock = _bloq_service.options.clock
    ahead = _bloq_service.now() - clock()
    _bloq_service.reset_counters()
    yield _bloq_service
    _bloq_service.clear_faults()
    _bloq_service.advance_clock(ahead - (_bloq_service.now() - clock()))


@pytest.fixture
def bloq_vault(_bloq_vault_server: LocalVault) -> Iterator[LocalVault]:
    """A real Vault (OpenBao), with a KV engine of version 2 at ``secret``. One that was sealed is unsealed again.

    :raises TestingSetupError: The extra ``testing`` is missing, or Vault does not start.
    """
    yield _bloq_vault_server
    if _bloq_vault_server.client.sys.is_sealed():
        _bloq_vault_server.unseal()


@pytest.fixture
def bloq_connection(
    bloq_local: LocalBloq, bloq_vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalTeam]:
    """Connections ``bloq_default`` and ``vault_bloq``, in the environment, where hooks and ``dag.test()`` look.

    Behind them are an account of its own for each test and its client keys in Vault, so that no test meets the
    nodes or tokens of another. Settings of proxies are out of force meanwhile.

    :raises TestingSetupError: The extra ``testing`` is missing, or one of the two does not start.
    """
    from airflow_provider_bloq.auth.cache import shared_providers
    from airflow_provider_bloq.testing.stack import LocalTeam

    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
    team = LocalTeam(bloq_local, bloq_vault).settle()
    for conn_id, fields in team.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    # All tests share one process, but each has keys of its own.
    shared_providers.forget()
    yield team
    shared_providers.forget()


def _need_the_extra() -> None:
    from airflow_provider_bloq.testing.errors import EXTRA_REMEDY, TestingSetupError, missing_of_the_extra

    if missing := missing_of_the_extra():
        raise TestingSetupError(
            f"the fixtures need the extra 'testing', of which is missing: {', '.join(missing)}",
            EXTRA_REMEDY,
        )
