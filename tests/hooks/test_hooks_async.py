"""The async hook: one token for a whole event loop, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqConfigurationError, BloqNotFound
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from airflow_provider_bloq.testing.stack import LocalStack
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve


async def token_of(hook: BloqAsyncHook) -> str:
    async with hook:
        return await hook.get_access_token()


def leases() -> list[int]:
    """Return how many hooks hold each of the shared token providers."""
    return [entry.leases for entry in shared_providers._entries.values()]


async def test_a_thousand_hooks_on_one_loop_cost_one_mint(service: LocalBloq, keys: IssuedKeys) -> None:
    async with AsyncExitStack() as opened:
        hooks = [await opened.enter_async_context(BloqAsyncHook()) for _ in range(1000)]
        assert leases() == [1000]
        tokens = await asyncio.gather(*(hook.get_access_token() for hook in hooks))
        lists = await asyncio.gather(*(hook.nodes.list() for hook in hooks[:50]))
    assert len(set(tokens)) == 1
    assert lists == [[]] * 50
    assert service.counters().mints == 1
    assert leases() == [0]


async def test_with_vault_they_cost_one_login_and_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalStack() as stack:
        for conn_id, connection in stack.connections().items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        before = len(stack.vault.requests_seen())
        tokens = await asyncio.gather(*(token_of(BloqAsyncHook()) for _ in range(200)))
        assert len(set(tokens)) == 1
        assert [seen.path for seen in stack.vault.requests_seen()[before:]] == [
            "auth/approle/login",
            "secret/data/bloq/client-keys",
        ]
        assert stack.bloq.counters().mints == 1


async def test_both_hooks_share_one_token(service: LocalBloq, keys: IssuedKeys) -> None:
    blocking = await asyncio.to_thread(BloqHook().get_access_token)
    assert await token_of(BloqAsyncHook()) == blocking
    assert service.counters().mints == 1


@dataclass
class HeldBack:
    """A Bloq that holds back its first token until it is told to hand it out."""

    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    mints: int = 0

    def __call__(self, connection: RawConnection, request: SeenRequest) -> None:
        if request.target != "/auth/token":
            connection.reply(200, b"[]")
            return
        self.mints += 1
        self.asked.set()
        self.released.wait()
        connection.reply(200, b'{"accessToken": "the-token"}')


async def test_a_cancelled_task_takes_the_token_from_nobody(connect: Connect, serve: Serve) -> None:
    bloq = HeldBack()
    server = serve(bloq)
    connect(server.url, server.url)
    leader = asyncio.create_task(token_of(BloqAsyncHook()))
    await asyncio.to_thread(bloq.asked.wait)
    waiters = [asyncio.create_task(token_of(BloqAsyncHook())) for _ in range(5)]
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    waiters[0].cancel()
    bloq.released.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["the-token"] * 4
    assert bloq.mints == 1
    assert leases() == [0]


async def test_a_failed_entry_leaves_nothing_behind(service: LocalBloq, connect: Connect) -> None:
    connect(service.accounts_url, service.nodes_url, extra={"timeout": -1})
    with pytest.raises(BloqConfigurationError, match="timeout") as wrong:
        async with BloqAsyncHook():
            raise AssertionError("was entered")
    assert isinstance(wrong.value, AirflowFailException)
    assert leases() == []


async def test_an_error_inside_gives_the_lease_back(service: LocalBloq, keys: IssuedKeys) -> None:
    with pytest.raises(BloqNotFound):
        async with BloqAsyncHook() as bloq:
            await bloq.nodes.get("node-0")
    assert leases() == [0]


async def test_refused_keys_are_told_to_airflow_as_well(service: LocalBloq, keys: IssuedKeys) -> None:
    service.delete_client_keys(keys.client_id)
    with pytest.raises(BloqClientKeysRejected) as refusal:
        await token_of(BloqAsyncHook())
    assert isinstance(refusal.value, AirflowFailException)


async def test_a_hook_can_be_entered_again(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqAsyncHook()
    assert await token_of(hook) == await token_of(hook)
    assert leases() == [0]


async def test_the_loop_runs_on_while_bloq_keeps_a_hook_waiting(connect: Connect, serve: Serve) -> None:
    bloq = HeldBack()
    server = serve(bloq)
    connect(server.url, server.url)
    waiting = asyncio.create_task(token_of(BloqAsyncHook()))
    # Were the loop blocked, this would never come to be told.
    await asyncio.to_thread(bloq.asked.wait)
    assert not waiting.done()
    bloq.released.set()
    assert await waiting == "the-token"


@pytest.mark.anvil
async def test_nodes_are_called_as_by_the_blocking_hook(connected_chains: LocalBloq) -> None:
    async with BloqAsyncHook() as bloq:
        node = await bloq.nodes.create(connected_chains.service_id("eth"))
        pin = connected_chains.node_fingerprint(node.id)
        created = {**node.public(), "tls_fingerprint": pin}
        for subject in (created, node, node.id):
            rpc = bloq.rpc(subject, tls_fingerprint=None if subject is created else pin)
            assert await rpc.call("eth_chainId") == "0x7a69"
        assert await bloq.rpc(created).batch(["eth_chainId"] * 120) == ["0x7a69"] * 120
        cluster = await bloq.clusters.create(connected_chains.service_id("eth", kind="cluster"), "none")
        assert await bloq.rpc(cluster.public()).call("eth_chainId") == "0x7a69"
        with pytest.raises(BloqConfigurationError) as wrong:
            bloq.rpc(node, tls_fingerprint="no fingerprint")
        assert isinstance(wrong.value, AirflowFailException)


async def test_a_mint_whose_hook_was_closed_leaves_no_connection_open(connect: Connect, serve: Serve) -> None:
    bloq = HeldBack()
    server = serve(bloq)
    connect(server.url, server.url)
    hook = BloqAsyncHook()
    leader = asyncio.create_task(token_of(hook))
    await asyncio.to_thread(bloq.asked.wait)
    follower = asyncio.create_task(token_of(BloqAsyncHook()))
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    bloq.released.set()
    assert await follower == "the-token"
    # The mint ends by closing what it needed; one more turn of the loop lets it.
    while hook._driver.is_open:
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
