"""Tasks that try hard to say a secret aloud: what they print, return, render and raise must not hold one."""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.sdk import BaseHook, dag, task

from airflow_provider_bloq.operators.jsonrpc import BloqJsonRpcOperator
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator, BloqListNodesOperator


@dag(schedule=None, catchup=False)
def canaries() -> None:
    """Create a node with a password of its own, and print everything that code can lay hands on."""

    @task
    def pick_service() -> str:
        from airflow_provider_bloq.hooks.bloq import BloqHook

        return next(str(offer.id) for offer in BloqHook().nodes.services() if offer.chain == "eth")

    @task
    def talk(node: dict[str, Any]) -> Any:
        from airflow_provider_bloq.hooks.bloq import BloqHook

        # All that the provider and the HTTP libraries beneath it have to say, whatever level Airflow logs.
        for name in ("airflow_provider_bloq", "urllib3", "requests", "hvac"):
            logging.getLogger(name).setLevel(logging.DEBUG)
            logging.getLogger(name).addHandler(logging.StreamHandler(sys.stdout))
        hook = BloqHook()
        print("access-token", hook.get_access_token())
        print("settings", hook.settings)
        for name, value in BaseHook.get_connection("bloq_default").extra_dejson.items():
            print("extra", name, value)
        session = hook.get_conn()
        print("session", vars(session))
        print("sent", dict(session.get(f"{hook.settings.nodes_url}/services/nodes").request.headers))
        whole = hook.nodes.get(node["id"])
        assert whole.auth is not None
        assert whole.auth.password is not None
        print("node", whole)
        print("node-password", whole.auth.password.reveal())
        # A dataclass goes into XCom field by field.
        return whole.auth

    service_id: Any = pick_service()
    create = BloqCreateNodeOperator(task_id="create", service_id=service_id, auth_type="basic")
    node: Any = create.output
    call = BloqJsonRpcOperator(task_id="call", node=node, method="eth_blockNumber")
    create >> BloqListNodesOperator(task_id="list", include_stopped=True) >> call
    talk(node)


@dag(schedule=None, catchup=False)
def failing_canaries() -> None:
    """Raise errors out of the depth of the provider, where secrets are in the frames' variables."""

    @task
    def missing_node() -> None:
        from airflow_provider_bloq.hooks.bloq import BloqHook

        BloqHook().nodes.get("node-0")

    @task
    def refused_keys() -> None:
        from airflow_provider_bloq.hooks.bloq import BloqHook

        BloqHook("bloq_refused").nodes.list()

    BloqListNodesOperator(task_id="refused_operator", bloq_conn_id="bloq_refused")
    missing_node()
    refused_keys()


canaries()
failing_canaries()
