"""What tests of the stream wait for: conditions, never durations."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.connect.payments import Payment, PaymentChanged, PaymentEvent, PaymentFeed
from airflow_provider_bloq.flow.backoff import BackoffSettings
from airflow_provider_bloq.testing.bitcoind import Bitcoind, Coin, pay
from airflow_provider_bloq.testing.local import LocalBloq

__all__ = [
    "EAGER",
    "FEE",
    "NEVER",
    "PATIENCE",
    "coins",
    "following",
    "moved",
    "new",
    "paid_address",
    "until",
    "until_joined",
]

#: Seconds after which a test is stuck, even on a slow machine.
PATIENCE = 60.0
#: Reconnects almost at once.
EAGER = BackoffSettings(first=0.01, cap=0.05)
FEE = 2_000
#: Longer than any test: the interval never ends.
NEVER = 86_400.0


async def until(true: Callable[[], bool]) -> None:
    """Wait until a condition on the service holds."""

    def wait() -> None:
        pause, end = threading.Event(), time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end
            pause.wait(0.01)

    await asyncio.to_thread(wait)


async def until_joined(bloq: LocalBloq, count: int = 1) -> None:
    await until(lambda: bloq.stream_connections() == count)


async def following(feed: PaymentFeed) -> PaymentEvent:
    """Return the next event of a feed."""
    async with asyncio.timeout(PATIENCE):
        return await anext(feed)


async def new(feed: PaymentFeed) -> Payment:
    event = await following(feed)
    assert isinstance(event, Payment), event
    return event


async def moved(feed: PaymentFeed) -> PaymentChanged:
    event = await following(feed)
    assert isinstance(event, PaymentChanged), event
    return event


def paid_address(node: Bitcoind) -> str:
    """Return the address that all payments of these tests pay."""
    unsent = pay([Coin("00" * 32, 0, 10 * FEE)], fee=FEE)
    decoded: Any = node.rpc("decoderawtransaction", unsent.raw)
    return str(decoded["vout"][0]["scriptPubKey"]["address"])


def coins(node: Bitcoind, count: int) -> list[Coin]:
    """Return coins that can be spent one by one."""
    split = pay([node.coin()], fee=100 * count + FEE, outputs=count)
    node.mine_only(split)
    return list(split.coins)
