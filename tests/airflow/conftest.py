"""Real Airflow for the tests: DAGs run in this process, and one local Airflow for the whole session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.airflow import LocalAirflow
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack

EXAMPLES = Path(__file__).parents[2] / "example_dags"
CANARIES = Path(__file__).parent / "dags"

#: The examples that run in the local Airflow.
STANDALONE_EXAMPLES = ("bloq_quickstart", "bloq_block_events", "bloq_cluster_scaling")

#: A client secret that Bloq does not know, in the clear in a connection: it is refused, and must not show.
REFUSED_SECRET = "refused-canary-5b1f0c9a7d3e4286"

#: The file in Airflow's home to which OpenLineage adds each of its events as a line.
LINEAGE_EVENTS = "lineage.ndjson"


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

        bundles: Any = DagBundlesManager
        with create_session() as session:
            bundles().sync_bundles_to_db(session=session)
            session.flush()
            serialized = LazyDeserializedDAG.from_dag(dag)
            SerializedDAG.bulk_write_to_db("dags-folder", None, [serialized], session=session)
            session.flush()
            SerializedDagModel.write_dag(serialized, bundle_name="dags-folder", session=session)
        return dag.test(**arguments)

    return run


@pytest.fixture(scope="session")
def short_lived() -> Iterator[LocalStack]:
    """A stack whose access tokens live for seconds, so that every task of some length renews its own.

    Its clusters move to another service for as long as a test wants.
    """
    with LocalStack(LocalBloqOptions(access_token_seconds=3, update_seconds=None)) as running:
        yield running


@pytest.fixture(scope="session")
def watched_node(short_lived: LocalStack) -> str:
    """Id of a node of that stack, known before Airflow starts: what a DAG is scheduled by stands in its file."""
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in short_lived.connections().items():
            patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return BloqHook().nodes.create(short_lived.bloq.service_id("eth"), "basic").id


@pytest.fixture(scope="session")
def airflow(
    short_lived: LocalStack, watched_node: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """A local Airflow with the connections of that stack, some examples and the canary DAGs."""
    dags = tmp_path_factory.mktemp("dags")
    for path in (*(EXAMPLES / f"{name}.py" for name in STANDALONE_EXAMPLES), *CANARIES.glob("*.py")):
        shutil.copy(path, dags)
    connections = short_lived.connections()
    connections["bloq_default"]["extra"]["node_fingerprints"] = {
        watched_node: [short_lived.bloq.node_fingerprint(watched_node)]
    }
    refused = {
        **connections["bloq_default"],
        "login": short_lived.keys.client_id,
        "password": REFUSED_SECRET,
        "extra": {"environment": "local", "nodes_url": short_lived.bloq.nodes_url},
    }
    environment = {
        "BLOQ_EXAMPLE_NODE": watched_node,
        # A start of a task that the API answers late is tried again, and then refused since it has started.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": LINEAGE_EVENTS, "append": True}
        ),
    }
    with LocalAirflow(dags, environment=environment, start_timeout=600) as running:
        for conn_id, fields in {**connections, "bloq_refused": refused}.items():
            running.add_connection(conn_id, fields)
        yield running


@pytest.fixture(scope="session")
def refused_secret() -> str:
    return REFUSED_SECRET
