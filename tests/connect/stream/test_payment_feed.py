"""The feed of payments, with a real chain and the local stream."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest

from airflow_provider_bloq.connect.payments import Payment
from airflow_provider_bloq.connect.stream_packets import StreamEvent
from airflow_provider_bloq.exceptions import BloqApiError, BloqConfigurationError, BloqReorg
from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.stream.conftest import Serve, eager
from tests.connect.stream.waiting import (
    FEE,
    NEVER,
    coins,
    following,
    moved,
    new,
    paid_address,
    until,
    until_joined,
)

pytestmark = pytest.mark.bitcoind

READ_ONE = "connect GET /tx/{txid}"


async def test_a_payment_is_reported_in_the_mempool_and_in_a_block(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payment = pay([bitcoin.coin()], fee=FEE, outputs=2)
    address = paid_address(bitcoin)
    async with client.payments(address, interval=NEVER) as feed:
        await until_joined(bloq)
        await asyncio.to_thread(bitcoin.send, payment)
        told = [await new(feed), await new(feed)]
        assert told == [
            Payment(payment.txid, coin.index, address, coin.satoshi, None, None) for coin in payment.coins
        ]
        (block,) = await asyncio.to_thread(bitcoin.mine)
        for before in told:
            after = await moved(feed)
            assert after.before == before
            assert after.after is not None
            assert (after.after.height, after.after.block_hash) == (bitcoin.height, block)
            assert not after.is_reorg


@pytest.mark.parametrize("shape", ["txid", "object"])
async def test_both_forms_of_the_event_of_a_transaction_are_read(
    serve: Serve, bitcoin: Bitcoind, shape: str
) -> None:
    bloq = serve(connect_address_event=shape)
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 3)]
    async with BloqAsyncHook() as hook, hook.connect("btc").payments(paid_address(bitcoin)) as feed:
        await until_joined(bloq)
        for payment in payments:
            await asyncio.to_thread(bitcoin.send, payment)
            assert (await new(feed)).txid == payment.txid
        # The poll after joining may have found some, but announced transactions are read as well.
        reading = asyncio.create_task(following(feed))
        await until(lambda: bloq.counters().calls.get(READ_ONE, 0) > 0)
        reading.cancel()


async def test_payments_from_a_height_on_are_reported_oldest_first(
    client: HookConnectClient, bitcoin: Bitcoind
) -> None:
    first, second, third, fourth = (pay([coin], fee=FEE) for coin in coins(bitcoin, 4))
    bitcoin.mine_only(first)
    height = bitcoin.height
    bitcoin.mine_only(second, third)
    bitcoin.send(fourth)
    async with client.payments(paid_address(bitcoin), since=height) as feed:
        told = [await new(feed) for _ in range(4)]
    assert [one.txid for one in told] == [one.txid for one in (first, second, third, fourth)]
    assert [one.height for one in told] == [height, height + 1, height + 1, None]


async def test_without_a_height_only_the_mempool_and_new_blocks_count(
    client: HookConnectClient, bitcoin: Bitcoind
) -> None:
    before, waiting = (pay([coin], fee=FEE) for coin in coins(bitcoin, 2))
    bitcoin.mine_only(before)
    bitcoin.send(waiting)
    async with client.payments(paid_address(bitcoin)) as feed:
        assert (await new(feed)).txid == waiting.txid


async def test_a_cursor_continues_after_the_last_event(client: HookConnectClient, bitcoin: Bitcoind) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 6)]
    for payment in payments[:3]:
        bitcoin.mine_only(payment)
    bitcoin.send(payments[3])
    cursor: object = bitcoin.height - 2
    told: list[str] = []
    for part in range(6):
        if part == 4:
            for payment in payments[4:]:
                bitcoin.send(payment)
        assert isinstance(cursor, int | dict)
        async with client.payments(paid_address(bitcoin), since=cursor, depth=1) as feed:
            told.append((await new(feed)).txid)
            cursor = json.loads(json.dumps(feed.cursor))
    assert sorted(told) == sorted(payment.txid for payment in payments)


async def test_final_payments_are_dropped(client: HookConnectClient, bitcoin: Bitcoind) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 5)]
    for payment in payments[:4]:
        bitcoin.mine_only(payment)
    bitcoin.send(payments[4])
    height = bitcoin.height
    async with client.payments(paid_address(bitcoin), since=height - 3, depth=2) as feed:
        for _ in payments:
            await new(feed)
        remembered = {one["txid"] for one in feed.cursor["payments"]}
        assert remembered == {payment.txid for payment in payments[2:]}
        assert feed.cursor["from_height"] == height - 1
        assert feed.cursor["parent_hash"] == bitcoin.block_hash(height - 2)


async def test_a_reorg_of_three_blocks_changes_each_payment_in_them(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 4)]
    blocks = [bitcoin.mine_only(payment) for payment in payments]
    height = bitcoin.height
    async with client.payments(paid_address(bitcoin), since=height - 3, interval=NEVER) as feed:
        told = [await new(feed) for _ in payments]
        assert [one.block_hash for one in told] == blocks
        await until_joined(bloq)
        await asyncio.to_thread(bitcoin.fork, 3)
        undone = [await moved(feed) for _ in range(3)]
        assert all(one.is_reorg for one in undone)
        assert {one.before for one in undone} == set(told[1:])
        assert [one.after and one.after.height for one in undone] == [None] * 3
        assert all(one.after is not None for one in undone)
        (block,) = await asyncio.to_thread(bitcoin.mine)
        again = [await moved(feed) for _ in range(3)]
        assert {one.after and one.after.block_hash for one in again} == {block}
        assert not any(one.is_reorg for one in again)


def replaced(bitcoin: Bitcoind, block: str, conflict: BitcoinPayment) -> str:
    """Replace a block by one with another payment, and mine one more; return the hash of the new block."""
    bitcoin.invalidate(block)
    instead = bitcoin.mine_only(conflict)
    bitcoin.mine_only()
    return instead


async def test_a_payment_replaced_in_a_reorg_is_gone_and_the_other_is_new(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    (coin,) = coins(bitcoin, 1)
    payment, conflict = pay([coin], fee=FEE), pay([coin], fee=3 * FEE)
    block = bitcoin.mine_only(payment)
    async with client.payments(paid_address(bitcoin), since=bitcoin.height, interval=NEVER) as feed:
        told = await new(feed)
        await until_joined(bloq)

        await asyncio.to_thread(replaced, bitcoin, block, conflict)
        events = [await following(feed), await following(feed)]
        gone = next(event for event in events if not isinstance(event, Payment))
        other = next(event for event in events if isinstance(event, Payment))
        assert (gone.before, gone.after, gone.is_reorg) == (told, None, True)
        assert other.txid == conflict.txid
        assert payment.txid not in {one["txid"] for one in feed.cursor["payments"]}


async def test_a_payment_that_returns_is_reported_again(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    (coin,) = coins(bitcoin, 1)
    payment, conflict = pay([coin], fee=FEE), pay([coin], fee=3 * FEE)
    block = bitcoin.mine_only(payment)
    async with client.payments(paid_address(bitcoin), since=bitcoin.height, interval=NEVER) as feed:
        told = await new(feed)
        await until_joined(bloq)

        instead = await asyncio.to_thread(replaced, bitcoin, block, conflict)
        for _ in range(2):
            await following(feed)

        def give_back() -> None:
            bitcoin.invalidate(instead)
            bitcoin.reconsider(block)
            for _ in range(2):
                bitcoin.mine_only()

        await asyncio.to_thread(give_back)
        events = [await following(feed), await following(feed)]
        assert told in events


async def test_a_reorg_of_final_blocks_is_an_error(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 3)]
    for payment in payments:
        bitcoin.mine_only(payment)
    async with client.payments(paid_address(bitcoin), since=bitcoin.height - 2, depth=1) as feed:
        for _ in payments:
            await new(feed)
        await until_joined(bloq)
        await asyncio.to_thread(bitcoin.fork, 3)
        with pytest.raises(BloqReorg):
            await following(feed)


async def test_without_a_stream_payments_are_polled_at_each_interval(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=404, times=None)
    )
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 2)]
    async with client.payments(paid_address(bitcoin), interval=0.05) as feed:
        for payment in payments:
            await asyncio.to_thread(bitcoin.send, payment)
            assert (await new(feed)).txid == payment.txid
    assert "stream 101" not in bloq.counters().statuses


async def test_a_cancelled_step_loses_nothing(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    payments = [pay([coin], fee=FEE) for coin in coins(bitcoin, 10)]
    told: list[str] = []
    async with client.payments(paid_address(bitcoin), interval=NEVER) as feed:
        await until_joined(bloq)
        for turn, payment in enumerate(payments):
            step = asyncio.create_task(new(feed))
            await asyncio.to_thread(bitcoin.send, payment)
            for _ in range(turn):
                await asyncio.sleep(0)
            step.cancel()
            with suppress(asyncio.CancelledError):
                told.append((await step).txid)
        while len(told) < len(payments):
            told.append((await new(feed)).txid)
    assert sorted(told) == sorted(payment.txid for payment in payments)


async def test_a_cancelled_poll_is_repeated(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    # No stream, so that nothing else causes another poll.
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=404, times=None)
    )
    held = bloq.add_fault(
        Fault(kind=FaultKind.DELAY, service="connect", path="/addrs/txs", seconds=3_600, times=None)
    )
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.send(payment)
    async with client.payments(paid_address(bitcoin), interval=NEVER) as feed:
        step = asyncio.create_task(new(feed))
        await until(lambda: bloq.faults_struck()[held] > 0)
        step.cancel()
        await asyncio.wait([step])
        await asyncio.to_thread(bloq.clear_faults, held)
        assert (await new(feed)).txid == payment.txid


async def test_a_failed_poll_is_repeated(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    client.policy = replace(client.policy, attempts=1)
    payment = pay([bitcoin.coin()], fee=FEE)
    fault = bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="connect", path="/addrs/txs", status=503, times=None)
    )
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            await asyncio.to_thread(bloq.clear_faults, fault)

    feed = client.payments(paid_address(bitcoin), interval=NEVER)
    feed._sleep, feed._random = sleep, lambda: 1.0
    with pytest.raises(RuntimeError, match="async with"):
        _ = feed.cursor
    async with feed:
        await asyncio.to_thread(bitcoin.send, payment)
        assert (await new(feed)).txid == payment.txid
    assert pauses == [1.0, 2.0, 4.0]


async def test_a_poll_that_cannot_succeed_raises(client: HookConnectClient, bloq: LocalBloq) -> None:
    bloq.add_fault(Fault(kind=FaultKind.STATUS, service="connect", path="/addrs/txs", status=400, times=None))
    async with client.payments("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080") as feed:
        with pytest.raises(BloqApiError):
            await following(feed)


async def test_invalid_arguments_are_refused_before_anything_is_sent(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    address = paid_address(bitcoin)
    wrong: list[tuple[str, dict[str, object]]] = [
        ("addresses", {"addresses": ["1BoatSLRHtKNngkdXEeobR76b53LETtpyT"]}),
        ("number of addresses", {"addresses": []}),
        ("since", {"addresses": address, "since": -1}),
        ("since", {"addresses": address, "since": {"from_height": 1}}),
        ("depth", {"addresses": address, "depth": 0}),
        ("interval", {"addresses": address, "interval": 0}),
    ]
    for field, arguments in wrong:
        with pytest.raises(BloqConfigurationError) as refused:
            client.payments(**arguments)  # type: ignore[arg-type]
        assert refused.value.fields == (field,)
    assert bloq.counters().calls == {}


async def test_leaving_disconnects(serve: Serve, bitcoin: Bitcoind) -> None:
    bloq = serve()
    async with BloqAsyncHook() as hook:
        async with eager(hook).payments(paid_address(bitcoin)):
            await until_joined(bloq)
        await until_joined(bloq, 0)


async def test_a_block_causes_a_poll_and_other_events_do_not(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    # No stream: the test sends the events itself.
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=404, times=None)
    )
    first, second = (pay([coin], fee=FEE) for coin in coins(bitcoin, 2))
    bitcoin.send(first)
    async with client.payments(paid_address(bitcoin), interval=NEVER) as feed:
        await new(feed)
        bitcoin.send(second)
        reading = asyncio.create_task(new(feed))
        feed.on_event(StreamEvent("tx", ({},)))
        assert feed._next_poll > asyncio.get_running_loop().time()
        feed.on_event(StreamEvent("block", ("ab" * 32,)))
        assert (await reading).txid == second.txid
