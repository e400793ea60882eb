"""What conditions make of a real Bitcoin chain: its head, its sync, its blocks, and all that payments meet with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import pytest

from airflow_provider_bloq.chains.conditions import BlockReached, ChainHead, NodeSynced, RpcSubject
from airflow_provider_bloq.chains.transactions import TransactionConfirmed, WatchedTransactions
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
)
from airflow_provider_bloq.polling.conditions import Verdict
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.bitcoin.conftest import account_of, subject_of
from tests.clients.both_ways import BothWays
from tests.conditions.looking import AccountReader, Looking, failure_of, reason_of, result_of
from tests.support.drivers import DriverKind
from tests.support.shared_chain import SharedChain

pytestmark = pytest.mark.bitcoind

Wait = Callable[..., Looking]
FEE = 10_000


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def before_a_service(node: Bitcoind, kind: DriverKind) -> Iterator[tuple[BothWays, RpcSubject]]:
    """Put a node of its own behind a service of its own."""
    upstreams = {"btc": lambda: SharedChain(node)}
    with (
        node,
        LocalBloq(LocalBloqOptions(upstreams=upstreams)) as service,
        account_of(service, kind) as bloq,
    ):
        yield bloq, subject_of(service, bloq)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(bloq: BothWays, btc: RpcSubject, clock: Clock) -> Wait:
    """Wait for a transaction."""

    def waiting(tx_hash: str, confirmations: int = 1, unseen_for: float = 60.0) -> Looking:
        condition = TransactionConfirmed(btc, tx_hash, confirmations, unseen_for)
        return Looking(bloq, condition, WatchedTransactions(btc, clock=clock))

    return waiting


def test_the_family_is_known_from_the_node(btc: RpcSubject) -> None:
    assert btc.family == "bitcoin"


def test_the_head(bitcoin: Bitcoind, bloq: BothWays, btc: RpcSubject) -> None:
    head = bloq.run(ChainHead(btc).poll_with(AccountReader(bloq))(frozenset()))
    best = bitcoin.rpc("getblockheader", bitcoin.rpc("getbestblockhash"))
    assert asdict(head) == {"height": best["height"], "hash": best["hash"], "time": best["time"]}


def test_a_node_is_in_sync_once_it_has_left_its_initial_download(
    bitcoind: list[str], kind: DriverKind
) -> None:
    with before_a_service(Bitcoind(blocks=0), kind) as (bloq, subject):
        looking = Looking(bloq, NodeSynced(subject, within_blocks=0, within_seconds=3600))
        reason = reason_of(looking.look())
        assert "initial download" in reason
        assert "seconds old" in reason, "its genesis block is of 2011"


def test_a_node_with_new_blocks_is_in_sync(bitcoin: Bitcoind, bloq: BothWays, btc: RpcSubject) -> None:
    bitcoin.mine()
    result = result_of(Looking(bloq, NodeSynced(btc, within_blocks=0, within_seconds=3600)).look())
    assert (result["behind"], result["head"]["height"]) == (0, bitcoin.height)
    assert abs(time.time() - result["head"]["time"] - result["age_seconds"]) < 3600


def test_a_block_is_reached_at_just_the_depth_that_was_asked_for(
    bitcoin: Bitcoind, bloq: BothWays, btc: RpcSubject
) -> None:
    height = bitcoin.height + 1
    looking = Looking(bloq, BlockReached(btc, height, confirmations=2))
    assert f"1 before {height}" in reason_of(looking.look())
    (block,) = bitcoin.mine()
    assert "1 of 2 confirmations" in reason_of(looking.look())
    bitcoin.invalidate(block)
    assert f"1 before {height}" in reason_of(looking.look())
    bitcoin.mine(2)
    assert result_of(looking.look())["head"]["height"] == height + 1


def test_a_payment_is_confirmed_at_just_the_depth_that_was_asked_for(bitcoin: Bitcoind, wait: Wait) -> None:
    sent = bitcoin.send(pay([bitcoin.coin()], fee=FEE))
    looking = wait(sent, 3)
    assert "is pending" in reason_of(looking.look())
    (block,) = bitcoin.mine()
    assert "1 of 3 confirmations" in reason_of(looking.look())
    bitcoin.mine()
    assert "2 of 3 confirmations" in reason_of(looking.look())
    bitcoin.mine()
    assert result_of(looking.look()) == {
        "tx_hash": sent,
        "height": bitcoin.height - 2,
        "block_hash": block,
        "confirmations": 3,
    }


def test_a_look_is_one_request_for_however_many_payments(
    running_bitcoin_service: LocalBloq, bitcoin: Bitcoind, bloq: BothWays, btc: RpcSubject
) -> None:
    many = pay([bitcoin.coin()], fee=FEE, outputs=40)
    bitcoin.mine_only(many)
    conditions = [TransactionConfirmed(btc, bitcoin.send(pay([coin], fee=FEE))) for coin in many.coins]
    observe = conditions[0].target.poll_with(AccountReader(bloq))
    interests = frozenset(condition.interest for condition in conditions)
    running_bitcoin_service.reset_counters()
    for verdict in ("Waiting", "Met"):
        seen = bloq.run(observe(interests))
        assert {type(condition.judge(seen, None)).__name__ for condition in conditions} == {verdict}
        bitcoin.mine()
    assert running_bitcoin_service.counters().calls["rpc POST /"] == 2


@pytest.mark.parametrize("anew", [False, True], ids=["one process", "a process for each look"])
def test_a_higher_fee_for_the_same_coin_replaces(bitcoin: Bitcoind, wait: Wait, anew: bool) -> None:
    coin = bitcoin.coin()
    sent = bitcoin.send(pay([coin], fee=FEE))
    looking = wait(sent, 2)

    def look() -> Verdict:
        if anew:
            looking.begin_anew()
        return looking.look()

    assert "is pending" in reason_of(look())
    other = bitcoin.send(pay([coin], fee=2 * FEE))
    # Only pending as yet: a miner may still take the first.
    assert "not known" in reason_of(look())
    (block,) = bitcoin.mine()
    assert other in bitcoin.rpc("getblock", block)["tx"]
    assert "a reorg may undo it" in reason_of(look())
    assert "a reorg may undo it" in reason_of(look())
    bitcoin.mine()
    error = failure_of(look())
    assert isinstance(error, BloqTransactionReplaced)
    assert error.tx_hash == sent
    assert f"{coin.txid} {coin.index}" in str(error)


def test_a_replacement_that_a_miner_does_not_take_is_none(bitcoin: Bitcoind, wait: Wait) -> None:
    coin = bitcoin.coin()
    first = pay([coin], fee=FEE)
    looking = wait(bitcoin.send(first))
    looking.look()
    bitcoin.send(pay([coin], fee=2 * FEE))
    assert "not known" in reason_of(looking.look())
    bitcoin.mine_only(first)
    assert result_of(looking.look())["confirmations"] == 1


def test_a_replacement_that_a_reorg_takes_away_is_none(bitcoin: Bitcoind, wait: Wait) -> None:
    coin = bitcoin.coin()
    first, other = pay([coin], fee=FEE), pay([coin], fee=2 * FEE)
    looking = wait(bitcoin.send(first), 3)
    looking.look()
    block = bitcoin.mine_only(other)
    assert "a reorg may undo it" in reason_of(looking.look())
    bitcoin.invalidate(block)
    bitcoin.mine_only(first)
    assert "1 of 3 confirmations" in reason_of(looking.look())
    bitcoin.mine(2)
    assert result_of(looking.look())["confirmations"] == 3


def test_a_payment_whose_coin_the_winning_branch_has_spent_otherwise_is_replaced(
    bitcoin: Bitcoind, wait: Wait
) -> None:
    coin = bitcoin.coin()
    first, other = pay([coin], fee=FEE), pay([coin], fee=2 * FEE)
    block = bitcoin.mine_only(first)
    looking = wait(first.txid, 2)
    assert "1 of 2 confirmations" in reason_of(looking.look())
    bitcoin.invalidate(block)
    bitcoin.mine_only(other)
    bitcoin.mine()
    assert bitcoin.rpc("getrawtransaction", first.txid, True)["confirmations"] == 0, "found in its old block"
    assert "a reorg may undo it" in reason_of(looking.look())
    bitcoin.mine()
    assert isinstance(failure_of(looking.look()), BloqTransactionReplaced)


def test_a_payment_that_the_node_gives_up_on_is_dropped_after_a_time(
    bitcoin: Bitcoind, wait: Wait, clock: Clock
) -> None:
    sent = bitcoin.send(pay([bitcoin.coin()], fee=FEE))
    looking = wait(sent, unseen_for=60.0)
    assert "is pending" in reason_of(looking.look())
    bitcoin.forget_unconfirmed()
    clock.now += 1000
    assert "not known" in reason_of(looking.look())
    clock.now += 59.9
    assert "not known" in reason_of(looking.look())
    clock.now += 0.1
    error = failure_of(looking.look())
    assert isinstance(error, BloqTransactionDropped)
    assert error.tx_hash == sent
    assert "no longer known" in str(error)


def test_a_payment_that_is_sent_again_in_time_is_waited_for_again(
    bitcoin: Bitcoind, wait: Wait, clock: Clock
) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    looking = wait(bitcoin.send(payment), unseen_for=60.0)
    looking.look()
    bitcoin.forget_unconfirmed()
    assert "not known" in reason_of(looking.look())
    clock.now += 59
    bitcoin.send(payment)
    assert "is pending" in reason_of(looking.look())
    clock.now += 59
    bitcoin.mine()
    assert result_of(looking.look())["confirmations"] == 1


def test_a_payment_whose_parent_was_replaced_is_not_replaced_itself_but_dropped(
    bitcoin: Bitcoind, wait: Wait, clock: Clock
) -> None:
    coin = bitcoin.coin()
    parent = pay([coin], fee=FEE)
    bitcoin.send(parent)
    child = pay(parent.coins, fee=FEE)
    looking = wait(bitcoin.send(child), unseen_for=60.0)
    assert "is pending" in reason_of(looking.look())
    bitcoin.send(pay([coin], fee=5 * FEE))
    bitcoin.mine(2)
    assert "not known" in reason_of(looking.look())
    clock.now += 60
    assert isinstance(failure_of(looking.look()), BloqTransactionDropped)


def test_a_payment_that_was_never_sent_is_dropped_after_a_time(
    bitcoin: Bitcoind, wait: Wait, clock: Clock
) -> None:
    looking = wait(pay([bitcoin.coin()], fee=FEE).txid, unseen_for=60.0)
    assert "not known" in reason_of(looking.look())
    clock.now += 60
    assert "has never been known" in str(failure_of(looking.look()))


def test_a_reorg_moves_a_payment_back_to_waiting(bitcoin: Bitcoind, wait: Wait) -> None:
    looking = wait(bitcoin.send(pay([bitcoin.coin()], fee=FEE)), 3)
    (old,) = bitcoin.mine()
    bitcoin.mine()
    height = bitcoin.height - 1
    assert "2 of 3 confirmations" in reason_of(looking.look())
    bitcoin.fork(2)
    assert f"is pending, since a reorg took it out of block {height}" in reason_of(looking.look())
    (new,) = bitcoin.mine()
    assert "1 of 3 confirmations" in reason_of(looking.look())
    bitcoin.mine(2)
    result = result_of(looking.look())
    assert (result["height"], result["block_hash"]) == (bitcoin.height - 2, new)
    assert new != old


def test_a_deep_reorg_after_which_the_node_has_forgotten_a_payment(bitcoin: Bitcoind, wait: Wait) -> None:
    payment = pay([bitcoin.coin()], fee=FEE)
    bitcoin.mine_only(payment)
    bitcoin.mine(11)
    height = bitcoin.height - 11
    looking = wait(payment.txid, 20)
    assert "12 of 20 confirmations" in reason_of(looking.look())
    bitcoin.fork(12)
    assert f"a reorg took it out of block {height}" in reason_of(looking.look())
    bitcoin.send(payment)
    assert "is pending" in reason_of(looking.look())
    bitcoin.mine(20)
    assert result_of(looking.look())["confirmations"] == 20


def test_what_a_miner_got_is_a_transaction_like_others(bitcoin: Bitcoind, wait: Wait) -> None:
    (block,) = bitcoin.mine()
    coinbase = bitcoin.rpc("getblock", block)["tx"][0]
    looking = wait(coinbase, 2)
    assert "1 of 2 confirmations" in reason_of(looking.look())
    bitcoin.invalidate(block)
    assert "not known" in reason_of(looking.look())
    bitcoin.mine(3)
    assert "not known" in reason_of(looking.look()), "gone with its block"


def test_a_node_without_an_index_of_transactions_cannot_be_waited_on(
    bitcoind: list[str], kind: DriverKind
) -> None:
    with before_a_service(Bitcoind(blocks=120, index=False), kind) as (bloq, subject):
        with pytest.raises(BloqConfigurationError, match="txindex=1") as wrong:
            Looking(bloq, TransactionConfirmed(subject, "ab" * 32)).look()
        assert wrong.value.fields == ("node",)
