"""Both hooks read for conditions, and what ends a wait for good ends the task."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.chains.conditions import BlockReached, RpcSubject
from airflow_provider_bloq.exceptions import (
    BloqError,
    BloqTransactionDropped,
    BloqTransactionFailed,
    BloqTransactionReplaced,
    BloqTransactionReverted,
    BloqUpdateNotDone,
)
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.nodes.conditions import ClusterState, NodeState
from airflow_provider_bloq.polling.conditions import Condition
from airflow_provider_bloq.testing.local import LocalBloq
from tests.conditions.evm_chain import EvmChain
from tests.conditions.looking import result_of

HASH = f"0x{'ab' * 32}"


@pytest.fixture
def connected(bloq_service: LocalBloq, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBloq]:
    """The service, to which ``bloq_default`` leads with a new account."""
    account = bloq_service.create_account(f"{uuid.uuid4()}@example.com", "a fine password")
    keys = bloq_service.create_client_keys(account.id)
    connection = {
        "conn_type": "bloq",
        "host": bloq_service.accounts_url,
        "login": keys.client_id,
        "password": keys.client_secret,
        "extra": {"environment": "local", "nodes_url": bloq_service.nodes_url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    shared_providers.forget()
    yield bloq_service
    shared_providers.forget()


async def seen_by_async_hook(condition: Condition) -> Any:
    async with BloqAsyncHook() as hook:
        return await hook.run(condition.target.poll_with(hook)(frozenset()))


@pytest.mark.anvil
def test_both_hooks_read_for_every_target(connected: LocalBloq, chain: EvmChain) -> None:
    hook = BloqHook()
    node = hook.nodes.create(connected.service_id("eth"))
    cluster = hook.clusters.create(connected.service_id("eth", kind="cluster"))
    subject = RpcSubject.of(node, tls_fingerprint=connected.node_fingerprint(node.id))
    conditions = [NodeState(node.id), ClusterState(cluster.id), BlockReached(subject, chain.height)]
    for condition in conditions:
        blocking = hook.run(condition.target.poll_with(hook)(frozenset()))
        awaited = asyncio.run(seen_by_async_hook(condition))
        assert result_of(condition.judge(blocking, None)) == result_of(condition.judge(awaited, None))


@pytest.mark.parametrize(
    ("error", "for_good"),
    [
        (BloqTransactionReverted("no", tx_hash=HASH, height=7, block_hash=HASH), True),
        (BloqTransactionReplaced("no", tx_hash=HASH), True),
        (BloqUpdateNotDone("no", cluster_id="cluster-1"), True),
        # The next try waits for it anew.
        (BloqTransactionDropped("no", tx_hash=HASH), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_cannot_come_back_fails_the_task_at_once(error: BloqError, for_good: bool) -> None:
    with pytest.raises(type(error)) as raised, raise_as_fail_exception():
        raise error
    assert isinstance(raised.value, AirflowFailException) is for_good
    assert vars(raised.value) == vars(error)
    assert isinstance(error, BloqTransactionFailed | BloqUpdateNotDone)
