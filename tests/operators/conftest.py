"""What all tests of operators share: the connection, and what an operator is run with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.clients.scripted_node import NOWHERE, answering_by
from tests.hooks.conftest import Connect, connect, connected_chains, keys, no_tokens_of_others, serve
from tests.operators.creates import account, nodes, running_slow_service, slow_service
from tests.support.raw_server import RawServer, Serve

__all__ = [
    "account",
    "connect",
    "connected_chains",
    "keys",
    "no_tokens_of_others",
    "nodes",
    "running_slow_service",
    "serve",
    "slow_service",
]

#: Starts a node that answers by a function of the parsed body; it is called by its URL.
ServeNode = Callable[..., RawServer]


@pytest.fixture
def serve_node(serve: Serve, connect: Connect) -> ServeNode:
    """Start nodes by script; ``bloq_default`` leads to no service, since a URL needs none."""
    connect(NOWHERE, NOWHERE)
    return lambda answer, status=200: serve(answering_by(answer, status))


@pytest.fixture
def context() -> dict[str, Any]:
    """As much of a task's context as operators look at."""
    return context_of()


def context_of(map_index: int = -1) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="a_task", map_index=map_index)
    return {"ti": ti}
