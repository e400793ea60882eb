"""Word that it is time to look."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect_stream.conftest import Serve, eager
from tests.connect_stream.listening import FEE, PATIENCE, coins, paid_address, until, until_joined

pytestmark = pytest.mark.bitcoind


async def test_a_new_block_is_news_and_what_came_meanwhile_counts_once(
    client: HookConnectClient, bitcoin: Bitcoind
) -> None:
    async with client.updates() as updates:
        # That it listens now: before, something may have been missed.
        assert await updates.wait(PATIENCE)
        await asyncio.to_thread(bitcoin.mine)
        assert await updates.wait(PATIENCE)
        assert not await updates.wait(0)


async def test_each_new_connection_is_news(client: HookConnectClient, bloq: LocalBloq) -> None:
    async with client.updates() as updates:
        for _ in range(3):
            assert await updates.wait(PATIENCE)
            assert await asyncio.to_thread(bloq.drop_streams) == 1


async def test_transactions_are_news_only_of_the_addresses_that_were_named(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 2)]
    async with client.updates() as all_blocks, client.updates(paid_address(bitcoin)) as payments_too:
        for updates in (all_blocks, payments_too):
            assert await updates.wait(PATIENCE)
        await asyncio.to_thread(bitcoin.send, payments[0])
        assert await payments_too.wait(PATIENCE)
        # The same events went to both, in the same moment of the service.
        await asyncio.to_thread(bitcoin.send, payments[1])
        assert await payments_too.wait(PATIENCE)
        assert not await all_blocks.wait(0)


async def test_without_a_stream_a_wait_lasts_as_long_as_it_may_and_raises_nothing(
    client: HookConnectClient, bloq: LocalBloq
) -> None:
    fault = bloq.add_fault(Fault(kind=FaultKind.RESET, service="stream", path="/socket.io/open", times=None))
    async with client.updates() as updates:
        await until(lambda: bloq.faults_struck()[fault] > 2)
        assert not await updates.wait(0.01)
        await asyncio.to_thread(bloq.clear_faults, fault)
        assert await updates.wait(PATIENCE)


async def test_refused_client_keys_are_for_rest_to_tell(serve: Serve) -> None:
    bloq = serve()
    async with BloqAsyncHook() as hook:
        bloq.add_fault(
            Fault(kind=FaultKind.STATUS, service="accounts", path="/auth/token", status=401, times=None)
        )
        async with eager(hook).updates() as updates:
            await until(lambda: bloq.counters().calls.get("accounts POST /auth/token", 0) > 0)
            assert not await updates.wait(0.01)


async def test_who_has_left_is_disconnected(client: HookConnectClient, bloq: LocalBloq) -> None:
    async with client.updates():
        await until_joined(bloq)
    await until_joined(bloq, 0)
