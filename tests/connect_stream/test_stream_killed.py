"""The stream is killed a hundred times while five hundred payments arrive: each is told exactly once."""

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
from tests.connect_stream.listening import FEE, NEVER, coins, paid_address

pytestmark = pytest.mark.bitcoind

KILLS = 100
PAYMENTS = 500
#: Payments per block, so that most are told while they wait and some only when they are in a block.
PER_BLOCK = 25
#: Seconds after which the test is stuck, however slow the machine.
PATIENCE = 240.0


async def test_every_payment_is_told_exactly_once_however_often_the_stream_is_killed(
    client: HookConnectClient, bloq: LocalBloq, bitcoin: Bitcoind
) -> None:
    # Half as many transactions of two outputs each: both pay the address.
    payments = [pay([coin], fee=FEE, outputs=2) for coin in coins(bitcoin, PAYMENTS // 2)]
    last = pay(coins(bitcoin, 1), fee=FEE)
    told: list[tuple[str, int]] = []
    last_is_told = asyncio.Event()

    def made_to_happen() -> None:
        chance, pause = random.Random(7), threading.Event()
        order: list[BitcoinPayment | None] = [*payments, *([None] * KILLS)]
        chance.shuffle(order)
        sent = 0
        for payment in order:
            if payment is None:
                # At any moment: while the listener connects, joins rooms, fills the gap or listens.
                pause.wait(chance.uniform(0, 0.05))
                while not bloq.drop_streams():
                    pause.wait(0.001)
                continue
            bitcoin.send(payment)
            sent += 1
            if sent % PER_BLOCK == 0:
                bitcoin.mine()

    async def listened(feed: PaymentFeed) -> None:
        async for event in feed:
            if isinstance(event, Payment):
                told.append(event.outpoint)
                if event.txid == last.txid:
                    last_is_told.set()
            elif event.before.txid == last.txid:
                return

    async with client.payments(paid_address(bitcoin), interval=NEVER, depth=3) as feed:
        listening = asyncio.create_task(listened(feed))
        await asyncio.to_thread(made_to_happen)
        # The last one can only be heard after all others, and its block only after whatever else there is to say.
        await asyncio.to_thread(bitcoin.send, last)
        await asyncio.wait_for(last_is_told.wait(), PATIENCE)
        await asyncio.to_thread(bitcoin.mine)
        await asyncio.wait_for(listening, PATIENCE)
    assert Counter(told) == Counter(_outputs([*payments, last]))
    assert bloq.counters().calls["stream GET /socket.io/open"] > KILLS


def _outputs(payments: list[BitcoinPayment]) -> list[tuple[str, int]]:
    return [(payment.txid, coin.index) for payment in payments for coin in payment.coins]
