"""Every example DAG runs against the local Bloq service, with its client keys in a real Vault."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.stack import LocalStack
from tests.accounts.team import teams

EXAMPLES = Path(__file__).parents[2] / "example_dags"
#: What the local anvil chain says of itself.
CHAIN_ID = 31337

RunDag = Callable[..., Any]


@pytest.fixture
def run_example(connections: LocalStack, run_dag: RunDag) -> Callable[..., dict[str, Any]]:
    """Run an example by its name; returns the result of each task, all of which succeeded."""

    def run(name: str, **conf: Any) -> dict[str, Any]:
        dag_run = run_dag(runpy.run_path(str(EXAMPLES / f"{name}.py"))[name](), run_conf=conf)
        tasks = dag_run.get_task_instances()
        assert {task.task_id: task.state for task in tasks} == {task.task_id: "success" for task in tasks}
        return {task.task_id: task.xcom_pull(task_ids=task.task_id) for task in tasks}

    return run


@pytest.fixture
def node(connections: LocalStack, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A node whose certificate the connection pins, for examples that are given no more than its id."""
    made = BloqHook().nodes.create(connections.bloq.service_id("eth"))
    pinned = connections.connections()["bloq_default"]
    pinned["extra"]["node_fingerprints"] = {made.id: [connections.bloq.node_fingerprint(made.id)]}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(pinned))
    return made.public()


@pytest.fixture
def mining(connections: LocalStack) -> Iterator[None]:
    """Have a block come every now and then on the chain of every node, as on a real one."""
    hook, over = BloqHook(), threading.Event()

    def mine() -> None:
        while not over.wait(0.2):
            for made in hook.nodes.list():
                if made.state == "started" and made.chain == "eth":
                    with suppress(BloqError, LookupError):
                        pin = connections.bloq.node_fingerprint(made.id)
                        hook.rpc(made, tls_fingerprint=pin).call("evm_mine")

    miner = threading.Thread(target=mine)
    miner.start()
    yield
    over.set()
    miner.join()


#: Examples that only a whole Airflow can run, and where that is done.
ELSEWHERE = {
    "bloq_address_alert": "test_airflow_connect_examples.py",
    "bloq_block_events": "test_airflow_example_runs.py",
    "bloq_cluster_scaling": "test_airflow_example_runs.py",
    "bloq_fee_monitor": "test_airflow_connect_examples.py",
    "bloq_payments_per_hour": "test_airflow_connect_tables.py",
    "bloq_token_broker": "test_airflow_broker.py",
    "bloq_notify": "test_airflow_notify.py",
}


def test_each_example_has_a_test_here_or_where_it_is_said() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_bloq_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | ELSEWHERE.keys()
    for name, file in ELSEWHERE.items():
        assert name in (Path(__file__).parent / file).read_text()


@pytest.mark.anvil
def test_bloq_quickstart(run_example: Callable[..., dict[str, Any]], connections: LocalStack) -> None:
    results = run_example("bloq_quickstart", calls=2, pause=0)
    node = results["create_node"]
    assert len(node["tls_fingerprint"].replace(":", "")) == 64
    assert (node["chain"], node["auth"]) == ("eth", {"type": "jwt"})
    chain_id, balance = results["read_balances"]
    assert int(chain_id, 16) == CHAIN_ID
    assert int(balance, 16) >= 0
    assert len(results["watch_head"]) == 2
    assert connections.bloq.counters().rpc_calls[node["id"]]["eth_blockNumber"] == 2
    assert state_of(node["id"]) == "stopped"


@pytest.mark.anvil
def test_bloq_web3(run_example: Callable[..., dict[str, Any]]) -> None:
    results = run_example("bloq_web3")
    assert results["read_chain"]["chain"] == CHAIN_ID
    assert state_of(results["create_node"]["id"]) == "stopped"


def test_bloq_http_operator(run_example: Callable[..., dict[str, Any]]) -> None:
    results = run_example("bloq_http_operator")
    assert {"btc", "eth"} <= set(results["list_services"])
    assert results["list_nodes"] == [node.id for node in BloqHook().nodes.list()]


def test_bloq_async_task(run_example: Callable[..., dict[str, Any]]) -> None:
    stock = run_example("bloq_async_task")["take_stock"]
    assert {"btc", "eth"} <= set(stock["chains"])
    assert stock["nodes"] == len(BloqHook().nodes.list())
    assert stock["clusters"] == 0


def test_bloq_rotate_client_keys(
    connections: LocalStack, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = teams(connections.bloq, connections.vault, monkeypatch)
    team = next(making)(account_path="bloq/account")
    worker, account = team.connections().values()
    bloq = connections.connections()["bloq_default"]
    bloq["extra"] |= {"vault_path": team.desk.path}
    for conn_id, fields in (("bloq_default", bloq), ("vault_bloq", worker), ("vault_bloq_account", account)):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    dag = runpy.run_path(str(EXAMPLES / "bloq_rotate_client_keys.py"))["bloq_rotate_client_keys"]()
    # The example waits for hours, which is all that is changed here.
    dag.get_task("rotate").grace = timedelta(seconds=1)

    (task,) = run_dag(dag).get_task_instances()

    assert task.state == "success"
    assert task.xcom_pull(task_ids="rotate")["old_client_id"] == team.keys.client_id
    team.check()
    next(making, None)


@pytest.mark.anvil
def test_bloq_provision(run_example: Callable[..., dict[str, Any]], mining: None) -> None:
    results = run_example("bloq_provision")
    assert int(results["read_block"]["number"], 16) >= 0
    assert results["wait_for_chain"]["head"]["height"] > 0
    assert state_of(results["create_node"]["id"]) == "stopped"


@pytest.mark.anvil
def test_bloq_fan_out(run_example: Callable[..., dict[str, Any]], node: dict[str, Any]) -> None:
    rpc = BloqHook().rpc(node)
    rich = rpc.call("eth_accounts")
    addresses = [*rich, *(f"0x{number:040x}" for number in range(1000, 1010))]
    results = run_example("bloq_fan_out", node=node["id"], addresses=addresses, share=6)
    balances = rpc.batch([["eth_getBalance", [address, "latest"]] for address in addresses])
    assert int(results["total"]) == sum(int(balance, 16) for balance in balances) > 0


@pytest.mark.anvil
def test_bloq_confirmations(run_example: Callable[..., dict[str, Any]], node: dict[str, Any]) -> None:
    rpc = BloqHook().rpc(node)
    sender, receiver, *_ = rpc.call("eth_accounts")
    sent = rpc.call("eth_sendTransaction", [{"from": sender, "to": receiver, "value": "0x1"}])
    rpc.call("anvil_mine", ["0x3"])
    results = run_example("bloq_confirmations", node=node["id"], tx_hash=sent, confirmations=3)
    assert results["wait_for_transaction"]["tx_hash"] == sent
    assert results["wait_for_transaction"]["confirmations"] >= 3
    assert int(results["cost"]) >= 21_000


def state_of(node_id: str) -> str:
    return BloqHook().nodes.get(node_id).state
