"""What each sensor waits for, by its arguments, and that Airflow can render, store and map them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_bloq.arguments import number_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.retries import DEFAULT_POLICY
from airflow_provider_bloq.polling.serialization import condition_from_json, condition_to_json
from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.sensors.chains import BloqBlockSensor, BloqTransactionSensor
from airflow_provider_bloq.sensors.connect import BloqConnectTransactionSensor
from airflow_provider_bloq.sensors.nodes import BloqClusterSensor, BloqNodeSensor, BloqNodeSyncedSensor

pytestmark = pytest.mark.logic

PIN = "ab" * 32
HASH = "0x" + "5c" * 32
#: As the create operator returns it.
NODE = {"id": "node-1", "chain": "eth", "network": "mainnet", "tls_fingerprint": PIN}
SUBJECT = {"node": "node-1", "tls_fingerprint": PIN, "port": None, "path": None, "family": "evm"}

Make = Callable[..., BloqSensor]


def condition_of(make: Make, **arguments: Any) -> dict[str, Any]:
    """Return the condition of a sensor as JSON, as it is after having been stored."""
    condition = make(task_id="wait", **arguments).condition()
    assert condition_from_json(condition_to_json(condition)) == condition
    return condition_to_json(condition)


def test_the_arguments_name_the_condition() -> None:
    for make, arguments, condition in [
        (BloqNodeSensor, {"node": "node-1"}, {"kind": "node_state", "node_id": "node-1", "state": "started"}),
        (
            BloqNodeSensor,
            {"node": NODE, "state": "stopped"},
            {"kind": "node_state", "node_id": "node-1", "state": "stopped"},
        ),
        (
            BloqNodeSyncedSensor,
            {"node": NODE, "within_blocks": 2},
            {"kind": "node_synced", "subject": SUBJECT, "within_blocks": 2, "within_seconds": None},
        ),
        (
            BloqNodeSyncedSensor,
            {"node": NODE, "within_seconds": "90.5"},
            {"kind": "node_synced", "subject": SUBJECT, "within_blocks": None, "within_seconds": 90.5},
        ),
        (
            BloqBlockSensor,
            {"node": NODE, "height": "0x10", "confirmations": "3"},
            {"kind": "block_reached", "subject": SUBJECT, "height": 16, "confirmations": 3},
        ),
        (
            BloqNodeSyncedSensor,
            {"node": NODE, "within_seconds": timedelta(minutes=2)},
            {"kind": "node_synced", "subject": SUBJECT, "within_blocks": None, "within_seconds": 120.0},
        ),
        (
            BloqBlockSensor,
            {
                "node": "node-1",
                "height": 16,
                "tls_fingerprint": PIN,
                "port": "8546",
                "path": "/rpc",
                "family": "evm",
            },
            {
                "kind": "block_reached",
                "subject": {**SUBJECT, "port": 8546, "path": "/rpc"},
                "height": 16,
                "confirmations": 1,
            },
        ),
        (
            BloqTransactionSensor,
            {"node": NODE, "tx_hash": HASH, "confirmations": 12, "unseen_for": 60},
            {
                "kind": "transaction_confirmed",
                "subject": SUBJECT,
                "tx_hash": HASH,
                "confirmations": 12,
                "unseen_for": 60,
            },
        ),
        *(
            (
                BloqTransactionSensor,
                {"node": NODE, "tx_hash": given, "unseen_for": duration},
                {
                    "kind": "transaction_confirmed",
                    "subject": SUBJECT,
                    "tx_hash": HASH,
                    "confirmations": 1,
                    "unseen_for": 60.0,
                },
            )
            # As templates make them: texts, and, of DAGs that render them as native objects, numbers.
            for given, duration in [(HASH, "60"), (int(HASH, 16), timedelta(minutes=1))]
        ),
        (
            BloqClusterSensor,
            {"cluster": {"id": "cluster-1"}},
            {"kind": "cluster_state", "cluster_id": "cluster-1", "state": "started"},
        ),
        (
            BloqClusterSensor,
            {"cluster": "cluster-1", "state": "stopped"},
            {"kind": "cluster_state", "cluster_id": "cluster-1", "state": "stopped"},
        ),
        (
            BloqClusterSensor,
            {"cluster": "cluster-1", "at_least": "2"},
            {"kind": "cluster_health", "cluster_id": "cluster-1", "at_least": 2},
        ),
        (
            BloqClusterSensor,
            {"cluster": "cluster-1", "updated": True},
            {"kind": "cluster_updated", "cluster_id": "cluster-1", "service_id": None, "capacity": None},
        ),
        (
            BloqClusterSensor,
            {"cluster": "cluster-1", "service_id": "service-2", "capacity": "4"},
            {"kind": "cluster_updated", "cluster_id": "cluster-1", "service_id": "service-2", "capacity": 4},
        ),
    ]:
        assert condition_of(make, **arguments) == condition


def test_arguments_that_name_nothing_are_refused_by_their_names() -> None:
    for make, arguments, field in [
        (BloqNodeSensor, {"node": ""}, "node"),
        (BloqNodeSensor, {"node": "{'id': 'node-1'}"}, "node"),
        (BloqNodeSyncedSensor, {"node": NODE}, "within_blocks"),
        (BloqNodeSyncedSensor, {"node": "https://node.example", "within_blocks": 1}, "family"),
        (BloqBlockSensor, {"node": NODE, "height": "latest"}, "height"),
        (BloqBlockSensor, {"node": NODE, "height": 1, "confirmations": 0}, "confirmations"),
        (BloqTransactionSensor, {"node": NODE, "tx_hash": "0x12"}, "tx_hash"),
        (BloqTransactionSensor, {"node": NODE, "tx_hash": HASH, "unseen_for": "soon"}, "unseen_for"),
        (BloqNodeSyncedSensor, {"node": NODE, "within_seconds": "soon"}, "within_seconds"),
        (BloqNodeSyncedSensor, {"node": NODE, "within_seconds": timedelta()}, "within_seconds"),
        (BloqClusterSensor, {"cluster": {"name": "mine"}}, "cluster"),
        (BloqClusterSensor, {"cluster": "{'id': 'cluster-1'}"}, "cluster"),
        (BloqClusterSensor, {"cluster": "cluster-1", "state": "started", "at_least": 1}, "state"),
        (BloqClusterSensor, {"cluster": "cluster-1", "at_least": 1, "capacity": 4}, "state"),
    ]:
        with pytest.raises(BloqConfigurationError) as wrong:
            condition_of(make, **arguments)
        assert wrong.value.fields == (field,)


def test_failures_that_cannot_be_counted_are_refused_when_the_dag_is_parsed() -> None:
    for value in ["x", "-1", -1, 1.5, True, None]:
        with pytest.raises(BloqConfigurationError) as wrong:
            BloqNodeSensor(task_id="wait", node="node-1", max_consecutive_failures=value)
        assert wrong.value.fields == ("max_consecutive_failures",)


def test_failures_may_be_counted_by_a_text() -> None:
    for value in [3, "3"]:
        sensor = BloqNodeSensor(task_id="wait", node="node-1", max_consecutive_failures=value)
        assert sensor.max_consecutive_failures == 3


def test_numbers_are_what_templates_made_texts_of() -> None:
    for text, number in [
        ("12", 12),
        (" 0x1F ", 31),
        ("1.5", 1.5),
        (12, 12),
        (1.5, 1.5),
        (None, None),
        ("ten", "ten"),
        ("", ""),
        ("0x", "0x"),
    ]:
        assert number_of(text) == number
        assert type(number_of(text)) is type(number)


SENSORS: list[tuple[Make, dict[str, Any]]] = [
    (BloqNodeSensor, {"node": "{{ x }}", "state": "{{ x }}"}),
    (
        BloqNodeSyncedSensor,
        {"node": {"id": "{{ x }}"}, "within_blocks": "{{ x }}", "within_seconds": "{{ x }}"},
    ),
    (
        BloqBlockSensor,
        {
            "node": "{{ x }}",
            "height": "{{ x }}",
            "confirmations": "{{ x }}",
            "tls_fingerprint": "{{ x }}",
            "port": "{{ x }}",
            "path": "{{ x }}",
            "family": "{{ x }}",
        },
    ),
    (
        BloqTransactionSensor,
        {"node": "{{ x }}", "tx_hash": "{{ x }}", "confirmations": "{{ x }}", "unseen_for": "{{ x }}"},
    ),
    (
        BloqConnectTransactionSensor,
        {"chain": "{{ x }}", "network": "{{ x }}", "txid": "{{ x }}", "unseen_for": "{{ x }}"},
    ),
    (
        BloqClusterSensor,
        {
            "cluster": "{{ x }}",
            "state": "{{ x }}",
            "at_least": "{{ x }}",
            "service_id": "{{ x }}",
            "capacity": "{{ x }}",
        },
    ),
]


def test_what_it_waits_for_may_be_a_template() -> None:
    for make, arguments in SENSORS:
        sensor = make(task_id="wait", bloq_conn_id="{{ x }}", **arguments)
        context: Any = {"x": "rendered"}
        sensor.render_template_fields(context)
        for name in ("bloq_conn_id", *arguments):
            value = getattr(sensor, name)
            assert (value["id"] if isinstance(value, dict) else value) == "rendered", name


def test_a_dag_with_a_duration_in_it_can_be_stored() -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("durations", schedule=None) as dag:
        BloqTransactionSensor(task_id="wait", node=NODE, tx_hash=HASH, unseen_for=timedelta(hours=1))
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).has_task("wait")


def test_it_has_the_retry_policy_of_the_provider_unless_told_otherwise() -> None:
    for make, arguments in SENSORS:
        assert make(task_id="wait", **arguments).retry_policy == DEFAULT_POLICY
        assert make(task_id="wait", retry_policy=None, **arguments).retry_policy is None


def test_a_dag_with_it_can_be_stored_and_it_can_be_mapped() -> None:
    for make, arguments in SENSORS:
        from airflow.sdk import DAG
        from airflow.serialization.serialized_objects import DagSerialization

        with DAG("sensors", schedule=None) as dag:
            make(task_id="wait", mode="reschedule", **arguments)
            first = next(iter(arguments))
            rest = {name: value for name, value in arguments.items() if name != first}
            make.partial(task_id="mapped", **rest).expand(**{first: ["one", "two"]})  # type: ignore[attr-defined]
        stored: Any = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("wait")
        assert (stored.task_type, stored.reschedule) == (make.__name__, True)
