"""What the tests of rotation share: one local service, one real Vault, and teams of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.team import Team, teams


@pytest.fixture(scope="session")
def running_bloq() -> Iterator[LocalBloq]:
    # The hardest case: with a pair, all of its tokens die at once.
    options = LocalBloqOptions(upstreams={}, node_quota=None, key_deletion_kills_access=True)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def bloq(running_bloq: LocalBloq) -> Iterator[LocalBloq]:
    running_bloq.reset_counters()
    yield running_bloq
    running_bloq.clear_faults()


@pytest.fixture(scope="session")
def vault() -> Iterator[LocalVault]:
    with LocalVault() as running:
        running.enable_kv(1, "kv1")
        yield running


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No token of another test, and no Vault settings of this machine."""
    for name in ("VAULT_TOKEN", "VAULT_ADDR", "VAULT_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    shared_providers.forget()
    yield
    shared_providers.forget()


@pytest.fixture
def new_team(
    bloq: LocalBloq, vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Team]]:
    yield from teams(bloq, vault, monkeypatch)


@pytest.fixture
def team(new_team: Callable[..., Team]) -> Team:
    return new_team()
