"""Transactions of a real chain behind a node: confirmed, reverted, replaced, dropped, and what reorgs do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.transactions import TransactionConfirmed, WatchedTransactions
from airflow_provider_bloq.exceptions import (
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqTransactionReverted,
)
from airflow_provider_bloq.polling.conditions import Verdict
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays
from tests.conditions.evm_chain import EvmChain
from tests.conditions.looking import AccountReader, Looking, failure_of, reason_of, result_of

pytestmark = pytest.mark.anvil

Wait = Callable[..., Looking]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(bloq: BothWays, eth: RpcSubject, clock: Clock) -> Wait:
    """Wait for a transaction."""

    def waiting(tx_hash: str, confirmations: int = 1, unseen_for: float = 60.0) -> Looking:
        condition = TransactionConfirmed(eth, tx_hash, confirmations, unseen_for)
        return Looking(bloq, condition, WatchedTransactions(eth, clock=clock))

    return waiting


def test_a_transaction_is_confirmed_at_just_the_depth_that_was_asked_for(chain: EvmChain, wait: Wait) -> None:
    sent = chain.send(chain.new_account())
    looking = wait(sent, 3)
    assert "is pending" in reason_of(looking.look())
    for confirmations in (1, 2):
        chain.mine()
        assert f"{confirmations} of 3 confirmations" in reason_of(looking.look())
    chain.mine()
    block = chain.block(chain.height - 2)
    assert result_of(looking.look()) == {
        "tx_hash": sent,
        "height": chain.height - 2,
        "block_hash": block["hash"],
        "confirmations": 3,
    }


def test_a_look_is_one_request_for_however_many_transactions(
    bloq_service: LocalBloq, bloq: BothWays, eth: RpcSubject, chain: EvmChain
) -> None:
    sender = chain.new_account()
    conditions = [TransactionConfirmed(eth, chain.send(sender, nonce)) for nonce in range(10)]
    assert len({condition.target for condition in conditions}) == 1
    observe = conditions[0].target.poll_with(AccountReader(bloq))
    interests = frozenset(condition.interest for condition in conditions)
    for mined in (False, True):
        seen = bloq.run(observe(interests))
        assert {type(condition.judge(seen, None)).__name__ for condition in conditions} == {
            "Met" if mined else "Waiting"
        }
        chain.mine()
    assert bloq_service.counters().calls["rpc POST /"] == 2


def test_a_reverted_one_fails_only_when_it_is_as_deep_as_a_confirmed_one(chain: EvmChain, wait: Wait) -> None:
    sent = chain.send(chain.new_account(), reverting=True)
    looking = wait(sent, 2)
    chain.mine()
    assert "1 of 2 confirmations" in reason_of(looking.look())
    chain.mine()
    error = failure_of(looking.look())
    assert isinstance(error, BloqTransactionReverted)
    assert (error.tx_hash, error.height) == (sent, chain.height - 1)
    assert error.block_hash == chain.block(error.height)["hash"]


@pytest.mark.parametrize("anew", [False, True], ids=["one process", "a process for each look"])
def test_a_higher_fee_for_the_same_nonce_replaces(chain: EvmChain, wait: Wait, anew: bool) -> None:
    sender = chain.new_account()
    sent = chain.send(sender, fee=10)
    looking = wait(sent, 2)

    def look() -> Verdict:
        if anew:
            looking.begin_anew()
        return looking.look()

    assert "is pending" in reason_of(look())
    chain.send(sender, fee=50)
    # Only pending as yet: the other may be dropped again, and this one be sent again.
    assert "not known" in reason_of(look())
    chain.mine()
    assert "a reorg may undo it" in reason_of(look())
    assert "a reorg may undo it" in reason_of(look())
    chain.mine()
    error = failure_of(look())
    assert isinstance(error, BloqTransactionReplaced)
    assert error.tx_hash == sent
    assert f"{sender} 0" in str(error)


def test_one_that_was_replaced_before_the_first_look_is_unknown_like_any_other(
    chain: EvmChain, wait: Wait, clock: Clock
) -> None:
    sender = chain.new_account()
    looking = wait(chain.send(sender, fee=10), unseen_for=60.0)
    chain.send(sender, fee=50)
    chain.mine()
    assert "not known" in reason_of(looking.look())
    clock.now += 60
    assert isinstance(failure_of(looking.look()), BloqTransactionDropped)


def test_a_replacement_that_a_reorg_takes_away_is_none(chain: EvmChain, wait: Wait) -> None:
    sender = chain.new_account()
    looking = wait(chain.send(sender, fee=10), 2)
    looking.look()
    chain.send(sender, fee=50)
    chain.mine()
    assert "a reorg may undo it" in reason_of(looking.look())
    chain.reorganise(1)
    assert "not known" in reason_of(looking.look())
    chain.mine(3)
    assert "not known" in reason_of(looking.look())


def test_one_that_the_node_forgets_is_dropped_after_a_time(chain: EvmChain, wait: Wait, clock: Clock) -> None:
    sent = chain.send(chain.new_account())
    looking = wait(sent, unseen_for=60.0)
    assert "is pending" in reason_of(looking.look())
    clock.now += 1000
    chain.drop(sent)
    assert "not known" in reason_of(looking.look())
    clock.now += 59.9
    assert "not known" in reason_of(looking.look())
    clock.now += 0.1
    error = failure_of(looking.look())
    assert isinstance(error, BloqTransactionDropped)
    assert error.tx_hash == sent
    assert "no longer known" in str(error)


def test_one_that_is_sent_again_in_time_is_waited_for_again(
    chain: EvmChain, wait: Wait, clock: Clock
) -> None:
    sender = chain.new_account()
    sent = chain.send(sender)
    looking = wait(sent, unseen_for=60.0)
    chain.drop(sent)
    assert "not known" in reason_of(looking.look())
    clock.now += 59
    assert chain.send(sender) == sent
    assert "is pending" in reason_of(looking.look())
    chain.drop(sent)
    clock.now += 59
    assert "not known" in reason_of(looking.look())


def test_one_that_was_never_sent_is_dropped_after_a_time(wait: Wait, clock: Clock, chain: EvmChain) -> None:
    looking = wait(f"0x{1:064x}", unseen_for=60.0)
    assert "not known" in reason_of(looking.look())
    clock.now += 60
    assert "has never been known" in str(failure_of(looking.look()))


def test_a_reorg_moves_one_that_is_not_deep_enough_back_to_waiting(chain: EvmChain, wait: Wait) -> None:
    sender = chain.new_account()
    sent = chain.send(sender)
    looking = wait(sent, 3)
    chain.mine(2)
    height = chain.height - 1
    assert "2 of 3 confirmations" in reason_of(looking.look())
    chain.reorganise(2)
    assert f"a reorg took it out of block {height}" in reason_of(looking.look())
    assert chain.send(sender) == sent
    assert f"is pending, since a reorg took it out of block {height}" in reason_of(looking.look())
    chain.mine(3)
    assert result_of(looking.look())["height"] == chain.height - 2 != height
