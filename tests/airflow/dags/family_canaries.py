"""The whole family at work with passwords, tokens and keys: none of them may be found in what Airflow writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_bloq.operators.client_keys import BloqTokenBrokerOperator
from airflow_provider_bloq.operators.clusters import (
    BloqAbortClusterUpdateOperator,
    BloqCreateClusterOperator,
    BloqDeleteClusterOperator,
    BloqGetClusterOperator,
    BloqListClustersOperator,
    BloqUpdateClusterOperator,
)
from airflow_provider_bloq.operators.connect import BloqConnectOperator
from airflow_provider_bloq.operators.jsonrpc import BloqFanOutOperator, BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import (
    BloqCreateNodeOperator,
    BloqDeleteNodeOperator,
    BloqGetNodeOperator,
    BloqNodeLogsOperator,
)
from airflow_provider_bloq.sensors.chains import BloqBlockSensor, BloqTransactionSensor
from airflow_provider_bloq.sensors.nodes import BloqClusterSensor, BloqNodeSensor, BloqNodeSyncedSensor

#: Of a node with a password, as ``BloqCreateNodeOperator`` returns it; and ids, heights and hashes.
NODE, DOOMED, CLUSTER = (f"{{{{ dag_run.conf['{name}'] }}}}" for name in ("node", "doomed", "cluster"))
HEIGHT, NEXT_SERVICE = (f"{{{{ dag_run.conf['{name}'] }}}}" for name in ("height", "next_service"))
# In quotes, since of a bare hash a native template makes a number.
TX_HASH, UNSEEN = "'{{ dag_run.conf['tx_hash'] }}'", f"'0x{'ab' * 32}'"
FOLDER = "{{ dag_run.conf['folder'] }}/"
DEFERRED: dict[str, Any] = {"deferrable": True, "poke_interval": 1}
# It is raised to what Airflow's scheduler needs.
RESCHEDULED: dict[str, Any] = {"mode": "reschedule", "poke_interval": 1}
#: Of a service whose nodes start only when the test has them start; its token is shared by Vault.
ENDLESS: dict[str, Any] = {
    "bloq_conn_id": "canary_member",
    "service_id": "{{ dag_run.conf['endless_service'] }}",
    "deferrable": True,
    "poll_interval": 1,
}
ONE_RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(0), "retry_policy": None}
#: Should the scheduler hear late of the end of a process whose task goes on elsewhere, it fails the task.
FORGIVING: dict[str, Any] = {"retries": 4, "retry_delay": timedelta(0)}


@dag(schedule=None, catchup=False, render_template_as_native_obj=True, default_args=FORGIVING)
def family_canaries() -> None:
    """Create, read, call and delete what has a password of its own."""
    node: Any = BloqCreateNodeOperator(
        task_id="create_node", service_id="{{ dag_run.conf['node_service'] }}", auth_type="basic"
    )
    (
        node
        >> BloqGetNodeOperator(task_id="get_node", node=node.output)
        >> BloqNodeLogsOperator(task_id="node_logs", node=node.output, lines=5)
        >> BloqDeleteNodeOperator(task_id="delete_node", node=node.output)
    )
    cluster: Any = BloqCreateClusterOperator(
        task_id="create_cluster", service_id="{{ dag_run.conf['cluster_service'] }}", auth_type="basic"
    )
    (
        cluster
        >> BloqGetClusterOperator(task_id="get_cluster", cluster=cluster.output)
        >> BloqListClustersOperator(task_id="list_clusters", include_stopped=True)
        >> BloqAbortClusterUpdateOperator(task_id="abort_update", cluster=cluster.output)
        >> BloqDeleteClusterOperator(task_id="delete_cluster", cluster=cluster.output)
    )
    BloqJsonRpcOperator(
        task_id="batch_to_file",
        node=NODE,
        batch=["eth_chainId", "eth_blockNumber"],
        result_limit=0,
        result_path=FOLDER,
    )
    BloqFanOutOperator(
        task_id="many_to_file",
        node=NODE,
        calls=["eth_chainId", "eth_noSuchMethod"] * 20,
        batch_size=7,
        on_error="list",
        result_limit=0,
        result_path=FOLDER,
    )
    BloqNodeSyncedSensor(task_id="synced", node=NODE, within_blocks=0, **DEFERRED)
    broker: Any = BloqTokenBrokerOperator(task_id="keep_fresh", bloq_conn_id="canary_member")

    @task.bloq
    def talk(bloq: Any, node: Any) -> Any:
        whole = bloq.nodes.get(node["id"])
        print("handed over", bloq, vars(bloq), whole)
        print("node-password", whole.auth.password.reveal())
        return [bloq.rpc(node).call("eth_chainId"), whole.auth]

    @task.bloq
    async def talk_async(bloq: Any, node: Any) -> Any:
        whole = await bloq.nodes.get(node["id"])
        print("handed over", bloq, vars(bloq), whole)
        print("async-token", await bloq.get_access_token())
        print("node-password", whole.auth.password.reveal())
        return [await bloq.rpc(node).call("eth_chainId"), whole.auth]

    @task.bloq(bloq_conn_id="canary_reader")
    def read_shared(bloq: Any) -> list[str]:
        print("shared-token", bloq.get_access_token())
        return [node.id for node in bloq.nodes.list()]

    # The path key of one chain lies in Vault, that of the other in the connection.
    @task.bloq(bloq_conn_id="canary_member")
    def talk_to_connect(bloq: Any) -> Any:
        print("path-key", bloq.settings.connect_api_keys["etc"].reveal())
        clients = [bloq.connect_rpc(chain) for chain in ("eth", "etc")]
        ids = [client.call("eth_chainId") for client in clients]
        print("used", bloq.settings, *map(vars, clients))
        return ids

    @task.bloq(bloq_conn_id="canary_member")
    async def talk_to_connect_async(bloq: Any) -> Any:
        clients = [bloq.connect_rpc(chain) for chain in ("eth", "etc")]
        ids = [await client.call("eth_chainId") for client in clients]
        print("used", *map(vars, clients))
        return ids

    # That Airflow hands over the hook is nothing that the types of its decorators know.
    of_node: tuple[Any, ...] = talk, talk_async
    of_fleet: tuple[Any, ...] = read_shared, talk_to_connect, talk_to_connect_async
    for function in of_node:
        function(NODE)
    for function in of_fleet:
        broker >> function()


@dag(schedule=None, catchup=False, render_template_as_native_obj=True, default_args=FORGIVING)
def waiting_canaries() -> None:
    """Wait in the triggerer, and between two looks, for what has a password of its own."""
    BloqUpdateClusterOperator(
        task_id="update_cluster",
        cluster=CLUSTER,
        service_id=NEXT_SERVICE,
        deferrable=True,
        poll_interval=1,
        cancel_on_kill=True,
    )
    BloqClusterSensor(task_id="cluster_updated", cluster=CLUSTER, service_id=NEXT_SERVICE, **DEFERRED)
    BloqNodeSensor(task_id="node_stopped", node=DOOMED, state="stopped", **DEFERRED)
    BloqNodeSensor(task_id="node_looked_at", node=DOOMED, state="stopped", **RESCHEDULED)
    BloqBlockSensor(task_id="block", node=NODE, height=HEIGHT, **DEFERRED)
    BloqBlockSensor(task_id="block_looked_at", node=NODE, height=HEIGHT, **RESCHEDULED)
    BloqTransactionSensor(task_id="transaction", node=NODE, tx_hash=TX_HASH, confirmations=2, **DEFERRED)
    BloqCreateNodeOperator(task_id="create", auth_type="basic", **ENDLESS)


@dag(schedule=None, catchup=False, render_template_as_native_obj=True)
def failing_family() -> None:
    """Fail on the worker, in the triggerer, between tries, and by being killed."""
    BloqJsonRpcOperator(task_id="rpc_error", node=NODE, method="eth_noSuchMethod", **ONE_RETRY)
    BloqFanOutOperator(task_id="many_errors", node=NODE, calls=["eth_noSuchMethod"] * 3, **ONE_RETRY)
    BloqNodeSensor(task_id="refused", node=DOOMED, bloq_conn_id="bloq_refused", **DEFERRED)
    BloqTokenBrokerOperator(task_id="nothing_shared")
    BloqConnectOperator(task_id="no_chain", chain="btc", endpoint="sync", bloq_conn_id="canary_member")
    # Their triggers have bad news: the node is stopped meanwhile, the transaction is never seen, nothing starts.
    BloqNodeSensor(task_id="wrong_state", node=DOOMED, state="unheard-of", **DEFERRED)
    BloqTransactionSensor(task_id="dropped", node=NODE, tx_hash=UNSEEN, unseen_for=5, **DEFERRED, **ONE_RETRY)
    BloqCreateNodeOperator(task_id="late", timeout=5, **ENDLESS, **ONE_RETRY)
    BloqCreateNodeOperator(task_id="killed", cancel_on_kill=True, **ENDLESS)

    @task.bloq(bloq_conn_id="canary_member")
    def path_refused(bloq: Any) -> None:
        bloq.connect_rpc("kotti").call("eth_chainId")

    refused: Any = path_refused
    refused()


family_canaries()
waiting_canaries()
failing_family()
