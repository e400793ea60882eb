"""DAGs run in this process against a real Vault and a real local Bloq service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.testing.stack import LocalStack


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


@pytest.fixture
def connections(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """Give Airflow the connections of the stack, and let the process forget what it knew."""
    shared_providers.forget()
    for conn_id, fields in stack.connections().items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    http = {"conn_type": "http", "host": stack.bloq.nodes_url, "login": "bloq_default"}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_NODES", json.dumps(http))
    return stack


@pytest.fixture(scope="session")
def airflow_db() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., Any]:
    """Run a DAG to its end in this process."""

    def run(dag: Any, **arguments: Any) -> Any:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.serialization.definitions.dag import SerializedDAG
        from airflow.serialization.serialized_objects import LazyDeserializedDAG
        from airflow.utils.session import create_session

        with create_session() as session:
            DagBundlesManager().sync_bundles_to_db(session=session)
            session.flush()
            serialized = LazyDeserializedDAG.from_dag(dag)
            SerializedDAG.bulk_write_to_db("dags-folder", None, [serialized], session=session)
            session.flush()
            SerializedDagModel.write_dag(serialized, bundle_name="dags-folder", session=session)
        return dag.test(**arguments)

    return run
