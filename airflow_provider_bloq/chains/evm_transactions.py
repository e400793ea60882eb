"""How transactions stand on an EVM chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import ask, fields_of, hash_in, quantity, quantity_in, result_of
from airflow_provider_bloq.chains.head import EVM_HEAD, Head, evm_head
from airflow_provider_bloq.chains.standing import Mined, Standing, Uses
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall

__all__ = ["evm_standings"]

_FAILED = 0


def evm_standings(rpc: RpcApi, wanted: Mapping[str, Uses]) -> Flow[tuple[Head, dict[str, Standing]]]:
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
        tx_hash: _standing(head, uses, used, transaction, receipt)
        for (tx_hash, uses), (transaction, receipt) in zip(wanted.items(), pairs, strict=True)
    }


def _standing(head: Head, known: Uses, used: Mapping[str, int], transaction: Any, receipt: Any) -> Standing:
    uses = known if result_of(transaction) is None else _uses(fields_of(transaction, "transaction"))
    if result_of(receipt) is not None:
        return Standing(mined=_mined(head, fields_of(receipt, "receipt")), uses=uses)
    overtaken = any(used.get(sender, 0) > nonce for sender, nonce in uses)
    return Standing(pending=result_of(transaction) is not None, uses=uses, overtaken=overtaken)


def _uses(transaction: dict[str, Any]) -> Uses:
    sender = transaction.get("from")
    return ((sender.lower(), quantity_in(transaction, "nonce")),) if isinstance(sender, str) else ()


def _mined(head: Head, receipt: dict[str, Any]) -> Mined:
    height = quantity_in(receipt, "blockNumber")
    # Receipts from before the Byzantium fork have no status.
    reverted = receipt.get("status") is not None and quantity_in(receipt, "status") == _FAILED
    return Mined(height, hash_in(receipt, "blockHash"), head.confirmations_of(height), reverted)
