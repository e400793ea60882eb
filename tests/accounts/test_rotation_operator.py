"""``BloqRotateClientKeysOperator`` over real sockets, with a task state store in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowFailException, TaskDeferred
from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from airflow_provider_bloq.exceptions import BloqAccountRejected, BloqConfigurationError, BloqRotationDisputed
from airflow_provider_bloq.operators.client_keys import BloqRotateClientKeysOperator
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.accounts.team import Team


@dataclass
class Store:
    """A task state store: JSON values by key."""

    values: dict[str, str] = field(default_factory=dict)
    retentions: list[timedelta] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: timedelta) -> None:
        self.values[key] = json.dumps(value)
        assert json.loads(self.values[key]) == value, "not plain JSON"
        self.retentions.append(retention)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def end_grace(self) -> None:
        (key,) = self.values
        self.set(key, self.get(key) | {"grace_until": 0.0}, retention=timedelta(0))


@pytest.fixture
def connected(team: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    """The team of the connection ``bloq_default``."""
    connection = {
        "conn_type": "bloq",
        "host": team.bloq.accounts_url,
        "extra": {
            "environment": "local",
            "nodes_url": team.bloq.nodes_url,
            "vault_conn_id": f"{team.desk.prefix}_worker",
            "vault_path": team.desk.path,
            "timeout": 30,
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    return team


Operator = Callable[..., BloqRotateClientKeysOperator]


@pytest.fixture
def operator(connected: Team) -> Operator:
    def make(**options: Any) -> BloqRotateClientKeysOperator:
        return BloqRotateClientKeysOperator(
            task_id="rotate",
            account_vault_conn_id=f"{connected.desk.prefix}_account",
            account_vault_path=connected.desk.account_path,
            **{"grace": 0, "deferrable": False, **options},
        )

    return make


def context(store: Store | None, max_tries: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {"ti": SimpleNamespace(max_tries=max_tries)}
    return found if store is None else {**found, "task_state_store": store}


def test_the_result_names_both_pairs_and_holds_no_secret(connected: Team, operator: Operator) -> None:
    store = Store()
    result = operator(grace=timedelta(0)).execute(context(store))

    stored = connected.stored_keys()
    assert result == {
        "old_client_id": connected.keys.client_id,
        "new_client_id": stored.client_id,
        "previous_kv_version": 1,
        "kv_version": 2,
        "superseded_by": None,
    }
    noted = json.dumps(store.values)
    assert stored.client_secret.reveal() not in noted
    assert connected.password not in noted
    connected.check()


def test_a_retry_gives_the_same_and_a_clear_rotates_again(connected: Team, operator: Operator) -> None:
    store = Store()
    first = operator().execute(context(store, max_tries=2))
    assert operator().execute(context(store, max_tries=2)) == first
    again = operator().execute(context(store, max_tries=4))
    assert again["old_client_id"] == first["new_client_id"]
    connected.check()


def test_the_grace_period_is_deferred(connected: Team, operator: Operator) -> None:
    store = Store()
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as deferred:
        operator(grace=timedelta(hours=2), deferrable=True).execute(context(store))

    assert isinstance(deferred.value.trigger, DateTimeTrigger)
    assert deferred.value.trigger.moment >= before + timedelta(hours=2)
    assert deferred.value.method_name == "execute_complete"
    assert set(deferred.value.trigger.serialize()[1]) == {"moment", "end_from_trigger"}
    assert min(store.retentions) > timedelta(hours=2)
    connected.check(old={connected.keys.client_id})

    store.end_grace()
    resumed = operator(grace=timedelta(hours=2), deferrable=True)
    result = resumed.execute_complete(context(store), deferred.value.trigger.moment)
    assert result["old_client_id"] == connected.keys.client_id
    connected.check()


def test_after_an_early_trigger_the_task_is_deferred_again(connected: Team, operator: Operator) -> None:
    store = Store()
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            operator(grace=3600, deferrable=True).execute(context(store))
    connected.check(old={connected.keys.client_id})


def test_the_grace_period_is_waited_for_in_the_worker(connected: Team, operator: Operator) -> None:
    result = operator(grace=0.2).execute(context(Store()))
    assert result["old_client_id"] == connected.keys.client_id
    connected.check()


def test_without_a_task_state_store_only_a_dry_run_works(connected: Team, operator: Operator) -> None:
    with pytest.raises(BloqConfigurationError, match="Airflow 3.3") as refused:
        operator().execute(context(None))
    assert isinstance(refused.value, AirflowFailException)

    planned = operator(dry_run=True).execute(context(None))
    assert (planned["dry_run"], planned["old_client_id"]) == (True, connected.keys.client_id)
    assert (connected.stored()[1], connected.pairs()) == (1, {connected.keys.client_id})


def test_keys_in_the_connection_itself_are_refused(
    connected: Team, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "bloq",
        "host": connected.bloq.accounts_url,
        "login": connected.keys.client_id,
        "password": connected.keys.client_secret,
        "extra": {"environment": "local", "nodes_url": connected.bloq.nodes_url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    with pytest.raises(BloqConfigurationError, match="KV engine of version 2") as refused:
        operator().execute(context(Store()))
    assert refused.value.fields == ("vault_path",)
    assert isinstance(refused.value, AirflowFailException)
    connected.check()


def test_an_error_that_needs_a_person_is_not_retried(
    connected: Team, operator: Operator, bloq: LocalBloq
) -> None:
    connected.vault.put(connected.desk.account_path, {"user": connected.account.email, "password": "wrong"})
    with pytest.raises(BloqAccountRejected) as refused:
        operator().execute(context(Store()))
    assert isinstance(refused.value, AirflowFailException)

    connected.vault.put(
        connected.desk.account_path, {"user": connected.account.email, "password": connected.password}
    )
    store = Store()
    created = operator(grace=3600, deferrable=True)
    with pytest.raises(TaskDeferred):
        created.execute(context(store))
    (key,) = store.values
    disputed = store.get(key) | {"phase": "disputed", "candidates": [["a", None], ["b", "2026-01-01"]]}
    store.set(key, disputed, retention=timedelta(0))
    with pytest.raises(BloqRotationDisputed) as refusal:
        operator().execute(context(store))
    assert isinstance(refusal.value, AirflowFailException)
    assert refusal.value.candidates == (("a", None), ("b", "2026-01-01"))


def test_after_a_transient_error_the_retry_continues(
    connected: Team, operator: Operator, bloq: LocalBloq
) -> None:
    store = Store()
    bloq.add_fault(
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts", method="DELETE", path="*", retry_after=3600)
    )
    with pytest.raises(Exception, match="429") as failure:
        operator().execute(context(store))
    assert not isinstance(failure.value, AirflowFailException)
    connected.check(old={connected.keys.client_id})

    assert operator().execute(context(store))["kv_version"] == 2
    connected.check()


def test_a_wrong_grace_period_is_refused_when_the_dag_is_parsed(operator: Operator) -> None:
    for grace in (-1, timedelta(seconds=-1), "soon", None, True):
        with pytest.raises(BloqConfigurationError) as wrong:
            operator(grace=grace)
        assert wrong.value.fields == ("grace",)
    for grace in (90, "90", timedelta(seconds=90)):
        assert operator(grace=grace).grace == timedelta(seconds=90)


def test_no_template_field_holds_a_secret(operator: Operator) -> None:
    assert set(operator().template_fields) == {"bloq_conn_id", "account_vault_conn_id", "account_vault_path"}
