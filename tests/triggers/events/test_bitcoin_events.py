"""Event triggers on a real Bitcoin node; skipped where there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqBlockTrigger
from tests.bitcoin.conftest import (
    bitcoin,
    bitcoin_service,
    bitcoind,
    running_bitcoin_service,
    shared_bitcoin,
)
from tests.triggers.events.conftest import Begin
from tests.triggers.events.triggerer_model import Database

__all__ = ["bitcoin", "bitcoin_service", "bitcoind", "running_bitcoin_service", "shared_bitcoin"]

pytestmark = pytest.mark.bitcoind

EAGER: dict[str, Any] = {"poll_interval": 0.1, "confirmations": 1}


@pytest.fixture
def btc(bitcoin_service: LocalBloq) -> dict[str, Any]:
    """A node of the chain, as the create operator returns it."""
    created = BloqHook().nodes.create(bitcoin_service.service_id("btc"))
    return {**created.public(), "tls_fingerprint": bitcoin_service.node_fingerprint(created.id)}


async def test_blocks_and_a_reorg_of_bitcoin_are_told_of(
    bitcoin: Bitcoind, btc: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = bitcoin.height
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=btc, max_range=1, **EAGER))
    await database.until(lambda: database.writes > 0)
    mined = await asyncio.to_thread(bitcoin.mine, 3)
    await database.until(lambda: len(database.events) == 3)
    assert [(event["first"], event["last_hash"]) for event in database.of(1)] == [
        (start + 1 + number, block) for number, block in enumerate(mined)
    ]
    await asyncio.to_thread(bitcoin.fork, 2)
    await database.until(
        lambda: database.events[-1][1].get("last_hash") == bitcoin.block_hash(bitcoin.height)
    )
    reorg, *new = database.of(1)[3:]
    assert (reorg["event"], reorg["first"], reorg["last"]) == ("reorg", start + 2, start + 3)
    assert [event["first"] for event in new] == list(range(start + 2, bitcoin.height + 1))


async def test_payments_of_bitcoin_fire_for_their_address(
    bitcoin: Bitcoind, btc: dict[str, Any], database: Database, begin: Begin
) -> None:
    received = pay([bitcoin.coin()], fee=1_234)
    bitcoin.mine_only(received)
    output = bitcoin.rpc("gettxout", received.txid, 0)
    address, height = output["scriptPubKey"]["address"], bitcoin.height
    triggerer = begin()
    triggerer.start(1, BloqAddressTrigger(node=btc, addresses=address, start=height, **EAGER))
    await database.until(lambda: len(database.events) == 1)
    (event,) = database.of(1)
    assert (event["height"], event["block_hash"]) == (height, bitcoin.block_hash(height))
    assert event["transfers"] == [
        {
            "tx_hash": received.txid,
            "tx_index": 1,
            "input": None,
            "output": 0,
            "from": None,
            "to": address,
            "amount": str(received.coins[0].satoshi),
        }
    ]
