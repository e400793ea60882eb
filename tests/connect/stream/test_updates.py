"""Updates of a chain: new blocks, new connections, and transactions of addresses."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.stream.conftest import Serve, eager
from tests.connect.stream.waiting import FEE, PATIENCE, coins, paid_address, until, until_joined

pytestmark = pytest.mark.bitcoind


async def test_a_new_block_is_an_update_and_several_count_once(
    client: HookConnectClient, bitcoin: Bitcoind
) -> None:
    async with client.updates() as updates:
        # The connection itself: earlier events may have been missed.
        assert await updates.wait(PATIENCE)
        await asyncio.to_thread(bitcoin.mine)
        assert await updates.wait(PATIENCE)
        assert not await updates.wait(0)


async def test_each_new_connection_is_an_update(client: HookConnectClient, bloq: LocalBloq) -> None:
    async with client.updates() as updates:
        for _ in range(3):
            assert await updates.wait(PATIENCE)
            assert await asyncio.to_thread(bloq.drop_streams) == 1


async def test_only_transactions_of_the_given_addresses_are_updates(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 2)]
    async with client.updates() as all_blocks, client.updates(paid_address(bitcoin)) as payments_too:
        for updates in (all_blocks, payments_too):
            assert await updates.wait(PATIENCE)
        await asyncio.to_thread(bitcoin.send, payments[0])
        assert await payments_too.wait(PATIENCE)
        # The service sends the same events to both at the same time.
        await asyncio.to_thread(bitcoin.send, payments[1])
        assert await payments_too.wait(PATIENCE)
        assert not await all_blocks.wait(0)


async def test_without_a_stream_a_wait_lasts_until_its_timeout(
    client: HookConnectClient, bloq: LocalBloq
) -> None:
    fault = bloq.add_fault(Fault(kind=FaultKind.RESET, service="stream", path="/socket.io/open", times=None))
    async with client.updates() as updates:
        await until(lambda: bloq.faults_struck()[fault] > 2)
        assert not await updates.wait(0.01)
        await asyncio.to_thread(bloq.clear_faults, fault)
        assert await updates.wait(PATIENCE)


async def test_refused_client_keys_raise_nothing(serve: Serve) -> None:
    bloq = serve()
    async with BloqAsyncHook() as hook:
        bloq.add_fault(
            Fault(kind=FaultKind.STATUS, service="accounts", path="/auth/token", status=401, times=None)
        )
        async with eager(hook).updates() as updates:
            await until(lambda: bloq.counters().calls.get("accounts POST /auth/token", 0) > 0)
            assert not await updates.wait(0.01)


async def test_leaving_disconnects(client: HookConnectClient, bloq: LocalBloq) -> None:
    async with client.updates():
        await until_joined(bloq)
    await until_joined(bloq, 0)
