"""An account at a service where things take long to start, and tasks that create nodes or clusters in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from airflow.sdk import DAG

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.operators.clusters import BloqCreateClusterOperator
from airflow_provider_bloq.operators.nodes import BloqCreateNodeOperator
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.hooks.conftest import Connect, new_keys
from tests.operators.lives import FakeRun, TaskLife

__all__ = ["Account", "Kind", "account", "nodes", "running_slow_service", "slow_service"]

Kind = Literal["nodes", "clusters"]


@dataclass(frozen=True)
class Account:
    """The account of ``bloq_default``.

    :param bloq: Its service.
    :param kind: What is created in it.
    """

    bloq: LocalBloq
    kind: Kind

    @property
    def api(self) -> Any:
        """The blocking client of a process of its own."""
        return getattr(BloqHook(), self.kind)

    @property
    def service_id(self) -> str:
        if self.kind == "nodes":
            return self.bloq.service_id("btc")
        return self.bloq.service_id("eth", kind="cluster")

    def task(
        self, run: FakeRun | None = None, *, map_index: int = -1, has_store: bool = True, **options: Any
    ) -> TaskLife:
        """Make a task that creates; whatever it waits for is there after the first pause."""
        operator = BloqCreateNodeOperator if self.kind == "nodes" else BloqCreateClusterOperator
        arguments = {"task_id": "create", "service_id": self.service_id, "exclusive_creates": True, **options}

        def make() -> Any:
            with DAG("a_dag", schedule=None):
                return operator(**arguments)

        task = TaskLife(make, run or FakeRun(), map_index=map_index, has_store=has_store)
        task.time.in_pauses = self.bloq.finish_provisioning
        return task

    def listed(self) -> dict[str, str]:
        """Return the states of all by their ids."""
        return {machine.id: machine.state for machine in self.api.list()}

    def posts(self) -> int:
        """Count the creates that have arrived."""
        return self.bloq.counters().calls.get(f"nodes POST /users/me/{self.kind}", 0)

    def by_somebody_else(self, auth_type: str = "jwt") -> str:
        """Create one beside the tasks, and return its id."""
        return str(self.api.create(self.service_id, auth_type).id)


@pytest.fixture(scope="session")
def running_slow_service() -> Iterator[LocalBloq]:
    """One service at which everything takes an hour to start, unless it is told to be ready."""
    options = LocalBloqOptions(upstreams={}, provision_seconds=3600.0, update_seconds=None, node_quota=None)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def slow_service(running_slow_service: LocalBloq, connect: Connect) -> Iterator[LocalBloq]:
    """That service, where ``bloq_default`` is a new account."""
    running_slow_service.reset_counters()
    connect(running_slow_service.accounts_url, running_slow_service.nodes_url, new_keys(running_slow_service))
    yield running_slow_service
    running_slow_service.clear_faults()


@pytest.fixture(params=["nodes", "clusters"])
def account(slow_service: LocalBloq, request: pytest.FixtureRequest) -> Account:
    """That account, once with nodes and once with clusters."""
    return Account(slow_service, request.param)


@pytest.fixture
def nodes(slow_service: LocalBloq) -> Account:
    """That account, with nodes only, for what has many cases."""
    return Account(slow_service, "nodes")
