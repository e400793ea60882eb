"""The stream is killed again and again while payments arrive: each is reported exactly once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest

from airflow_provider_bloq.connect.payments import Payment, PaymentFeed
from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.stream.waiting import FEE, NEVER, coins, paid_address

pytestmark = pytest.mark.bitcoind

KILLS = 10
PAYMENTS = 50
#: Transactions per block. Most payments are reported in the mempool, some only in a block.
PER_BLOCK = 5
#: Seconds after which the test is stuck, however slow the machine.
PATIENCE = 240.0


async def test_every_payment_is_reported_exactly_once(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    # Half as many transactions of two outputs each: both pay the address.
    payments = [pay([coin], fee=FEE, outputs=2) for coin in coins(bitcoin, PAYMENTS // 2)]
    last = pay(coins(bitcoin, 1), fee=FEE)
    reported: list[tuple[str, int]] = []
    last_is_reported = asyncio.Event()

    def pay_and_kill() -> None:
        chance, pause = random.Random(7), threading.Event()
        order: list[BitcoinPayment | None] = [*payments, *([None] * KILLS)]
        chance.shuffle(order)
        sent = 0
        for payment in order:
            if payment is None:
                # At any moment: while the listener connects, joins, polls or listens.
                pause.wait(chance.uniform(0, 0.05))
                while not bloq.drop_streams():
                    pause.wait(0.001)
                continue
            bitcoin.send(payment)
            sent += 1
            if sent % PER_BLOCK == 0:
                bitcoin.mine()

    async def listen(feed: PaymentFeed) -> None:
        async for event in feed:
            if isinstance(event, Payment):
                reported.append(event.outpoint)
                if event.txid == last.txid:
                    last_is_reported.set()
            elif event.before.txid == last.txid:
                return

    async with client.payments(paid_address(bitcoin), interval=NEVER, depth=3) as feed:
        listening = asyncio.create_task(listen(feed))
        await asyncio.to_thread(pay_and_kill)
        # The last one is reported after all others, and its block after all other events.
        await asyncio.to_thread(bitcoin.send, last)
        await asyncio.wait_for(last_is_reported.wait(), PATIENCE)
        await asyncio.to_thread(bitcoin.mine)
        await asyncio.wait_for(listening, PATIENCE)
    assert Counter(reported) == Counter(_outputs([*payments, last]))
    assert bloq.counters().calls["stream GET /socket.io/open"] > KILLS


def _outputs(payments: list[BitcoinPayment]) -> list[tuple[str, int]]:
    return [(payment.txid, coin.index) for payment in payments for coin in payment.coins]
