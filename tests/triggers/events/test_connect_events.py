"""Event triggers through Connect, held against those on a node of the same real chain; skipped without bitcoind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, Coin, fresh_script, locking_script, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from airflow_provider_bloq.triggers.chain_events import (
    BloqAddressTrigger,
    BloqBlockTrigger,
    BloqConnectBlockTrigger,
    BloqPaymentTrigger,
)
from tests.bitcoin.conftest import bitcoin, bitcoind, shared_bitcoin
from tests.connect.conftest import address_of, connected, fresh_payment
from tests.hooks.conftest import Connect
from tests.support.shared_chain import SharedChain
from tests.triggers.events.conftest import Begin
from tests.triggers.events.triggerer_model import Database, TriggererModel

__all__ = ["bitcoin", "bitcoind", "shared_bitcoin"]

pytestmark = pytest.mark.bitcoind

EAGER: dict[str, Any] = {"chain": "btc", "poll_interval": 0.1, "confirmations": 1, "stream": False}
#: Only the stream can make it look in time.
PATIENT: dict[str, Any] = {"chain": "btc", "poll_interval": 3600.0, "confirmations": 1}
AT_ONCE: dict[str, Any] = {"poll_interval": 0.1, "confirmations": 1}


@pytest.fixture(scope="module")
def running_both(shared_bitcoin: Bitcoind) -> Iterator[LocalBloq]:
    """One local service with the same chain behind its Bitcoin nodes and behind Connect."""
    upstreams = {"btc": lambda: SharedChain(shared_bitcoin)}
    options = LocalBloqOptions(upstreams=upstreams, connect_upstreams=upstreams, node_quota=None)
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def both(running_both: LocalBloq, connect: Connect) -> Iterator[LocalBloq]:
    """That service, to which ``bloq_default`` leads with a new account."""
    running_both.reset_counters()
    connected(connect, running_both)
    yield running_both
    running_both.clear_faults()


@pytest.fixture
def btc(both: LocalBloq) -> dict[str, Any]:
    """A node of the chain, as the create operator returns it."""
    created = BloqHook().nodes.create(both.service_id("btc"))
    return {**created.public(), "tls_fingerprint": both.node_fingerprint(created.id)}


def told_up_to(database: Database, trigger_id: int, chain: Bitcoind) -> bool:
    """Tell whether the last block that was told of is the newest."""
    last = (database.of(trigger_id) or [{}])[-1]
    return last.get("last_hash", last.get("block_hash")) == chain.block_hash(chain.height)


async def begun(triggerer: TriggererModel, database: Database, *triggers: Any) -> None:
    """Start triggers, and wait until each has its place."""
    before = database.writes
    for number, trigger in enumerate(triggers, start=1):
        triggerer.start(number, trigger, f"asset-{number}")
    await database.until(lambda: database.writes >= before + len(triggers))


async def test_blocks_and_a_reorg_of_three_are_told_of_as_a_node_tells_of_them(
    bitcoin: Bitcoind, btc: dict[str, Any], database: Database, begin: Begin
) -> None:
    await begun(
        begin(),
        database,
        BloqConnectBlockTrigger(max_range=1, **EAGER),
        BloqBlockTrigger(node=btc, max_range=1, **AT_ONCE),
    )
    start = bitcoin.height
    await asyncio.to_thread(bitcoin.mine, 5)
    await database.until(lambda: told_up_to(database, 1, bitcoin) and told_up_to(database, 2, bitcoin))
    await asyncio.to_thread(bitcoin.fork, 3)
    await database.until(lambda: told_up_to(database, 1, bitcoin) and told_up_to(database, 2, bitcoin))

    told = database.of(1)
    assert told == database.of(2)
    assert [event["event"] for event in told] == [*["blocks"] * 5, "reorg", *["blocks"] * 4]
    assert (told[5]["first"], told[5]["last"], told[5]["complete"]) == (start + 3, start + 5, True)
    assert [event["last_hash"] for event in told[6:]] == [
        bitcoin.block_hash(height) for height in range(start + 3, bitcoin.height + 1)
    ]


async def test_payments_are_told_of_as_a_node_tells_of_them_through_reorgs_of_three(
    bitcoin: Bitcoind, btc: dict[str, Any], database: Database, begin: Begin
) -> None:
    address = address_of(bitcoin, fresh_payment(bitcoin))
    chance = random.Random(11)
    await begun(
        begin(),
        database,
        BloqPaymentTrigger(addresses=address, **EAGER),
        BloqAddressTrigger(node=btc, addresses=address, **AT_ONCE),
    )
    start = bitcoin.height

    async def all_told() -> None:
        await database.until(lambda: told_up_to(database, 1, bitcoin) and told_up_to(database, 2, bitcoin))

    def some_blocks() -> None:
        coins: list[Coin] = []
        for _ in range(5):
            payments = [fresh_payment(bitcoin, outputs=chance.randrange(1, 4)) for _ in range(2)]
            if coins:
                payments.append(pay([coins.pop()], fee=2_000, outputs=2))
            bitcoin.mine_only(*payments)
            coins += [coin for payment in payments for coin in payment.coins]

    for _ in range(2):
        await asyncio.to_thread(some_blocks)
        await all_told()
        await asyncio.to_thread(bitcoin.fork, 3)
        # Blocks without payments are passed without a word.
        await asyncio.to_thread(bitcoin.mine_only, fresh_payment(bitcoin))
        await all_told()

    told = database.of(1)
    assert told == database.of(2)
    assert [event["event"] for event in told].count("reorg") == 2
    standing = standing_payments(told)
    assert standing == payments_in_blocks(bitcoin, address, start + 1)
    assert any(spent is not None for _, _, spent, _, _ in standing)


def reached(database: Database, asset: str, chain: Bitcoind) -> bool:
    """Tell whether the watcher of an asset has passed the newest block, and all of it has arrived."""
    kept = [value for (name, _), value in database.state.items() if name == asset]
    # Whole hashes stand in it, and none under way.
    return bool(kept) and chain.block_hash(chain.height) in kept[0] and '"sent"' not in kept[0]


def standing_payments(events: list[dict[str, Any]]) -> list[tuple[int, str, int | None, int | None, int]]:
    """Return the payments that the events say are in the chain at their end."""
    by_height: dict[int, list[Any]] = {}
    for event in events:
        if event["event"] == "reorg":
            for height in range(event["first"], event["last"] + 1):
                by_height.pop(height, None)
        else:
            by_height.setdefault(event["height"], []).extend(
                (event["height"], one["tx_hash"], one["input"], one["output"], int(one["amount"]))
                for one in event["transfers"]
            )
    return [payment for height in sorted(by_height) for payment in by_height[height]]


def payments_in_blocks(
    chain: Bitcoind, address: str, first: int
) -> list[tuple[int, str, int | None, int | None, int]]:
    """Read the same from the blocks of the node itself."""
    found: list[tuple[int, str, int | None, int | None, int]] = []
    for height in range(first, chain.height + 1):
        for transaction in chain.rpc("getblock", chain.block_hash(height), 3)["tx"]:
            spent = [
                (number, None, one["prevout"])
                for number, one in enumerate(transaction["vin"])
                if "prevout" in one
            ]
            paid = [(None, one["n"], one) for one in transaction["vout"]]
            found += [
                (height, transaction["txid"], input_, output, round(coin["value"] * 100_000_000))
                for input_, output, coin in (*spent, *paid)
                if coin["scriptPubKey"].get("address") == address
            ]
    return found


async def test_payments_of_many_addresses_are_told_of_each_once(
    bitcoin: Bitcoind, both: LocalBloq, database: Database, begin: Begin
) -> None:
    received = fresh_payment(bitcoin, outputs=3)
    others = [bitcoin.rpc("decodescript", locking_script(fresh_script()).hex())["address"] for _ in range(60)]
    start = bitcoin.height + 1
    await asyncio.to_thread(bitcoin.mine_only, received)
    addresses = [*others, address_of(bitcoin, received).upper()]
    begin().start(1, BloqPaymentTrigger(addresses=addresses, direction="to", start=start, **EAGER))
    await database.until(lambda: bool(database.events))
    (event,) = database.of(1)
    assert (event["height"], event["block_hash"]) == (start, bitcoin.block_hash(start))
    assert [(one["tx_hash"], one["tx_index"], one["output"]) for one in event["transfers"]] == [
        (received.txid, 1, number) for number in range(3)
    ]
    assert {one["amount"] for one in event["transfers"]} == {str(received.coins[0].satoshi)}


async def test_the_stream_wakes_a_watcher_for_each_block_also_after_it_was_cut(
    bitcoin: Bitcoind, both: LocalBloq, database: Database, begin: Begin
) -> None:
    start = bitcoin.height
    await begun(begin(), database, BloqConnectBlockTrigger(max_range=1, **PATIENT))
    for number in range(1, 4):
        await asyncio.to_thread(bitcoin.mine)
        await database.until(lambda: told_up_to(database, 1, bitcoin))
        await asyncio.to_thread(both.drop_streams)
        assert len(database.of(1)) == number
    assert [event["first"] for event in database.of(1)] == [start + 1, start + 2, start + 3]


async def test_where_the_stream_cannot_be_reached_the_watcher_polls(
    bitcoin: Bitcoind, both: LocalBloq, database: Database, begin: Begin
) -> None:
    both.add_fault(Fault(kind=FaultKind.STATUS, status=503, service="stream", times=None))
    await begun(begin(), database, BloqConnectBlockTrigger(**{**EAGER, "stream": True}))
    await asyncio.to_thread(bitcoin.mine)
    await database.until(lambda: told_up_to(database, 1, bitcoin))


async def test_all_watchers_of_a_chain_share_their_looks(
    bitcoin: Bitcoind, both: LocalBloq, database: Database, begin: Begin
) -> None:
    triggers = [BloqConnectBlockTrigger(label=f"watcher-{number}", **PATIENT) for number in range(10)]
    await begun(begin(), database, *triggers)
    await asyncio.to_thread(bitcoin.mine)
    await database.until(lambda: all(told_up_to(database, number, bitcoin) for number in range(1, 11)))
    assert both.stream_connections() == 1
    asked = [number for call, number in both.counters().calls.items() if call.startswith("connect ")]
    # Each of them by itself would ask for the newest block and its header, before and after it is mined.
    assert sum(asked) < 20


async def test_a_place_that_was_kept_with_a_node_goes_on_through_connect(
    bitcoin: Bitcoind, btc: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = bitcoin.height
    by_node = begin()
    await begun(by_node, database, BloqBlockTrigger(node=btc, max_range=1, label="asset", **AT_ONCE))
    await asyncio.to_thread(bitcoin.mine, 2)
    await database.until(lambda: reached(database, "asset-1", bitcoin))
    await by_node.kill()
    await asyncio.to_thread(bitcoin.mine, 2)
    begin().start(1, BloqConnectBlockTrigger(max_range=1, label="asset", **EAGER), "asset-1")
    await database.until(lambda: told_up_to(database, 1, bitcoin))
    assert [event["first"] for event in database.of(1)] == list(range(start + 1, bitcoin.height + 1))
