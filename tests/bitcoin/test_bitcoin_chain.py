"""What a test can make happen on the chain, and that the node sees it so."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay

pytestmark = pytest.mark.bitcoind

FEE = 10_000


def confirmations(node: Bitcoind, payment: BitcoinPayment) -> int | None:
    """How deep it is, 0 while it waits in the mempool, None if the node does not know it."""
    try:
        seen: dict[str, Any] = node.rpc("getrawtransaction", payment.txid, 1)
    except BloqRpcError as error:
        assert error.code == -5
        return None
    depth: int = seen.get("confirmations", 0)
    return depth


def test_a_payment_waits_is_mined_and_gets_deeper(bitcoin: Bitcoind) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    assert confirmations(bitcoin, payment) is None
    assert bitcoin.send(payment) == payment.txid
    assert confirmations(bitcoin, payment) == 0
    (block,) = bitcoin.mine()
    assert confirmations(bitcoin, payment) == 1
    assert bitcoin.rpc("getblock", block)["tx"][1:] == [payment.txid]
    bitcoin.mine(5)
    assert confirmations(bitcoin, payment) == 6


def test_a_coin_is_made_into_many(bitcoin: Bitcoind) -> None:
    coin = bitcoin.coin()
    many = pay([coin], fee=30_000, outputs=300)
    bitcoin.send(many)
    assert len({(made.txid, made.index) for made in many.coins}) == 300
    one = pay(many.coins, fee=300_000)
    bitcoin.send(one)
    bitcoin.mine()
    output = bitcoin.rpc("gettxout", one.txid, 0)
    assert round(output["value"] * 100_000_000) == one.coins[0].satoshi
    assert coin.satoshi - one.coins[0].satoshi <= 330_000 + 300
    assert bitcoin.rpc("gettxout", many.txid, 299) is None


def test_a_higher_fee_replaces_a_payment(bitcoin: Bitcoind) -> None:
    coin = bitcoin.coin()
    first, second = pay([coin], fee=FEE), pay([coin], fee=2 * FEE)
    bitcoin.send(first)
    bitcoin.send(second)
    assert (confirmations(bitcoin, first), confirmations(bitcoin, second)) == (None, 0)
    with pytest.raises(BloqRpcError, match="insufficient fee") as refused:
        bitcoin.send(first)
    assert refused.value.code == -26


def test_a_block_can_spend_the_coin_of_a_waiting_payment(bitcoin: Bitcoind) -> None:
    coin = bitcoin.coin()
    waiting, other = pay([coin], fee=2 * FEE), pay([coin], fee=FEE)
    bitcoin.send(waiting)
    bitcoin.mine_only(other)
    assert (confirmations(bitcoin, waiting), confirmations(bitcoin, other)) == (None, 1)
    with pytest.raises(BloqRpcError, match="missingorspent") as refused:
        bitcoin.send(waiting)
    assert refused.value.code == -25


def test_a_block_can_leave_the_mempool_alone(bitcoin: Bitcoind) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.send(payment)
    bitcoin.mine_only()
    assert confirmations(bitcoin, payment) == 0


def test_too_low_a_fee_is_refused(bitcoin: Bitcoind) -> None:
    with pytest.raises(BloqRpcError, match="min relay fee not met") as refused:
        bitcoin.send(pay([bitcoin.coin()], fee=5))
    assert refused.value.code == -26


def test_more_than_the_coins_are_worth_cannot_be_paid(bitcoin: Bitcoind) -> None:
    coin = bitcoin.coin()
    with pytest.raises(ValueError, match="do not suffice"):
        pay([coin], fee=coin.satoshi)


def test_the_node_gives_up_on_what_waits_too_long(bitcoin: Bitcoind) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.send(payment)
    bitcoin.forget_unconfirmed()
    assert confirmations(bitcoin, payment) is None
    bitcoin.send(payment)
    assert confirmations(bitcoin, payment) == 0, "it may be sent again"


def test_a_shallow_fork_puts_a_payment_back_into_the_mempool(bitcoin: Bitcoind) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.send(payment)
    (old,) = bitcoin.mine()
    bitcoin.mine()
    height = bitcoin.height
    new = bitcoin.fork(2)
    assert len(new) == 3
    assert [bitcoin.block_hash(number) for number in range(height - 1, height + 2)] == new
    assert bitcoin.rpc("getblockheader", old)["confirmations"] == -1
    assert payment.txid in bitcoin.rpc("getrawmempool")
    bitcoin.mine()
    assert confirmations(bitcoin, payment) == 1


def test_a_deep_fork_loses_a_payment(bitcoin: Bitcoind) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.mine_only(payment)
    bitcoin.mine(11)
    bitcoin.fork(12)
    assert bitcoin.rpc("getrawmempool") == []
    assert bitcoin.rpc("gettxout", payment.txid, 0) is None


def test_branches_that_are_made_at_once_differ(bitcoin: Bitcoind) -> None:
    seen = {block for _ in range(5) for block in bitcoin.fork(2)}
    assert len(seen) == 15


def test_the_old_branch_can_win_again(bitcoin: Bitcoind) -> None:
    old = bitcoin.mine(3)
    bitcoin.invalidate(old[0])
    new = bitcoin.mine(2)
    assert bitcoin.rpc("getbestblockhash") == new[-1]
    bitcoin.reconsider(old[0])
    assert bitcoin.rpc("getbestblockhash") == old[-1]


def test_coins_are_never_given_twice_and_can_be_spent_after_forks(bitcoind: list[str]) -> None:
    with Bitcoind(blocks=101) as node:
        node.fork(100)
        coins = [node.coin() for _ in range(5)]
        assert len({coin.txid for coin in coins}) == 5
        assert len({coin.script for coin in coins}) == 2, "of both branches"
        payments = [pay([coin], fee=FEE) for coin in coins]
        node.mine_only(*payments)
        assert [confirmations(node, payment) for payment in payments] == [1] * 5


def test_a_coin_is_had_without_confirming_what_waits(bitcoind: list[str]) -> None:
    with Bitcoind(blocks=101) as node:
        payment = pay([node.coin()], fee=FEE)
        node.send(payment)
        height = node.height
        coins = [node.coin() for _ in range(3)]
        assert len({coin.txid for coin in coins}) == 3
        assert node.height > height
        assert confirmations(node, payment) == 0
