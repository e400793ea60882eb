"""How transactions stand: unknown, pending, in a block, or overtaken by another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from airflow_provider_bloq.chains.blocks import BITCOIN_INFO, EVM_HEAD, Head, bitcoin_head, evm_head
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
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall

__all__ = [
    "Mined",
    "SpentInputs",
    "TransactionStatus",
    "TransactionStatuses",
    "bitcoin_statuses",
    "evm_statuses",
    "read_statuses",
]


#: What a transaction uses, which nothing can use twice: its sender's address with the nonce (EVM), or the
#: outputs that it spends, each as the hash of their transaction with their number (Bitcoin).
SpentInputs: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """The place of a transaction in the chain.

    :param height: Number of its block.
    :param block_hash: Hash of its block.
    :param confirmations: How many it has; one if its block is the head, none if the head was read before
        the block came.
    :param reverted: Whether it failed when it was executed, so that it had no effect but its fee.
    """

    height: int
    block_hash: str
    confirmations: int
    reverted: bool = False


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """How one transaction stands with one node.

    :param mined: Where it is in the chain; None if it is not.
    :param pending: Whether it waits to be mined. If neither, the node does not know it.
    :param uses: What it uses, as far as the node or who asked knows it.
    :param overtaken: Whether a transaction in the chain, which is not this one, has used any of that.
    """

    mined: Mined | None = None
    pending: bool = False
    uses: SpentInputs = ()
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class TransactionStatuses:
    """How many transactions stand, all seen in one look.

    :param observed_at: When, in seconds since the epoch, by the clock of who looked.
    :param head: The head of the chain.
    :param of: The transactions by their hashes, as these were asked for.
    """

    observed_at: float
    head: Head
    of: Mapping[str, TransactionStatus]


_FAILED = 0


def evm_statuses(
    rpc: RpcApi, wanted: Mapping[str, SpentInputs]
) -> Flow[tuple[Head, dict[str, TransactionStatus]]]:
    """Look at many transactions at once.

    :param rpc: A node.
    :param wanted: Their hashes, and what each is known to use from a look before: sender and nonce.
    :return: The head, and the transactions by their hashes.
    """
    senders = sorted({sender for uses in wanted.values() for sender, _ in uses})
    # The nonces before the transactions: what is mined between the two is then seen as mined, not as
    # overtaken.
    questions = [EVM_HEAD, *(RpcCall("eth_getTransactionCount", [sender, "latest"]) for sender in senders)]
    for tx_hash in wanted:
        name = tx_hash if tx_hash.startswith("0x") else f"0x{tx_hash}"
        questions += RpcCall("eth_getTransactionByHash", [name]), RpcCall("eth_getTransactionReceipt", [name])
    head_answer, *answers = yield from ask(rpc, questions)
    head = evm_head(head_answer)
    used = {
        sender: quantity(result_of(count), "eth_getTransactionCount")
        for sender, count in zip(senders, answers, strict=False)
    }
    pairs = zip(answers[len(senders) :: 2], answers[len(senders) + 1 :: 2], strict=True)
    return head, {
        tx_hash: _evm_transactions_standing(head, uses, used, transaction, receipt)
        for (tx_hash, uses), (transaction, receipt) in zip(wanted.items(), pairs, strict=True)
    }


def _evm_transactions_standing(
    head: Head, known: SpentInputs, used: Mapping[str, int], transaction: Any, receipt: Any
) -> TransactionStatus:
    uses = known if result_of(transaction) is None else _uses(fields_of(transaction, "transaction"))
    if result_of(receipt) is not None:
        return TransactionStatus(mined=_mined(head, fields_of(receipt, "receipt")), uses=uses)
    overtaken = any(used.get(sender, 0) > nonce for sender, nonce in uses)
    return TransactionStatus(pending=result_of(transaction) is not None, uses=uses, overtaken=overtaken)


def _uses(transaction: dict[str, Any]) -> SpentInputs:
    sender = transaction.get("from")
    return ((sender.lower(), quantity_in(transaction, "nonce")),) if isinstance(sender, str) else ()


def _mined(head: Head, receipt: dict[str, Any]) -> Mined:
    height = quantity_in(receipt, "blockNumber")
    # Receipts from before the Byzantium fork have no status.
    reverted = receipt.get("status") is not None and quantity_in(receipt, "status") == _FAILED
    return Mined(height, hash_in(receipt, "blockHash"), head.confirmations_of(height), reverted)


#: "No such transaction", with the reason in words only.
_NO_SUCH_TRANSACTION = -5
#: How often a look begins anew since a block came while it was under way.
_TRIES = 3
#: Inputs of one transaction that are remembered; more would make the memory of a large one grow too much.
_INPUTS_KEPT = 20


def bitcoin_statuses(
    rpc: RpcApi, wanted: Mapping[str, SpentInputs]
) -> Flow[tuple[Head, dict[str, TransactionStatus]]]:
    """Look at many transactions at once.

    :param rpc: A node, which must have an index of transactions (``txindex=1``).
    :param wanted: Their hashes, and what each is known to use from a look before: outputs that it spends.
    :return: The head, and the transactions by their hashes.
    :raises BloqConfigurationError: The node has no such index.
    :raises BloqUnavailable: Blocks come faster than the node can be asked, or its index is not complete.
    """
    for _ in range(_TRIES):
        questions = [RpcCall("getrawtransaction", [tx_hash.removeprefix("0x"), True]) for tx_hash in wanted]
        info, *answers, last = yield from ask(rpc, [BITCOIN_INFO, *questions, RpcCall("getbestblockhash")])
        head = yield from bitcoin_head(rpc, info)
        # Confirmations are counted by the node, heights from them by the head: it must be the same one.
        if result_of(last) == head.hash:
            break
    else:
        raise BloqUnavailable("The node's head changes faster than its transactions can be read.")
    found = {
        tx_hash: _bitcoin_transactions_standing(head, uses, answer)
        for (tx_hash, uses), answer in zip(wanted.items(), answers, strict=True)
    }
    lost = {
        tx_hash: standing.uses
        for tx_hash, standing in found.items()
        if standing.mined is None and not standing.pending and standing.uses
    }
    for tx_hash in (yield from _overtaken(rpc, lost)):
        found[tx_hash] = TransactionStatus(uses=found[tx_hash].uses, overtaken=True)
    return head, found


def _bitcoin_transactions_standing(head: Head, known: SpentInputs, outcome: Any) -> TransactionStatus:
    if _is_unknown(outcome):
        return TransactionStatus(uses=known)
    transaction = fields_of(outcome, "transaction")
    uses = tuple(_inputs(transaction))
    if transaction.get("blockhash") is None:
        return TransactionStatus(pending=True, uses=uses)
    confirmations = number_in(transaction, "confirmations") if "confirmations" in transaction else 0
    if confirmations < 1:
        # The index still finds it in a block that is no longer part of the chain.
        return TransactionStatus(uses=uses)
    height = head.height - confirmations + 1
    return TransactionStatus(mined=Mined(height, hash_in(transaction, "blockhash"), confirmations), uses=uses)


def _inputs(transaction: dict[str, Any]) -> list[tuple[str, int]]:
    inputs = transaction.get("vin")
    spent = [item for item in inputs if isinstance(item, dict) and "txid" in item] if inputs else []
    return [(hash_in(item, "txid"), number_in(item, "vout")) for item in spent[:_INPUTS_KEPT]]


def _is_unknown(outcome: Any) -> bool:
    if not isinstance(outcome, BloqRpcError) or outcome.code != _NO_SUCH_TRANSACTION:
        return False
    reason = outcome.message.lower()
    if "-txindex" in reason:
        raise BloqConfigurationError.of(
            "node",
            "it keeps no index of transactions, so that it cannot tell of those in blocks",
            "Wait on a node that runs with txindex=1.",
        )
    if "being indexed" in reason:
        raise BloqUnavailable("The node's index of transactions is not complete yet.", acted=False)
    return True


def _overtaken(rpc: RpcApi, lost: Mapping[str, SpentInputs]) -> Flow[set[str]]:
    """Return those of which an output that they would spend was spent by another, in a block."""
    outputs = sorted(set(chain.from_iterable(lost.values())))
    if not outputs:
        return set()
    unspent = [RpcCall("gettxout", [tx_hash, number, False]) for tx_hash, number in outputs]
    origins = [RpcCall("getrawtransaction", [tx_hash, True]) for tx_hash, _ in outputs]
    answers = yield from ask(rpc, [*unspent, *origins])
    spent = {
        output
        for output, left, origin in zip(outputs, answers, answers[len(outputs) :], strict=False)
        # An output that never was in a block is not among the unspent ones either.
        if result_of(left) is None and not _is_unknown(origin) and _is_in_chain(origin)
    }
    return {tx_hash for tx_hash, uses in lost.items() if not spent.isdisjoint(uses)}


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
    """Look at many transactions at once.

    :param rpc: A node of the chain.
    :param family: The chain's family.
    :param wanted: The hashes, each with what the transaction is known to use from a look before. Without
        that it cannot be told whether one that is gone was replaced.
    :param clock: Tells the seconds since the epoch.
    :raises BloqConfigurationError: The node does not keep what is asked for.
    :raises BloqRpcError: The node refuses to tell.
    :raises BloqApiError: The node could not be reached, is starting, or gave no usable answer.
    """
    read = evm_statuses if family is ChainFamily.EVM else bitcoin_statuses
    head, standings = yield from read(rpc, wanted)
    return TransactionStatuses(clock(), head, standings)
