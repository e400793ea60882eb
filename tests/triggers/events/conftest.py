"""What the tests of event triggers share: a chain that does as told, behind a node, and a model of the triggerer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.conditions.evm_chain import EvmChain
from tests.hooks.conftest import Connect, new_keys
from tests.support.shared_chain import SharedChain
from tests.triggers.events.triggerer_model import Database, TriggererModel

#: The fixture that begins the next life of the triggerer.
Begin = Callable[..., TriggererModel]


@pytest.fixture(scope="session")
def anvil_to_watch() -> Iterator[Anvil]:
    """A real chain for these tests alone: they reorganise it."""
    with Anvil() as running:
        yield running


@pytest.fixture(scope="session")
def running_watched(anvil_to_watch: Anvil) -> Iterator[LocalBloq]:
    """A local service with that chain behind its Ethereum nodes."""
    upstreams = {"eth": lambda: SharedChain(anvil_to_watch)}
    with LocalBloq(LocalBloqOptions(upstreams=upstreams, node_quota=None)) as running:
        yield running


@pytest.fixture
def watched(running_watched: LocalBloq, connect: Connect) -> Iterator[LocalBloq]:
    """That service, with ``bloq_default`` leading to a new account of it."""
    connect(running_watched.accounts_url, running_watched.nodes_url, new_keys(running_watched))
    yield running_watched
    running_watched.clear_faults()


@pytest.fixture
def evm(anvil_to_watch: Anvil) -> EvmChain:
    """The chain itself, with mining stopped and nothing pending."""
    chain = EvmChain(anvil_to_watch)
    chain.begin()
    return chain


@pytest.fixture
def node(watched: LocalBloq) -> dict[str, Any]:
    """A node of that chain, as the create operator returns it."""
    created = BloqHook().nodes.create(watched.service_id("eth"), "jwt")
    fields = {**created.public(), "tls_fingerprint": watched.node_fingerprint(created.id)}
    watched.reset_counters()
    return fields


@pytest.fixture
def database() -> Database:
    return Database()


@pytest_asyncio.fixture
async def begin(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    """Begin a life of the triggerer; all end with the test."""
    from airflow.sdk.execution_time import task_runner

    async with AsyncExitStack() as lives:

        def begun(**options: Any) -> TriggererModel:
            model = TriggererModel(database, **options)
            monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", model, raising=False)
            lives.push_async_callback(model.kill)
            return model

        yield begun
