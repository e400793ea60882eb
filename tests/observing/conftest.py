"""What the tests of logs, metrics and spans share: a stack with a real Vault, and connections to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack

#: Gives the connections of the stack, with extras changed, as environment variables.
Settings = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def running_stack() -> Iterator[LocalStack]:
    with LocalStack(LocalBloqOptions(upstreams={})) as running:
        yield running


@pytest.fixture
def stack(running_stack: LocalStack) -> Iterator[LocalStack]:
    shared_providers.forget()
    yield running_stack
    running_stack.bloq.clear_faults()
    shared_providers.forget()


@pytest.fixture
def settings(stack: LocalStack) -> Settings:
    def of(extra: dict[str, Any] | None = None, vault: dict[str, Any] | None = None) -> dict[str, str]:
        connections = stack.connections()
        connections["bloq_default"]["extra"] |= extra or {}
        connections["vault_bloq"] |= vault or {}
        return {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(fields) for conn_id, fields in connections.items()
        }

    return of


@pytest.fixture
def connected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connections in this process."""

    def define(**changed: Any) -> None:
        for name, value in settings(**changed).items():
            monkeypatch.setenv(name, value)

    define()
    return define
