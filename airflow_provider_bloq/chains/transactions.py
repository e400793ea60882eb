"""The status of transactions (unknown, pending, mined, replaced), and the condition that waits for one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar, TypeAlias

from airflow_provider_bloq.arguments import require_seconds, require_whole_number
from airflow_provider_bloq.chains.blocks import BITCOIN_INFO, EVM_HEAD, Head, bitcoin_head, evm_head
from airflow_provider_bloq.chains.conditions import RpcRead, RpcSubject, SubjectTarget
from airflow_provider_bloq.chains.queries import (
    ChainFamily,
    ask,
    fields_of,
    hash_in,
    number_in,
    quantity,
    quantity_in,
    result_of,
)
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqRpcError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqTransactionReverted,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.polling.conditions import Condition, Failed, Memory, Met, Target, Verdict, Waiting
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall

__all__ = [
    "Mined",
    "SpentInputs",
    "TransactionConfirmed",
    "TransactionInterest",
    "TransactionStatus",
    "TransactionStatuses",
    "WatchedTransactions",
    "bitcoin_statuses",
    "evm_statuses",
    "read_statuses",
]


#: What only one transaction can use: the sender's address with the nonce (EVM), or the outputs that it spends,
#: each as transaction hash and output number (Bitcoin).
SpentInputs: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """Where a transaction is in the chain.

    :param height: Height of its block.
    :param block_hash: Hash of its block.
    :param confirmations: Number of confirmations: 1 if its block is the head, 0 if the head was read before the
        block arrived.
    :param reverted: Whether its execution failed, so that it only cost its fee.
    """

    height: int
    block_hash: str
    confirmations: int
    reverted: bool = False


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """The status of one transaction on one node.

    :param mined: Where it is in the chain; None if it is not in the chain.
    :param pending: Whether it waits to be mined. If it is neither mined nor pending, the node does not know it.
    :param inputs: What it spends, as far as the node or the caller knows.
    :param replaced: Whether another transaction in the chain has spent any of that.
    """

    mined: Mined | None = None
    pending: bool = False
    inputs: SpentInputs = ()
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class TransactionStatuses:
    """The status of several transactions, read in one poll.

    :param observed_at: When they were read, in seconds since the epoch, by the local clock.
    :param head: The head of the chain.
    :param of: Each status by transaction hash, spelled as requested.
    """

    observed_at: float
    head: Head
    of: Mapping[str, TransactionStatus]


_FAILED = 0


def evm_statuses(
    rpc: RpcApi, wanted: Mapping[str, SpentInputs]
) -> Flow[tuple[Head, dict[str, TransactionStatus]]]:
    """Read the status of transactions on an EVM chain.

    :param rpc: A node.
    :param wanted: The hashes, each with the inputs known from an earlier poll: sender and nonce.
    :return: The head, and each status by transaction hash.
    """
    senders = sorted({sender for inputs in wanted.values() for sender, _ in inputs})
    # Nonces are read before the transactions, so that one mined in between is seen as mined, not as replaced.
    calls = [EVM_HEAD, *(RpcCall("eth_getTransactionCount", [sender, "latest"]) for sender in senders)]
    for tx_hash in wanted:
        name = tx_hash if tx_hash.startswith("0x") else f"0x{tx_hash}"
        calls += RpcCall("eth_getTransactionByHash", [name]), RpcCall("eth_getTransactionReceipt", [name])
    head_answer, *answers = yield from ask(rpc, calls)
    head = evm_head(head_answer)
    used = {
        sender: quantity(result_of(count), "eth_getTransactionCount")
        for sender, count in zip(senders, answers, strict=False)
    }
    pairs = zip(answers[len(senders) :: 2], answers[len(senders) + 1 :: 2], strict=True)
    return head, {
        tx_hash: _evm_status(head, inputs, used, transaction, receipt)
        for (tx_hash, inputs), (transaction, receipt) in zip(wanted.items(), pairs, strict=True)
    }


def _evm_status(
    head: Head, known: SpentInputs, used: Mapping[str, int], transaction: Any, receipt: Any
) -> TransactionStatus:
    inputs = known if result_of(transaction) is None else _evm_inputs(fields_of(transaction, "transaction"))
    if result_of(receipt) is not None:
        return TransactionStatus(mined=_mined(head, fields_of(receipt, "receipt")), inputs=inputs)
    replaced = any(used.get(sender, 0) > nonce for sender, nonce in inputs)
    return TransactionStatus(pending=result_of(transaction) is not None, inputs=inputs, replaced=replaced)


def _evm_inputs(transaction: dict[str, Any]) -> SpentInputs:
    sender = transaction.get("from")
    return ((sender.lower(), quantity_in(transaction, "nonce")),) if isinstance(sender, str) else ()


def _mined(head: Head, receipt: dict[str, Any]) -> Mined:
    height = quantity_in(receipt, "blockNumber")
    # Receipts from before the Byzantium fork have no status.
    reverted = receipt.get("status") is not None and quantity_in(receipt, "status") == _FAILED
    return Mined(height, hash_in(receipt, "blockHash"), head.confirmations_of(height), reverted)


#: "No such transaction"; only the message says why.
_NO_SUCH_TRANSACTION = -5
#: Attempts to read the transactions without the head changing in between.
_ATTEMPTS = 3
#: Inputs remembered per transaction, to limit what is stored for a large one.
_MAX_INPUTS = 20


def bitcoin_statuses(
    rpc: RpcApi, wanted: Mapping[str, SpentInputs]
) -> Flow[tuple[Head, dict[str, TransactionStatus]]]:
    """Read the status of transactions on a Bitcoin-like chain.

    :param rpc: A node with a transaction index (``txindex=1``).
    :param wanted: The hashes, each with the inputs known from an earlier poll: outputs that it spends.
    :return: The head, and each status by transaction hash.
    :raises BloqConfigurationError: The node has no transaction index.
    :raises BloqUnavailable: The head changes faster than the node can be read, or the index is incomplete.
    """
    for _ in range(_ATTEMPTS):
        calls = [RpcCall("getrawtransaction", [tx_hash.removeprefix("0x"), True]) for tx_hash in wanted]
        info, *answers, last = yield from ask(rpc, [BITCOIN_INFO, *calls, RpcCall("getbestblockhash")])
        head = yield from bitcoin_head(rpc, info)
        # Confirmations are counted by the node, heights from them by the head: it must be the same one.
        if result_of(last) == head.hash:
            break
    else:
        raise BloqUnavailable("The node's head changes faster than its transactions can be read.")
    found = {
        tx_hash: _bitcoin_status(head, inputs, answer)
        for (tx_hash, inputs), answer in zip(wanted.items(), answers, strict=True)
    }
    lost = {
        tx_hash: status.inputs
        for tx_hash, status in found.items()
        if status.mined is None and not status.pending and status.inputs
    }
    for tx_hash in (yield from _find_replaced(rpc, lost)):
        found[tx_hash] = TransactionStatus(inputs=found[tx_hash].inputs, replaced=True)
    return head, found


def _bitcoin_status(head: Head, known: SpentInputs, outcome: Any) -> TransactionStatus:
    if _is_unknown(outcome):
        return TransactionStatus(inputs=known)
    transaction = fields_of(outcome, "transaction")
    inputs = tuple(_bitcoin_inputs(transaction))
    if transaction.get("blockhash") is None:
        return TransactionStatus(pending=True, inputs=inputs)
    confirmations = number_in(transaction, "confirmations") if "confirmations" in transaction else 0
    if confirmations < 1:
        # The index still finds it in a block that is no longer in the chain.
        return TransactionStatus(inputs=inputs)
    height = head.height - confirmations + 1
    return TransactionStatus(
        mined=Mined(height, hash_in(transaction, "blockhash"), confirmations), inputs=inputs
    )


def _bitcoin_inputs(transaction: dict[str, Any]) -> list[tuple[str, int]]:
    inputs = transaction.get("vin")
    spent = [item for item in inputs if isinstance(item, dict) and "txid" in item] if inputs else []
    return [(hash_in(item, "txid"), number_in(item, "vout")) for item in spent[:_MAX_INPUTS]]


def _is_unknown(outcome: Any) -> bool:
    if not isinstance(outcome, BloqRpcError) or outcome.code != _NO_SUCH_TRANSACTION:
        return False
    reason = outcome.message.lower()
    if "-txindex" in reason:
        raise BloqConfigurationError.of(
            "node",
            "it has no transaction index, so it cannot find mined transactions",
            "Wait on a node that runs with txindex=1.",
        )
    if "being indexed" in reason:
        raise BloqUnavailable("The node's transaction index is not complete yet.", acted=False)
    return True


def _find_replaced(rpc: RpcApi, lost: Mapping[str, SpentInputs]) -> Flow[set[str]]:
    """Return the hashes of transactions an input of which was spent by another, mined transaction."""
    outputs = sorted(set(chain.from_iterable(lost.values())))
    if not outputs:
        return set()
    unspent = [RpcCall("gettxout", [tx_hash, number, False]) for tx_hash, number in outputs]
    origins = [RpcCall("getrawtransaction", [tx_hash, True]) for tx_hash, _ in outputs]
    answers = yield from ask(rpc, [*unspent, *origins])
    spent = {
        output
        for output, left, origin in zip(outputs, answers, answers[len(outputs) :], strict=False)
        # gettxout also returns nothing for an output that was never mined.
        if result_of(left) is None and not _is_unknown(origin) and _is_in_chain(origin)
    }
    return {tx_hash for tx_hash, inputs in lost.items() if not spent.isdisjoint(inputs)}


def _is_in_chain(outcome: Any) -> bool:
    confirmations = fields_of(outcome, "transaction").get("confirmations")
    return isinstance(confirmations, int) and confirmations > 0


def read_statuses(
    rpc: RpcApi,
    family: ChainFamily,
    wanted: Mapping[str, SpentInputs],
    *,
    clock: Callable[[], float] = time.time,
) -> Flow[TransactionStatuses]:
    """Read the status of transactions.

    :param rpc: A node of the chain.
    :param family: The chain's family.
    :param wanted: The hashes, each with the inputs known from an earlier poll. Without them, a transaction that
        the node no longer knows cannot be recognised as replaced.
    :param clock: Returns seconds since the epoch.
    :raises BloqConfigurationError: The node has no transaction index.
    :raises BloqRpcError: The node answered with an error.
    :raises BloqApiError: The node could not be reached, is starting, or gave no usable answer.
    """
    read = evm_statuses if family is ChainFamily.EVM else bitcoin_statuses
    head, statuses = yield from read(rpc, wanted)
    return TransactionStatuses(clock(), head, statuses)


@dataclass(frozen=True, slots=True)
class _History:
    """What earlier polls have seen of a transaction.

    :param inputs: What the transaction spends.
    :param mined_at: Height of the last block in which it was seen.
    :param replaced_at: Height of the head when another transaction was first seen to have spent its inputs.
    :param unknown_since: When the node was first seen not to know it, in seconds since the epoch.
    """

    inputs: SpentInputs = ()
    mined_at: int | None = None
    replaced_at: int | None = None
    unknown_since: float | None = None

    @classmethod
    def from_json(cls, memory: Memory | None) -> _History:
        """Read what :meth:`to_json` wrote."""
        memory = memory or {}
        return cls(
            tuple((str(what), int(number)) for what, number in memory.get("inputs", ())),
            memory.get("mined_at"),
            memory.get("replaced_at"),
            memory.get("unknown_since"),
        )

    def to_json(self) -> Memory:
        """Return it as JSON."""
        return {
            "inputs": [list(use) for use in self.inputs],
            "mined_at": self.mined_at,
            "replaced_at": self.replaced_at,
            "unknown_since": self.unknown_since,
        }

    def with_inputs(self, inputs: SpentInputs) -> _History:
        """Return it with the transaction's inputs, if any are known."""
        return replace(self, inputs=inputs) if inputs else self

    def mined_in(self, height: int) -> _History:
        """Return it after the transaction was seen in a block."""
        return _History(self.inputs, mined_at=height)

    @property
    def was_seen(self) -> bool:
        """Whether the node ever knew the transaction."""
        return bool(self.inputs) or self.mined_at is not None

    def reorg_note(self) -> str:
        """Return a note for messages that a reorg removed it from a block; empty if none did."""
        return "" if self.mined_at is None else f", since a reorg took it out of block {self.mined_at}"

    def describe_inputs(self) -> str:
        """Return its inputs as text for messages."""
        return ", ".join(f"{what} {number}" for what, number in self.inputs)


