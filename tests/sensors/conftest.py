"""What the tests of the sensors share: services, a connection to each, and a task's context without Airflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.hooks.conftest import connect, connected_chains
from tests.triggers.conftest import node_id, provisioning, running_provisioning, shared_keys

__all__ = [
    "connect",
    "connected_chains",
    "node_id",
    "provisioning",
    "running_provisioning",
    "shared_keys",
]


@dataclass
class TaskInstance:
    """As much of a task instance as a sensor asks for."""

    try_number: int = 1
    first_reschedule_date: datetime | None = None

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first_reschedule_date


@dataclass
class Store:
    """A task state store in memory."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


def context_of(store: Store | None = None, try_number: int = 1) -> dict[str, Any]:
    """Make the context of a task; without a store as Airflow 3.1 and 3.2 do."""
    context: dict[str, Any] = {"ti": TaskInstance(try_number)}
    return context if store is None else {**context, "task_state_store": store}


@pytest.fixture
def store() -> Store:
    return Store()
