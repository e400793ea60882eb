"""``BloqBlockTrigger`` on a real chain: each final block once, in order, whatever the chain and the triggerer do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_bloq.triggers.chain_events import BloqBlockTrigger
from tests.conditions.evm_chain import EvmChain
from tests.triggers.events.conftest import Begin
from tests.triggers.events.triggerer_model import Database, TriggererModel

pytestmark = pytest.mark.anvil

EAGER: dict[str, Any] = {"poll_interval": 0.1, "confirmations": 1}


def heights(events: list[dict[str, Any]]) -> list[int]:
    return [height for event in events for height in range(event["first"], event["last"] + 1)]


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def mine_unlike_any_other(evm: EvmChain, blocks: int) -> None:
    """Mine blocks that a reorg cannot make again by chance: while the chain's clock is ahead, empty ones are alike."""
    sender = evm.new_account()
    for nonce in range(blocks):
        evm.send(sender, nonce)
        evm.mine()


async def has_begun(database: Database) -> None:
    """Wait until the watchers know where they begin."""
    await database.until(lambda: database.writes > 0)


async def test_each_new_final_block_is_told_of_once_and_as_it_is(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, poll_interval=0.1, confirmations=3, max_range=1))
    await has_begun(database)
    for _ in range(4):
        await asyncio.to_thread(evm.mine, 2)
    await database.until(lambda: len(database.events) == 8)
    assert heights(database.of(1)) == list(range(start - 1, start + 7))
    block = evm.block(start)
    assert database.of(1)[1] == {
        "event": "blocks",
        "id": f"blocks:{start}-{start}:{block['hash']}",
        "first": start,
        "last": start,
        "first_hash": block["hash"],
        "last_hash": block["hash"],
        "parent_hash": block["parentHash"],
        "first_time": int(block["timestamp"], 16),
        "last_time": int(block["timestamp"], 16),
        "redelivered": False,
    }


async def test_every_nth_block_fires_for_all_since_the_one_before(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    first = -(-evm.height // 5) * 5 + 1
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, every=5, max_range=5, start=first, **EAGER))
    await asyncio.to_thread(evm.mine, first + 11 - evm.height)
    await database.until(lambda: len(database.events) == 2)
    await asyncio.to_thread(evm.mine, 3)
    await database.until(lambda: len(database.events) == 3)
    assert [(event["first"] - first, event["last"] - first) for event in database.of(1)] == [
        (0, 4),
        (5, 9),
        (10, 14),
    ]


async def test_catching_up_comes_in_ranges_of_bounded_length(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    await asyncio.to_thread(evm.call, "anvil_mine", hex(1_200))
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, start=1, max_range=7, **EAGER))
    head = evm.height
    await database.until(lambda: bool(database.events) and database.events[-1][1]["last"] == head)
    events = database.of(1)
    assert heights(events) == list(range(1, head + 1))
    assert max(event["last"] - event["first"] + 1 for event in events) == 7
    assert [event["parent_hash"] for event in events[1:]] == [event["last_hash"] for event in events[:-1]]


async def test_the_node_may_say_what_is_final(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    await asyncio.to_thread(evm.call, "anvil_mine", hex(100))
    final = int(evm.call("eth_getBlockByNumber", "finalized", False)["number"], 16)
    triggerer = begin()
    trigger = BloqBlockTrigger(node=node, poll_interval=0.1, finality="finalized", start=final)
    triggerer.start(1, trigger)
    await database.until(lambda: len(database.events) == 1)
    await asyncio.to_thread(evm.mine, 2)
    await database.until(lambda: heights(database.of(1))[-1:] == [final + 2])
    assert heights(database.of(1)) == [final, final + 1, final + 2]


async def test_no_more_is_under_way_than_one_batch(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    await asyncio.to_thread(evm.call, "anvil_mine", hex(200))
    triggerer = begin()
    triggerer.stores = False
    triggerer.start(1, BloqBlockTrigger(node=node, start=1, max_range=1, **EAGER))
    await database.until(lambda: len(triggerer.fired) == 50)
    # Were there more to come at once, it would be here before a further look.
    triggerer.start(2, BloqBlockTrigger(node=node, start=evm.height, **EAGER), "other")
    await database.until(lambda: triggerer.fired[-1][0] == 2)
    assert len(triggerer.fired) == 51


async def test_a_reorg_of_what_is_not_final_goes_unnoticed(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, poll_interval=0.1, confirmations=4))
    await has_begun(database)
    await asyncio.to_thread(mine_unlike_any_other, evm, 5)
    await database.until(lambda: heights(database.of(1))[-1:] == [start + 2])
    await asyncio.to_thread(evm.reorganise, 3)
    await asyncio.to_thread(evm.mine, 5)
    await database.until(lambda: heights(database.of(1))[-1:] == [start + 7])
    assert heights(database.of(1)) == list(range(start - 2, start + 8))
    assert all(evm.block(event["last"])["hash"] == event["last_hash"] for event in database.of(1))


async def test_a_deeper_one_is_told_of_and_the_new_blocks_follow(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, max_range=1, **EAGER))
    await has_begun(database)
    await asyncio.to_thread(mine_unlike_any_other, evm, 6)
    await database.until(lambda: len(database.events) == 6)
    replaced = evm.block(start + 6)["hash"]
    await asyncio.to_thread(evm.reorganise, 3)
    await database.until(lambda: len(database.events) == 10)
    reorg, *new = database.of(1)[6:]
    assert reorg == {
        "event": "reorg",
        "id": f"reorg:{start + 4}-{start + 6}:{replaced}",
        "first": start + 4,
        "last": start + 6,
        "complete": True,
        "redelivered": False,
    }
    assert heights(new) == [start + 4, start + 5, start + 6]
    assert [event["last_hash"] for event in new] == [evm.block(height)["hash"] for height in heights(new)]