_HASH = re.compile(r"(?:0x)?[0-9a-f]{64}")
_HASH_BITS = 256


@dataclass(frozen=True, slots=True)
class TransactionInterest:
    """A transaction that a poll must ask for.

    :param tx_hash: Its hash.
    :param inputs: Its inputs, if known from an earlier poll.
    """

    tx_hash: str
    inputs: SpentInputs = ()


@dataclass(frozen=True, slots=True)
class WatchedTransactions(SubjectTarget):
    """The transactions that tasks wait for; a poll returns :class:`TransactionStatuses`.

    It remembers the inputs of each transaction between polls, because the node no longer knows those of a
    transaction that was replaced.

    :param clock: Returns seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def poll_function(self, rpc: RpcApi) -> RpcRead:
        known: dict[str, SpentInputs] = {}

        def read(family: ChainFamily, interests: frozenset[Hashable]) -> Flow[TransactionStatuses]:
            wanted = _wanted(interests, known)
            statuses = yield from read_statuses(rpc, family, wanted, clock=self.clock)
            known.clear()
            known.update({tx_hash: status.inputs for tx_hash, status in statuses.of.items()})
            return statuses

        return read


@dataclass(frozen=True, slots=True)
class TransactionConfirmed(Condition):
    """A transaction is in the chain and has enough confirmations.

    It has one confirmation when its block is the head, two when one more block is built on that. If a reorg
    removes it from the chain before it has enough, the wait goes on.

    The wait fails if:

    - Its execution failed, in a block with enough confirmations: ``BloqTransactionReverted`` (EVM).
    - Another transaction has used its nonce or one of its inputs, as many confirmations ago:
      ``BloqTransactionReplaced``. This requires that the transaction was seen before, pending or mined.
    - The node has not known it for ``unseen_for`` seconds without a break, even if it was never seen:
      ``BloqTransactionDropped``. So the wait may start before the transaction is sent.

    Bitcoin nodes need a transaction index (``txindex=1``). Members of a cluster may be a block apart: wait for at
    least two confirmations there.

    :param subject: A node or cluster of the chain.
    :param tx_hash: The transaction's hash in hex, or as a number: a DAG that renders templates as native objects
        turns ``0x…`` into one.
    :param confirmations: Number of confirmations required, at least 1.
    :param unseen_for: How long the node may not know the transaction, in seconds.
    :raises BloqConfigurationError: An argument is invalid.
    """

    kind: ClassVar[str] = "transaction_confirmed"

    subject: RpcSubject
    tx_hash: str
    confirmations: int = 1
    unseen_for: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tx_hash", _hash_of(self.tx_hash))
        require_whole_number("confirmations", self.confirmations, least=1)
        require_seconds("unseen_for", self.unseen_for)

    @property
    def target(self) -> Target:
        return WatchedTransactions(self.subject)

    @property
    def interest(self) -> TransactionInterest:
        return self.interest_after(None)

    def interest_after(self, memory: Memory | None) -> TransactionInterest:
        return TransactionInterest(self.tx_hash.strip().lower(), _History.from_json(memory).inputs)

    def judge(self, seen: TransactionStatuses, memory: Memory | None) -> Verdict:
        """Judge a poll; the result has ``tx_hash``, ``height``, ``block_hash`` and ``confirmations``."""
        status = seen.of.get(self.interest.tx_hash)
        if status is None:
            return Waiting("not polled yet", memory)
        history = _History.from_json(memory).with_inputs(status.inputs)
        if status.mined is not None:
            return self._in_chain(status.mined, history)
        if status.replaced:
            return self._replaced(seen.head.height, history)
        history = replace(history, replaced_at=None)
        if status.pending:
            return self._pending(history)
        return self._unknown(seen.observed_at, history)

    def _in_chain(self, mined: Mined, history: _History) -> Verdict:
        if mined.confirmations < self.confirmations:
            return Waiting(
                f"{self.tx_hash} has {mined.confirmations} of {self.confirmations} confirmations",
                history.mined_in(mined.height).to_json(),
            )
        if mined.reverted:
            return Failed(
                BloqTransactionReverted(
                    f"{self.tx_hash} is in block {mined.height}, but was reverted: it only cost its fee.",
                    tx_hash=self.tx_hash,
                    height=mined.height,
                    block_hash=mined.block_hash,
                )
            )
        return Met(
            {
                "tx_hash": self.tx_hash,
                "height": mined.height,
                "block_hash": mined.block_hash,
                "confirmations": mined.confirmations,
            }
        )

    def _replaced(self, height: int, history: _History) -> Verdict:
        # Not at the first such poll: this transaction may have been mined between its requests.
        if history.replaced_at is None:
            history = replace(history, replaced_at=height)
        elif height - history.replaced_at + 1 >= self.confirmations:
            return Failed(
                BloqTransactionReplaced(
                    f"{self.tx_hash} was replaced: another transaction used {history.describe_inputs()}.",
                    tx_hash=self.tx_hash,
                )
            )
        return Waiting(
            f"{self.tx_hash} was replaced by another transaction; a reorg may undo it", history.to_json()
        )

    def _pending(self, history: _History) -> Verdict:
        history = replace(history, unknown_since=None)
        return Waiting(f"{self.tx_hash} is pending{history.reorg_note()}", history.to_json())

    def _unknown(self, now: float, history: _History) -> Verdict:
        since = history.unknown_since if history.unknown_since is not None else now
        if now - since >= self.unseen_for:
            known = "is no longer known" if history.was_seen else "has never been known"
            return Failed(
                BloqTransactionDropped(
                    f"{self.tx_hash} {known} to the node, for {now - since:.0f} seconds.",
                    tx_hash=self.tx_hash,
                )
            )
        reason = f"{self.tx_hash} is not known to the node{history.reorg_note()}"
        return Waiting(reason, replace(history, unknown_since=since).to_json())


def _hash_of(given: object) -> str:
    if isinstance(given, int):
        if not isinstance(given, bool) and 0 <= given < 1 << _HASH_BITS:
            return f"0x{given:064x}"
        # Python does not convert very large numbers to decimal.
        text = "that number"
    else:
        if isinstance(given, str) and _HASH.fullmatch(given.strip().lower()):
            return given
        text = repr(str(given)[:80])
    raise BloqConfigurationError.of("tx_hash", f"{text} is not a transaction hash", "Give 32 bytes in hex.")


def _wanted(interests: frozenset[Hashable], known: dict[str, SpentInputs]) -> dict[str, SpentInputs]:
    wanted: dict[str, SpentInputs] = {}
    for interest in interests:
        if isinstance(interest, TransactionInterest):
            inputs = wanted.get(interest.tx_hash) or interest.inputs
            wanted[interest.tx_hash] = inputs or known.get(interest.tx_hash, ())
    return dict(sorted(wanted.items()))
