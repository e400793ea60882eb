"""Transactions of Bitcoin's nodes, in the answers that its daemon gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.transactions import TransactionConfirmed
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqRpcError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqUnavailable,
)
from tests.clients.both_ways import BothWays
from tests.conditions.bitcoin_node import BitcoinNode, RpcFault
from tests.conditions.looking import Looking, failure_of, reason_of, result_of

Wait = Callable[..., Looking]


@pytest.fixture
def wait(outsider: BothWays, btc: RpcSubject) -> Wait:
    """Wait for a transaction."""

    def waiting(tx_hash: str, confirmations: int = 1, unseen_for: float = 1e9) -> Looking:
        return Looking(outsider, TransactionConfirmed(btc, tx_hash, confirmations, unseen_for))

    return waiting


@pytest.fixture
def coin(btc_node: BitcoinNode) -> tuple[str, int]:
    """An output in the chain, to be spent."""
    return btc_node.add(mined_at=50), 0


def test_a_transaction_is_confirmed_at_just_the_depth_that_was_asked_for(
    btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait
) -> None:
    sent = btc_node.add(coin)
    looking = wait(f"0x{sent.upper()}", 2)
    assert "is pending" in reason_of(looking.look())
    btc_node.transactions[sent].mined_at = btc_node.height = 101
    assert "1 of 2 confirmations" in reason_of(looking.look())
    btc_node.height = 102
    assert result_of(looking.look()) == {
        "tx_hash": f"0x{sent.upper()}",
        "height": 101,
        "block_hash": btc_node.block_hash(101),
        "confirmations": 2,
    }
    assert btc_node.batches == 3 * [["getblockchaininfo", "getrawtransaction", "getbestblockhash"]]


def test_a_conflict_in_a_block_replaces(btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait) -> None:
    sent = btc_node.add(coin)
    looking = wait(sent, 2)
    assert "is pending" in reason_of(looking.look())
    btc_node.forget(sent)
    # While the other is only pending, too, a block may hold either.
    other = btc_node.add(coin)
    assert "not known" in reason_of(looking.look())
    btc_node.transactions[other].mined_at = btc_node.height = 101
    looking.begin_anew()
    assert "a reorg may undo it" in reason_of(looking.look())
    btc_node.height = 102
    error = failure_of(looking.look())
    assert isinstance(error, BloqTransactionReplaced)
    assert f"{coin[0]} 0" in str(error)


def test_an_input_whose_own_transaction_is_gone_is_no_replacement(btc_node: BitcoinNode, wait: Wait) -> None:
    parent = btc_node.add()
    sent = btc_node.add((parent, 0))
    looking = wait(sent)
    assert "is pending" in reason_of(looking.look())
    btc_node.forget(sent)
    assert "not known" in reason_of(looking.look())
    btc_node.forget(parent)
    assert "not known" in reason_of(looking.look())
    assert "not known" in reason_of(looking.look())


def test_one_that_the_node_forgets_is_dropped(
    btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait
) -> None:
    sent = btc_node.add(coin)
    looking = wait(sent, unseen_for=0)
    looking.look()
    btc_node.forget(sent)
    assert isinstance(failure_of(looking.look()), BloqTransactionDropped)


def test_a_reorg_moves_it_back_to_waiting(btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait) -> None:
    sent = btc_node.add(coin, mined_at=100)
    looking = wait(sent, 2)
    assert "1 of 2 confirmations" in reason_of(looking.look())
    btc_node.branch = "other"
    btc_node.transactions[sent].mined_at = None
    assert "is pending, since a reorg took it out of block 100" in reason_of(looking.look())


def test_one_in_a_block_of_the_past_is_neither_confirmed_nor_pending(
    btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait
) -> None:
    sent = btc_node.add(coin)
    btc_node.transactions[sent].stale = True
    looking = wait(sent)
    assert "not known" in reason_of(looking.look())
    btc_node.add(coin, mined_at=100)
    assert "a reorg may undo it" in reason_of(looking.look())
    assert isinstance(failure_of(looking.look()), BloqTransactionReplaced)


def test_a_block_that_comes_while_the_node_is_asked_makes_no_wrong_height(
    btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait
) -> None:
    sent = btc_node.add(coin, mined_at=100)

    def come_once() -> None:
        btc_node.before.clear()
        btc_node.height += 1

    btc_node.before["getrawtransaction"] = come_once
    result = result_of(wait(sent).look())
    assert (result["height"], result["confirmations"]) == (100, 2)
    assert len(btc_node.batches) == 2


def test_a_head_that_never_stands_still_is_told(
    btc_node: BitcoinNode, coin: tuple[str, int], wait: Wait
) -> None:
    def come() -> None:
        btc_node.height += 1

    btc_node.before["getrawtransaction"] = come
    with pytest.raises(BloqUnavailable, match="changes faster"):
        wait(btc_node.add(coin)).look()
    assert len(btc_node.batches) == 3


def test_a_node_without_an_index_is_a_mistake_of_the_settings(btc_node: BitcoinNode, wait: Wait) -> None:
    btc_node.no_such = (
        "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction "
        "queries. Use gettransaction for wallet transactions."
    )
    with pytest.raises(BloqConfigurationError, match="txindex=1") as wrong:
        wait("ab" * 32).look()
    assert wrong.value.fields == ("node",)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (RpcFault(-28, "Loading block index…"), "Loading block index"),
        (
            RpcFault(
                -5,
                "No such mempool transaction. Blockchain transactions are still in the process of being indexed.",
            ),
            "not complete",
        ),
    ],
    ids=["starting", "indexing"],
)
def test_a_node_that_is_not_ready_may_be_asked_later(
    btc_node: BitcoinNode, wait: Wait, fault: RpcFault, text: str
) -> None:
    looking = wait("ab" * 32)

    def fail() -> None:
        raise fault

    btc_node.before["getrawtransaction"] = fail
    with pytest.raises(BloqUnavailable, match=text) as unavailable:
        looking.look()
    assert unavailable.value.retryable


def test_any_other_error_is_raised_as_it_is(btc_node: BitcoinNode, wait: Wait) -> None:
    btc_node.fault = RpcFault(-32601, "Method not found")
    with pytest.raises(BloqRpcError) as refused:
        wait("ab" * 32).look()
    assert refused.value.code == -32601
