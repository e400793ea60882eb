"""Operators that read, list and delete nodes and clusters, and read logs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound
from airflow_provider_bloq.operators.clusters import (
    BloqCreateClusterOperator,
    BloqDeleteClusterOperator,
    BloqGetClusterOperator,
    BloqListClustersOperator,
)
from airflow_provider_bloq.operators.nodes import (
    BloqCreateNodeOperator,
    BloqDeleteNodeOperator,
    BloqGetNodeOperator,
    BloqListNodesOperator,
    BloqNodeLogsOperator,
)
from airflow_provider_bloq.testing.local import LocalBloq
from tests.operators.creates import Account

OPERATORS: dict[str, dict[str, Any]] = {
    "nodes": {
        "get": BloqGetNodeOperator,
        "delete": BloqDeleteNodeOperator,
        "list": BloqListNodesOperator,
        "argument": "node",
    },
    "clusters": {
        "get": BloqGetClusterOperator,
        "delete": BloqDeleteClusterOperator,
        "list": BloqListClustersOperator,
        "argument": "cluster",
    },
}


def run(account: Account, action: str, machine: Any = None, **options: Any) -> Any:
    """Run one of the operators of the account's kind."""
    operators = OPERATORS[account.kind]
    if machine is not None:
        options[operators["argument"]] = machine
    return operators[action](task_id=action, **options).execute({})


@pytest.mark.parametrize("by", ["id", "result"])
def test_what_a_create_returned_is_read_and_deleted(account: Account, by: str) -> None:
    created = account.task(auth_type="basic").attempt()
    named = created if by == "result" else created["id"]
    read = run(account, "get", named)
    assert (read["id"], read["state"], read["auth"]) == (created["id"], "started", {"type": "basic"})
    for _ in range(2):
        assert run(account, "delete", named) is None
    assert run(account, "get", named)["state"] == "stopped"


def test_what_was_deleted_is_listed_only_on_demand(account: Account) -> None:
    there, gone = account.by_somebody_else("basic"), account.by_somebody_else()
    account.api.delete(gone)
    assert [machine["id"] for machine in run(account, "list")] == [there]
    everything = run(account, "list", include_stopped=True)
    assert {machine["id"]: machine["state"] for machine in everything} == {there: "starting", gone: "stopped"}


def test_no_result_tells_user_or_password(account: Account) -> None:
    created = account.by_somebody_else("basic")
    auth = account.api.get(created).auth
    assert auth is not None
    said = json.dumps([run(account, "get", created), run(account, "list")])
    assert auth.user.reveal() not in said
    assert auth.password.reveal() not in said


@pytest.mark.parametrize("action", ["get", "delete"])
def test_what_does_not_exist_is_not_found(account: Account, action: str) -> None:
    with pytest.raises(BloqNotFound):
        run(account, action, "node-0")


@pytest.mark.parametrize("action", ["get", "delete"])
@pytest.mark.parametrize("named", ["", {}, "{'id': 'node-1'}"], ids=str)
def test_what_names_nothing_fails_at_once(account: Account, action: str, named: Any) -> None:
    with pytest.raises(BloqConfigurationError, match=f"^{OPERATORS[account.kind]['argument']}:") as wrong:
        run(account, action, named)
    assert isinstance(wrong.value, AirflowFailException)
    assert account.bloq.counters().calls == {}


def test_the_log_of_a_node_is_given_as_it_comes(slow_service: LocalBloq) -> None:
    node_id = Account(slow_service, "nodes").by_somebody_else()
    (line,) = BloqNodeLogsOperator(task_id="logs", node=node_id, lines=1).execute({})
    assert isinstance(line, str)
    # As a template leaves it.
    templated: Any = BloqNodeLogsOperator(task_id="templated", node=node_id, lines="1")
    assert templated.execute({}) == [line]


@pytest.mark.parametrize(
    ("operator", "arguments", "field"),
    [
        (BloqCreateNodeOperator, {"auth_type": "none"}, "auth_type"),
        (BloqCreateClusterOperator, {"auth_type": "token"}, "auth_type"),
        (BloqCreateClusterOperator, {"capacity": 1}, "capacity"),
        (BloqCreateClusterOperator, {"capacity": 11}, "capacity"),
    ],
    ids=str,
)
def test_a_wrong_order_is_refused_before_anything_is_sent(
    slow_service: LocalBloq, operator: Any, arguments: dict[str, Any], field: str
) -> None:
    task = operator(task_id="create", service_id="service-1", **arguments)
    with pytest.raises(BloqConfigurationError, match=f"^{field}:") as wrong:
        task.execute({"ti": object()})
    assert isinstance(wrong.value, AirflowFailException)
    assert slow_service.counters().calls == {}
