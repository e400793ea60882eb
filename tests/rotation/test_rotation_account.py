"""The account's own endpoints: login, and the list, creation and deletion of client keys."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest

from airflow_provider_bloq.accounts.client import AccountLogin, AsyncClientKeysClient, ClientKeysClient
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqAccountRejected, BloqApiError, BloqUnavailable
from airflow_provider_bloq.flow.lost_creates import epoch_seconds
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.rotation.team import Team
from tests.support.drivers import PATIENT, awaiting_driver

KEYS_PATH = "/users/me/client-keys"


@pytest.fixture
def masked() -> list[str]:
    return []


@pytest.fixture
def driver(masked: list[str]) -> Iterator[SyncDriver]:
    made = SyncDriver(PATIENT, mask=masked.append, sleep=lambda _: None)
    yield made
    made.close()


def client_of(
    team: Team, driver: SyncDriver, *, password: str | None = None, policy: RetryPolicy = NO_RETRIES
) -> ClientKeysClient:
    login = AccountLogin(team.account.email, Secret(password or team.password), "Vault path 'bloq/account'")
    return ClientKeysClient(driver.run, url=team.bloq.accounts_url, login=login, policy=policy)


def test_pairs_are_made_listed_and_deleted_with_one_login(
    team: Team, driver: SyncDriver, bloq: LocalBloq
) -> None:
    bloq.reset_counters()
    client = client_of(team, driver)
    made = client.create()
    listing = client.list()
    assert listing.client_ids == {team.keys.client_id, made.client_id}
    assert all(epoch_seconds(pair.created_at) is not None for pair in listing.keys)
    assert listing.served_at is not None
    assert team.accepted(made)
    client.delete(made.client_id)
    client.delete(made.client_id)
    assert client.list().client_ids == {team.keys.client_id}
    assert bloq.counters().logins == 1


def test_everything_secret_is_masked_and_the_token_is_shown_to_accounts_only(
    team: Team, driver: SyncDriver, masked: list[str], bloq: LocalBloq
) -> None:
    made = client_of(team, driver).create()
    basic = base64.b64encode(f"{team.account.email}:{team.password}".encode()).decode()
    assert {team.password, basic, made.client_secret.reveal()} <= set(masked)
    (token,) = (value for value in masked if value.count(".") == 2)
    assert bloq.where_seen(token) == {"accounts"}


def test_an_event_loop_does_the_same(team: Team) -> None:
    async def create_and_list() -> tuple[str, frozenset[str]]:
        driver = awaiting_driver()
        login = AccountLogin(team.account.email, Secret(team.password), "a test")
        client = AsyncClientKeysClient(driver.run, url=team.bloq.accounts_url, login=login, policy=NO_RETRIES)
        try:
            return (await client.create()).client_id, (await client.list()).client_ids
        finally:
            await driver.close()

    made, listed = asyncio.run(create_and_list())
    assert listed == {team.keys.client_id, made}


def test_a_wrong_password_is_told_with_its_place_and_remedy(team: Team, driver: SyncDriver) -> None:
    with pytest.raises(BloqAccountRejected) as refused:
        client_of(team, driver, password="wrong-password-5f1c").list()
    told = str(refused.value)
    assert "account_vault_path" in told
    assert "'bloq/account'" in told
    assert "wrong-password-5f1c" not in told


@pytest.mark.parametrize("status", [201, 204, 302])
def test_a_login_that_is_not_200_is_none(
    team: Team, driver: SyncDriver, bloq: LocalBloq, status: int
) -> None:
    bloq.add_fault(Fault(kind=FaultKind.HTML, status=status, service="accounts", path="/auth"))
    with pytest.raises(BloqApiError) as failure:
        client_of(team, driver).list()
    assert failure.value.status == status


def test_a_token_that_ended_is_replaced_and_the_call_goes_on(
    team: Team, driver: SyncDriver, bloq: LocalBloq
) -> None:
    client = client_of(team, driver)
    client.list()
    bloq.revoke_access_tokens()
    bloq.reset_counters()
    client.create()
    assert (bloq.counters().logins, len(client.list().keys)) == (1, 2)


def test_an_account_that_may_not_manage_keys_is_told_so(
    team: Team, driver: SyncDriver, bloq: LocalBloq
) -> None:
    bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="accounts", path=KEYS_PATH, times=None))
    with pytest.raises(BloqAccountRejected, match="May this account manage client keys"):
        client_of(team, driver).create()
    assert bloq.counters().logins == 2


def test_a_create_is_sent_once_whatever_happens(team: Team, driver: SyncDriver, bloq: LocalBloq) -> None:
    client = client_of(team, driver, policy=RetryPolicy(attempts=5))
    for kind in (FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON, FaultKind.STATUS):
        before = len(client.list().keys)
        fault = bloq.add_fault(
            Fault(kind=kind, status=503, service="accounts", method="POST", path=KEYS_PATH, times=None)
        )
        with pytest.raises(BloqUnavailable) as lost:
            client.create()
        assert lost.value.acted
        assert bloq.faults_struck()[fault] == 1
        bloq.clear_faults()
        assert len(client.list().keys) == before + (kind is not FaultKind.STATUS)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_delete_that_is_not_204_is_none(
    team: Team, driver: SyncDriver, bloq: LocalBloq, status: int
) -> None:
    bloq.add_fault(Fault(kind=FaultKind.HTML, status=status, service="accounts", method="DELETE", path="*"))
    with pytest.raises(BloqApiError) as failure:
        client_of(team, driver).delete(team.keys.client_id)
    assert failure.value.status == status
    assert team.pairs() == {team.keys.client_id}


def test_a_list_that_is_none_is_refused(team: Team, driver: SyncDriver, bloq: LocalBloq) -> None:
    bloq.add_fault(Fault(kind=FaultKind.HTML, status=200, service="accounts", method="GET", path=KEYS_PATH))
    with pytest.raises(BloqUnavailable, match="no JSON"):
        client_of(team, driver).list()
