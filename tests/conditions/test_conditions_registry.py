"""Conditions are JSON in the kwargs of triggers, and come back as they were."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.chains.conditions import BlockReached, NodeSynced, RpcSubject
from airflow_provider_bloq.chains.transactions import TransactionConfirmed
from airflow_provider_bloq.connect.conditions import (
    ConnectBalanceReached,
    ConnectBlockReached,
    ConnectPaymentSeen,
    ConnectTransactionConfirmed,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.nodes.conditions import ClusterHealth, ClusterState, ClusterUpdated, NodeState
from airflow_provider_bloq.polling import serialization
from airflow_provider_bloq.polling.conditions import Condition
from airflow_provider_bloq.polling.serialization import condition_from_json, condition_to_json

pytestmark = pytest.mark.logic

SUBJECT = RpcSubject("node-1", "ab" * 32, 8545, "/rpc", "evm")
HASH = f"0x{'ab' * 32}"
ADDRESS = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"

#: One of each with all of its fields, and one with as few as it can have.
CONDITIONS: list[Condition] = [
    NodeState("node-1"),
    NodeState("node-1", "stopped"),
    ClusterState("cluster-1"),
    ClusterState("cluster-1", "stopped"),
    ClusterHealth("cluster-1", 3),
    ClusterUpdated("cluster-1"),
    ClusterUpdated("cluster-1", "service-1", 4),
    BlockReached(RpcSubject("node-1"), 7),
    BlockReached(SUBJECT, 7, 12),
    NodeSynced(SUBJECT, within_blocks=3),
    NodeSynced(SUBJECT, 3, 60.5),
    TransactionConfirmed(SUBJECT, HASH),
    TransactionConfirmed(SUBJECT, HASH, 12, 60.5),
    ConnectBlockReached("btc", 7),
    ConnectBlockReached("bch", 7, 12, "mainnet"),
    ConnectTransactionConfirmed("btc", "ab" * 32),
    ConnectTransactionConfirmed("btc", "ab" * 32, 12, 60.5, "regtest"),
    ConnectBalanceReached("btc", ADDRESS),
    ConnectBalanceReached("bch", ADDRESS, 5, 0, "mainnet"),
    ConnectPaymentSeen("btc", ADDRESS),
    ConnectPaymentSeen("bch", ADDRESS, 5, 0, "mainnet", 800_000),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.kind)
def test_a_condition_comes_back_as_it_was(condition: Condition) -> None:
    twin = condition_from_json(json.loads(json.dumps(condition_to_json(condition))))
    assert twin == condition
    assert type(twin) is type(condition)
    assert twin.target == condition.target
    assert hash(twin.target) == hash(condition.target)
    assert twin.interest == condition.interest == condition.interest_after(None)


def test_every_kind_is_tried_here() -> None:
    assert {condition.kind for condition in CONDITIONS} == set(serialization._KINDS)


def test_the_kinds_keep_their_names() -> None:
    # A trigger that waits during an upgrade has them in its kwargs.
    assert set(serialization._KINDS) == {
        "block_reached",
        "cluster_health",
        "cluster_state",
        "cluster_updated",
        "connect_balance_reached",
        "connect_block_reached",
        "connect_payment_seen",
        "connect_transaction_confirmed",
        "node_state",
        "node_synced",
        "transaction_confirmed",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": None},
        {"kind": "moon_is_full"},
        {"kind": "node_state"},
        {"kind": "node_state", "node_id": "node-1", "colour": "red"},
        {"kind": "node_state", "node_id": "node-1", "subject": {"node": "node-1"}},
        {"kind": "block_reached", "height": 7, "subject": {"node": "node-1", "colour": "red"}},
        {"kind": "block_reached", "height": 7, "subject": {}},
    ],
)
def test_one_of_another_version_is_told(fields: dict[str, object]) -> None:
    with pytest.raises(BloqConfigurationError, match="same version") as wrong:
        condition_from_json(fields)
    assert wrong.value.fields == ("condition",)


def test_reading_leaves_what_is_read_as_it_was() -> None:
    fields = condition_to_json(BlockReached(SUBJECT, 7))
    before = json.dumps(fields)
    condition_from_json(fields)
    assert json.dumps(fields) == before
