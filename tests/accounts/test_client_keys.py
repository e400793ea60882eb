"""The account's endpoints: login, and the list, creation and deletion of client keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import AccountLogin, ClientKeysApi, ListedKeys
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqAccountRejected, BloqApiError, BloqUnavailable
from airflow_provider_bloq.flow.lost_creates import epoch_seconds
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.accounts.team import Team
from tests.support.drivers import PATIENT
from tests.support.raw_server import RawConnection, RawServer, SeenRequest

KEYS_PATH = "/users/me/client-keys"
CREATED = "2026-11-24T10:00:00.000Z"


@pytest.fixture
def masked() -> list[str]:
    return []


@pytest.fixture
def driver(masked: list[str]) -> Iterator[SyncDriver]:
    made = SyncDriver(PATIENT, mask=masked.append, sleep=lambda _: None)
    yield made
    made.close()


def api_of(team: Team, *, password: str | None = None, policy: RetryPolicy = NO_RETRIES) -> ClientKeysApi:
    login = AccountLogin(team.account.email, Secret(password or team.password), "Vault path 'bloq/account'")
    return ClientKeysApi(url=team.bloq.accounts_url, login=login, policy=policy)


def test_pairs_are_created_listed_and_deleted_with_one_login(
    team: Team, driver: SyncDriver, bloq: LocalBloq, masked: list[str]
) -> None:
    bloq.reset_counters()
    api = api_of(team)
    created = driver.run(api.create())
    listing = driver.run(api.list())
    assert listing.client_ids == {team.keys.client_id, created.client_id}
    assert all(epoch_seconds(pair.created_at) is not None for pair in listing.keys)
    assert listing.served_at is not None
    assert team.accepted(created)
    driver.run(api.delete(created.client_id))
    driver.run(api.delete(created.client_id))
    assert driver.run(api.list()).client_ids == {team.keys.client_id}
    assert bloq.counters().logins == 1

    basic = base64.b64encode(f"{team.account.email}:{team.password}".encode()).decode()
    assert {team.password, basic, created.client_secret.reveal()} <= set(masked)
    (token,) = (value for value in masked if value.count(".") == 2)
    assert bloq.where_seen(token) == {"accounts"}


def test_a_wrong_password_is_reported_with_its_source_and_remedy(team: Team, driver: SyncDriver) -> None:
    with pytest.raises(BloqAccountRejected, match="'bloq/account'.*account_vault_path") as refused:
        driver.run(api_of(team, password="wrong-password-5f1c").list())
    assert "wrong-password-5f1c" not in str(refused.value)


def test_only_the_documented_success_statuses_count(team: Team, driver: SyncDriver, bloq: LocalBloq) -> None:
    def status_of(method: str, path: str, status: int) -> int | None:
        bloq.add_fault(
            Fault(kind=FaultKind.HTML, status=status, service="accounts", method=method, path=path)
        )
        with pytest.raises(BloqApiError) as failure:
            driver.run(api_of(team).delete(team.keys.client_id))
        return failure.value.status

    for status in (201, 302):
        assert status_of("POST", "/auth", status) == status
    for status in (200, 202):
        assert status_of("DELETE", "*", status) == status
    assert team.pairs() == {team.keys.client_id}


def test_an_expired_token_is_replaced_and_the_call_repeated(
    team: Team, driver: SyncDriver, bloq: LocalBloq
) -> None:
    api = api_of(team)
    driver.run(api.list())
    bloq.revoke_access_tokens()
    bloq.reset_counters()
    driver.run(api.create())
    assert (bloq.counters().logins, len(driver.run(api.list()).keys)) == (1, 2)


def test_an_account_that_may_not_manage_keys_is_rejected(
    team: Team, driver: SyncDriver, bloq: LocalBloq
) -> None:
    bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="accounts", path=KEYS_PATH, times=None))
    with pytest.raises(BloqAccountRejected, match="May this account manage client keys"):
        driver.run(api_of(team).create())
    assert bloq.counters().logins == 2


def test_a_create_is_never_repeated(team: Team, driver: SyncDriver, bloq: LocalBloq) -> None:
    api = api_of(team, policy=RetryPolicy(attempts=5))
    for kind in (FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON, FaultKind.STATUS):
        before = len(driver.run(api.list()).keys)
        fault = bloq.add_fault(
            Fault(kind=kind, status=503, service="accounts", method="POST", path=KEYS_PATH, times=None)
        )
        with pytest.raises(BloqUnavailable) as lost:
            driver.run(api.create())
        assert lost.value.acted
        assert bloq.faults_struck()[fault] == 1
        bloq.clear_faults()
        assert len(driver.run(api.list()).keys) == before + (kind is not FaultKind.STATUS)


class Answers:
    """An Accounts API with fixed answers."""

    def __init__(self, driver: SyncDriver) -> None:
        self.url = ""
        self.login: Any = {"accessToken": "a-token"}
        self.answer: Any = None
        self._driver = driver

    def script(self, connection: RawConnection, request: SeenRequest) -> None:
        answer = self.login if request.target == "/auth" else self.answer
        connection.reply(200, json.dumps(answer).encode())

    @property
    def _api(self) -> ClientKeysApi:
        login = AccountLogin("ann@example.com", Secret("a fine password"), "a test")
        return ClientKeysApi(url=self.url, login=login, policy=NO_RETRIES)

    def listed(self) -> tuple[ListedKeys, ...]:
        return self._driver.run(self._api.list()).keys

    def create(self) -> Any:
        return self._driver.run(self._api.create())


@pytest.fixture
def answers(driver: SyncDriver) -> Iterator[Answers]:
    made = Answers(driver)
    with RawServer(made.script) as server:
        made.url = server.url
        yield made


def test_a_pair_is_identified_by_id_or_by_client_id(answers: Answers) -> None:
    answers.answer = [
        {"id": "a" * 40, "createdAt": CREATED},
        {"clientId": "b" * 40, "createdAt": CREATED},
        {"id": "", "clientId": "c" * 40},
        {"id": "d" * 40, "clientId": "e" * 40},
    ]
    assert answers.listed() == (
        ListedKeys("a" * 40, CREATED),
        ListedKeys("b" * 40, CREATED),
        ListedKeys("c" * 40, None),
        ListedKeys("d" * 40, None),
    )


def test_unusable_answers_are_refused(answers: Answers) -> None:
    for item in ({}, {"id": 7}, {"clientId": ""}, {"clientSecret": "x"}, "a" * 40, None):
        answers.answer = [{"id": "a" * 40}, item]
        with pytest.raises(BloqUnavailable, match="a pair of client keys without an id"):
            answers.listed()
    answers.answer = {"items": []}
    with pytest.raises(BloqUnavailable, match="something that is not a list"):
        answers.listed()
    answers.answer = {"clientId": "a" * 40}
    with pytest.raises(BloqUnavailable, match="no clientId and clientSecret"):
        answers.create()
    answers.login = {"accessToken": ""}
    with pytest.raises(BloqUnavailable, match="no usable accessToken"):
        answers.listed()
