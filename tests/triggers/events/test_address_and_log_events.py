"""``BloqAddressTrigger`` and ``BloqLogsTrigger`` on a real chain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqLogsTrigger
from tests.conditions.evm_chain import EvmChain
from tests.triggers.events.conftest import Begin
from tests.triggers.events.contracts import TRANSFER, logging_code, send, word
from tests.triggers.events.triggerer_model import Database

pytestmark = pytest.mark.anvil

EAGER: dict[str, Any] = {"poll_interval": 0.1, "confirmations": 1}
ETHER = 10**18
TOPIC = word(0xA1)


async def begun(begin: Begin, database: Database, trigger: Any) -> Any:
    triggerer = begin()
    triggerer.start(1, trigger)
    await database.until(lambda: database.writes > 0)
    return triggerer


def transfers(database: Database) -> list[dict[str, Any]]:
    return [transfer for event in database.of(1) for transfer in event["transfers"]]


async def test_native_payments_to_and_from_an_address_fire_in_their_order(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    alice, bob, carol = (evm.new_account() for _ in range(3))
    mixed_case = "0x" + bob[2:].upper()
    await begun(begin, database, BloqAddressTrigger(node=node, addresses=mixed_case, **EAGER))
    paid = send(evm, alice, 0, to=bob, value=hex(3 * ETHER))
    send(evm, alice, 1, to=carol, value=hex(5))
    evm.mine()
    evm.mine(2)
    spent = send(evm, bob, 0, to=carol, value=hex(2**64))
    send(evm, bob, 1, to=carol, value=hex(0))
    evm.mine()
    await database.until(lambda: len(database.events) == 2)
    height = evm.height
    assert transfers(database) == [
        {"tx_hash": paid, "tx_index": 0, "log_index": None, "token": None, "from": alice, "to": bob,
         "amount": str(3 * ETHER)},
        {"tx_hash": spent, "tx_index": 0, "log_index": None, "token": None, "from": bob, "to": carol,
         "amount": str(2**64)},
    ]  # fmt: skip
    block = evm.block(height - 3)
    first = database.of(1)[0]
    del first["transfers"]
    assert first == {
        "event": "transfers",
        "id": f"transfers:{height - 3}:{block['hash']}:1",
        "height": height - 3,
        "block_hash": block["hash"],
        "time": int(block["timestamp"], 16),
        "part": 1,
        "parts": 1,
        "redelivered": False,
    }


async def test_a_reverted_payment_is_none_and_a_new_contract_is_paid_what_it_is_endowed_with(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    alice = evm.new_account()
    await begun(begin, database, BloqAddressTrigger(node=node, addresses=alice, **EAGER))
    send(evm, alice, 0, data="0x60006000fd", value=hex(1))
    created = send(evm, alice, 1, data=logging_code([TOPIC]), value=hex(7))
    evm.mine()
    await database.until(lambda: bool(database.events))
    (transfer,) = transfers(database)
    receipt = evm.call("eth_getTransactionReceipt", created)
    assert (transfer["tx_hash"], transfer["to"], transfer["amount"]) == (
        created,
        receipt["contractAddress"],
        "7",
    )


@pytest.mark.parametrize(
    ("direction", "amounts"), [("both", ["1", "2", "3"]), ("to", ["1", "3"]), ("from", ["2", "3"])]
)
async def test_tokens_fire_by_direction_and_once_where_both_sides_are_watched(
    evm: EvmChain,
    node: dict[str, Any],
    database: Database,
    begin: Begin,
    direction: str,
    amounts: list[str],
) -> None:
    minter, ours, ours_too, other = (evm.new_account() for _ in range(4))
    trigger = BloqAddressTrigger(
        node=node, addresses=[ours, ours_too], direction=direction, native=False, **EAGER
    )
    await begun(begin, database, trigger)
    for nonce, (sender, receiver) in enumerate(
        [(other, ours), (ours, other), (ours, ours_too), (other, minter)]
    ):
        topics = [TRANSFER, word(sender), word(receiver)]
        send(evm, minter, nonce, data=logging_code(topics, word(nonce + 1)))
    # None of a token that is counted: the number of an ERC-721 token is a topic, and some give no amount.
    send(evm, minter, 4, data=logging_code([TRANSFER, word(other), word(ours), word(9)]))
    send(evm, minter, 5, data=logging_code([TRANSFER, word(other), word(ours), word(9)], word(9)))
    send(evm, minter, 6, data=logging_code([TRANSFER, word(other), word(ours)]))
    evm.mine()
    await database.until(lambda: bool(database.events))
    assert [transfer["amount"] for transfer in transfers(database)] == amounts
    found = transfers(database)[0]
    receipt = evm.call("eth_getTransactionReceipt", found["tx_hash"])
    assert found["token"] == receipt["contractAddress"]
    assert (found["from"], found["to"]) == ((other, ours) if direction != "from" else (ours, other))


async def test_only_the_tokens_that_are_wanted_fire(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    minter, ours = evm.new_account(), evm.new_account()
    start = evm.height + 1
    sent = [
        send(evm, minter, n, data=logging_code([TRANSFER, word(minter), word(ours)], word(n)))
        for n in range(3)
    ]
    evm.mine()
    wanted = evm.call("eth_getTransactionReceipt", sent[1])["contractAddress"]
    trigger = BloqAddressTrigger(node=node, addresses=ours, tokens=[wanted], start=start, **EAGER)
    await begun(begin, database, trigger)
    await database.until(lambda: bool(database.events))
    assert [transfer["tx_hash"] for transfer in transfers(database)] == [sent[1]]


async def test_logs_fire_by_contract_and_topics(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    alice = evm.new_account()
    trigger = BloqLogsTrigger(node=node, topics=[None, [TOPIC, word(0xA2)]], **EAGER)
    triggerer = await begun(begin, database, trigger)
    send(evm, alice, 0, data=logging_code([word(1), TOPIC], "0xab"))
    send(evm, alice, 1, data=logging_code([word(2), word(0xA3)]))
    send(evm, alice, 2, data=logging_code([word(3), word(0xA2)]))
    evm.mine()
    await database.until(lambda: bool(database.events))
    (event,) = database.of(1)
    first, second = event["logs"]
    receipt = evm.call("eth_getTransactionReceipt", first["tx_hash"])
    assert first == {
        "tx_hash": receipt["transactionHash"],
        "tx_index": 0,
        "log_index": 0,
        "address": receipt["contractAddress"],
        "topics": [word(1), TOPIC],
        "data": "0xab",
    }
    assert second["topics"][0] == word(3)
    by_address = BloqLogsTrigger(node=node, addresses=second["address"], start=event["height"], **EAGER)
    triggerer.start(2, by_address, "other")
    await database.until(lambda: bool(database.of(2)))
    assert [log["tx_hash"] for log in database.of(2)[0]["logs"]] == [second["tx_hash"]]


async def test_many_logs_of_a_block_come_in_parts(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    alice = evm.new_account()
    await begun(begin, database, BloqLogsTrigger(node=node, topics=[TOPIC], **EAGER))
    sent = [send(evm, alice, nonce, data=logging_code([TOPIC])) for nonce in range(120)]
    evm.mine()
    await database.until(lambda: len(database.events) == 2)
    assert [(event["part"], event["parts"], len(event["logs"])) for event in database.of(1)] == [
        (1, 2, 100),
        (2, 2, 20),
    ]
    assert [log["tx_hash"] for event in database.of(1) for log in event["logs"]] == sent


async def test_blocks_without_a_match_are_not_read_again_after_a_restart(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height
    await asyncio.to_thread(evm.call, "anvil_mine", hex(600))
    trigger = BloqLogsTrigger(node=node, topics=[TOPIC], start=start, **EAGER)
    triggerer = await begun(begin, database, trigger)
    head = evm.height
    await database.until(lambda: any(f'"height": {head}' in value for value in database.state.values()))
    await triggerer.kill()
    alice = evm.new_account()
    send(evm, alice, 0, data=logging_code([TOPIC]))
    evm.mine()
    await begun(begin, database, trigger)
    await database.until(lambda: bool(database.events))
    assert [event["height"] for event in database.of(1)] == [head + 1]


async def test_a_reorg_takes_back_what_was_told(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    alice = evm.new_account()
    await begun(begin, database, BloqLogsTrigger(node=node, topics=[TOPIC], **EAGER))
    send(evm, alice, 0, data=logging_code([TOPIC]))
    evm.mine()
    await database.until(lambda: len(database.events) == 1)
    height = evm.height
    await asyncio.to_thread(evm.reorganise, 1)
    await database.until(lambda: len(database.events) == 2)
    assert [(event["event"], event.get("first")) for event in database.of(1)] == [
        ("logs", None),
        ("reorg", height),
    ]