async def test_after_a_restart_it_goes_on_where_it_was(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    trigger = BloqBlockTrigger(node=node, **EAGER)
    triggerer = begin()
    triggerer.start(1, trigger)
    await has_begun(database)
    for _ in range(3):
        await asyncio.to_thread(evm.mine, 2)
        await database.until(lambda: heights(database.of(1))[-1:] == [evm.height])
        # The place was kept: at first, before each batch and after it.
        await settled(database, triggerer)
        await triggerer.kill()
        await asyncio.to_thread(evm.mine, 2)
        triggerer = begin()
        triggerer.start(1, trigger)
    await database.until(lambda: heights(database.of(1))[-1:] == [evm.height])
    assert heights(database.of(1)) == list(range(start + 1, evm.height + 1))
    assert not any(event["redelivered"] for event in database.of(1))


async def settled(database: Database, triggerer: TriggererModel) -> None:
    """Wait until the place says that nothing is under way."""
    await database.until(lambda: all('"sent"' not in value for value in database.state.values()))


@pytest.mark.parametrize(
    ("died", "is_told_again"),
    [
        ("before it kept what it was about to send", False),
        ("before the events were stored", True),
        ("before it was told that they were", True),
        ("before it kept that they were", True),
        ("after all that", False),
    ],
)
async def test_wherever_it_dies_nothing_is_missed_and_a_repetition_says_so(
    evm: EvmChain,
    node: dict[str, Any],
    database: Database,
    begin: Begin,
    died: str,
    is_told_again: bool,
) -> None:
    start = evm.height
    trigger = BloqBlockTrigger(node=node, max_range=2, start=start + 1, **EAGER)
    triggerer = begin()
    triggerer.start(1, trigger)
    await has_begun(database)
    match died:
        case "before it kept what it was about to send":
            triggerer.writes_until = 1
        case "before the events were stored":
            triggerer.stores = False
        case "before it was told that they were":
            triggerer.confirms = False
        case "before it kept that they were":
            triggerer.writes_until = 2
    await asyncio.to_thread(evm.mine, 4)
    await database.until(lambda: has_got_as_far(triggerer, database, died))
    await triggerer.kill()
    stored = list(database.of(1))
    triggerer = begin()
    triggerer.start(1, trigger)
    await asyncio.to_thread(evm.mine, 4)
    await database.until(lambda: heights(database.of(1))[-1:] == [start + 8])
    fresh = database.of(1)[len(stored) :]
    again = [event for event in fresh if event["redelivered"]]
    assert bool(again) is is_told_again
    # What is told again is the same, but for the remark.
    if died not in ("before the events were stored", "before it kept what it was about to send"):
        assert [{**event, "redelivered": False} for event in again] == (stored if is_told_again else [])
    once = stored + [event for event in fresh if not event["redelivered"] or not stored]
    assert heights(once) == list(range(start + 1, start + 9))


def has_got_as_far(triggerer: TriggererModel, database: Database, died: str) -> bool:
    is_about_to = any('"sent"' in value for value in database.state.values())
    match died:
        case "before it kept what it was about to send":
            return triggerer.blocked_writes == 1
        case "before the events were stored":
            return bool(triggerer.fired) and is_about_to
        case "before it was told that they were":
            return bool(triggerer.stored) and is_about_to
        case "before it kept that they were":
            return triggerer.blocked_writes == 1 and is_about_to
    return bool(database.events) and not is_about_to


async def test_what_was_sent_and_then_replaced_is_taken_back(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    await asyncio.to_thread(mine_unlike_any_other, evm, 3)
    trigger = BloqBlockTrigger(node=node, start=start + 1, **EAGER)
    triggerer = begin()
    triggerer.confirms = False
    triggerer.start(1, trigger)
    await database.until(lambda: heights(database.of(1)) == [start + 1, start + 2, start + 3])
    await triggerer.kill()
    sent = database.of(1)
    await asyncio.to_thread(evm.reorganise, 2)
    await asyncio.to_thread(evm.mine, 1)
    triggerer = begin()
    triggerer.start(1, trigger)
    await database.until(lambda: heights(of_kind(database.of(1), "blocks"))[-1:] == [start + 4])
    reorg, *new = database.of(1)[len(sent) :]
    assert (reorg["event"], reorg["first"], reorg["last"]) == ("reorg", start + 2, start + 3)
    assert heights(new)[0] == start + 2
    assert not any(event["redelivered"] for event in database.of(1))


async def test_a_reorg_that_may_not_have_been_told_is_told_again(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    trigger = BloqBlockTrigger(node=node, **EAGER)
    triggerer = begin()
    triggerer.start(1, trigger)
    await has_begun(database)
    await asyncio.to_thread(mine_unlike_any_other, evm, 4)
    await database.until(lambda: heights(database.of(1))[-1:] == [evm.height])
    await settled(database, triggerer)
    triggerer.confirms = False
    await asyncio.to_thread(evm.reorganise, 2)
    await database.until(lambda: bool(of_kind(database.of(1), "reorg")))
    await triggerer.kill()
    triggerer = begin()
    triggerer.start(1, trigger)
    await database.until(lambda: heights(of_kind(database.of(1), "blocks")[-1:])[-1:] == [evm.height])
    await database.until(lambda: len(of_kind(database.of(1), "reorg")) == 2)
    first, second = of_kind(database.of(1), "reorg")
    assert second == {**first, "redelivered": True}
