"""Conditions as JSON and back, for the kwargs of triggers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from airflow_provider_bloq.conditions.blocks import BlockReached
from airflow_provider_bloq.conditions.clusters import ClusterHealth, ClusterState, ClusterUpdated
from airflow_provider_bloq.conditions.condition import Condition
from airflow_provider_bloq.conditions.connect import ConnectBlockReached, ConnectTransactionConfirmed
from airflow_provider_bloq.conditions.nodes import NodeState
from airflow_provider_bloq.conditions.payments import ConnectBalanceReached, ConnectPaymentSeen
from airflow_provider_bloq.conditions.rpc_subject import RpcSubject
from airflow_provider_bloq.conditions.synced import NodeSynced
from airflow_provider_bloq.conditions.transactions import TransactionConfirmed
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["condition_from_json", "condition_to_json"]

_KINDS: dict[str, type[Condition]] = {
    kind.kind: kind
    for kind in (
        BlockReached,
        ClusterHealth,
        ClusterState,
        ClusterUpdated,
        ConnectBalanceReached,
        ConnectBlockReached,
        ConnectPaymentSeen,
        ConnectTransactionConfirmed,
        NodeState,
        NodeSynced,
        TransactionConfirmed,
    )
}


def condition_to_json(condition: Condition) -> dict[str, Any]:
    """Write a condition as a dict of JSON values."""
    return {"kind": condition.kind, **asdict(condition)}  # type: ignore[call-overload]


def condition_from_json(fields: dict[str, Any]) -> Condition:
    """Read a condition that :func:`condition_to_json` wrote.

    :raises BloqConfigurationError: This version of the provider knows no such condition.
    """
    values = dict(fields)
    kind = _KINDS.get(str(values.pop("kind", None)))
    # A TypeError: the fields are those of another version.
    with suppress(TypeError):
        if isinstance(values.get("subject"), dict):
            values["subject"] = RpcSubject(**values["subject"])
        if kind is not None:
            return kind(**values)
    raise BloqConfigurationError.of(
        "condition",
        f"{fields!r} is none that this version of the provider knows",
        "Let the triggerer and the workers have the same version; clear the task.",
    )
