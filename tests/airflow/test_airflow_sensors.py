"""Sensors in a real Airflow: in each mode in this process, and deferred in the real triggerer."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.leaks import leaks, written_by
from tests.support.looks import looks, once_looked

RunDag = Callable[..., Any]

#: How many tasks of the DAG ``waiting`` wait for the node.
WAITING = 5


@pytest.mark.parametrize(
    "mode",
    [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}],
    ids=["poke", "reschedule", "deferrable"],
)
def test_a_sensor_waits_in_each_mode(connections: LocalStack, run_dag: RunDag, mode: dict[str, Any]) -> None:
    from airflow.sdk import DAG

    hook = BloqHook()
    node = hook.nodes.create(connections.bloq.service_id("btc"))
    with DAG(f"wait_{'_'.join(map(str, mode.values()))}", schedule=None) as dag:
        EagerNodeSensor(task_id="wait", node=node.id, state="stopped", poke_interval=0.2, **mode)
    stopped = once_looked(connections.bloq, looks(connections.bloq) + 3, lambda: hook.nodes.delete(node.id))
    (task,) = run_dag(dag).get_task_instances()
    stopped.result()
    result = task.xcom_pull(task_ids="wait")
    assert (task.state, task.try_number) == ("success", 1)
    assert (result["id"], result["state"]) == (node.id, "stopped")
    assert kept_for(dag.dag_id) == []


def test_what_a_sensor_remembers_is_there_at_its_next_poke(connections: LocalStack, run_dag: RunDag) -> None:
    from airflow.sdk import DAG

    with DAG("remembering", schedule=None) as dag:
        RememberingSensor(task_id="wait", poke_interval=0, mode="reschedule")
    (task,) = run_dag(dag).get_task_instances()
    assert (task.state, task.xcom_pull(task_ids="wait")) == ("success", 3)
    assert kept_for("remembering") == []


@pytest.mark.parametrize(("soft", "state"), [(False, "failed"), (True, "skipped")])
def test_a_deferred_sensor_whose_time_is_up_is_not_tried_again(
    connections: LocalStack, run_dag: RunDag, state: str, *, soft: bool
) -> None:
    from airflow.sdk import DAG

    node = BloqHook().nodes.create(connections.bloq.service_id("btc"))
    try:
        with DAG(f"late_{state}", schedule=None) as dag:
            BloqNodeSensor(
                task_id="wait",
                node=node.id,
                state="stopped",
                deferrable=True,
                timeout=1,
                soft_fail=soft,
                retries=3,
                retry_delay=0,
            )
        (task,) = run_dag(dag).get_task_instances()
    finally:
        BloqHook().nodes.delete(node.id)
    assert (task.state, task.try_number) == (state, 1)


@pytest.fixture
def hook(short_lived: LocalStack, monkeypatch: pytest.MonkeyPatch) -> BloqHook:
    """A hook of this process for the account that the standalone Airflow uses."""
    shared_providers.forget()
    for conn_id, fields in short_lived.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    return BloqHook()


@pytest.mark.slow
@pytest.mark.anvil
def test_tasks_wait_together_in_the_triggerer_and_leave_no_secret_there(
    airflow: LocalAirflow, short_lived: LocalStack, hook: BloqHook
) -> None:
    bloq = short_lived.bloq
    node = hook.nodes.create(bloq.service_id("eth"), "basic")
    named = {**node.public(), "tls_fingerprint": bloq.node_fingerprint(node.id)}
    rpc = hook.rpc(named)
    height = int(rpc.call("eth_blockNumber"), 16) + 1
    run_id = airflow.trigger("waiting", {"node": named, "height": height})

    until(airflow, run_id, {"deferred": WAITING + 1})
    before, since = looks(bloq), time.monotonic()
    once_looked(bloq, before + 3).result()
    together, lasted = looks(bloq) - before, time.monotonic() - since
    # Each look begins a second, their interval, after the one before has ended.
    assert together <= lasted + 1
    stored = written_by(airflow)

    rpc.call("anvil_mine", ["0x1"])
    until(airflow, run_id, {"deferred": WAITING, "success": 1})
    hook.nodes.delete(node.id)
    assert airflow.wait("waiting", run_id) == "success"

    texts = {**written_of_waiting(written_by(airflow)), "table trigger": stored["table trigger"]}
    assert node.id.encode() in stored["table trigger"]
    assert any(name.startswith("logs/") for name in texts)
    assert leaks(secrets_of(node, short_lived), texts) == []


def until(airflow: LocalAirflow, run_id: str, wanted: dict[str, int]) -> None:
    """Wait until so many tasks of the run are in these states."""
    pause = threading.Event()
    while True:
        tasks = airflow.tasks("waiting", run_id)
        states = Counter(str(task["state"]) for task in tasks)
        if states == wanted:
            return
        assert not states.keys() & {"failed", "up_for_retry", "skipped"}, states
        pause.wait(0.25)


def written_of_waiting(written: dict[str, bytes]) -> dict[str, bytes]:
    """Choose what is of this test: others print secrets on purpose."""
    tables = (
        "table task_instance",
        "table xcom",
        "table rendered_task_instance_fields",
        "table task_state_store",
    )
    return {
        name: text
        for name, text in written.items()
        if name in tables or (name.startswith("logs/") and "dag_id=waiting" in name)
    }


def secrets_of(node: Any, stack: LocalStack) -> dict[str, str]:
    user, password = node.auth.user.reveal(), node.auth.password.reveal()
    return {
        "the client secret": stack.keys.client_secret,
        "the secret id of the Vault role": stack.connections()["vault_bloq"]["password"],
        "the node's user": user,
        "the node's password": password,
        "the node's Basic header": b64encode(f"{user}:{password}".encode()).decode(),
    }


def kept_for(dag_id: str) -> list[Any]:
    """Return what is left in the task state store."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    with create_session() as session:
        rows = session.execute(text("SELECT key FROM task_state_store WHERE dag_id = :dag"), {"dag": dag_id})
        return list(rows)


class EagerNodeSensor(BloqNodeSensor):
    """Looks again as soon as it is told to, since there is no scheduler that could mistake it."""

    min_reschedule_interval = 0.0


class RememberingSensor(BloqSensor):
    """Waits for its third look."""

    min_reschedule_interval = 0.0

    def condition(self) -> Any:
        from tests.airflow.third_look import ThirdLook

        return ThirdLook()
