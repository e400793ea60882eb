"""Transfers on EVM chains: of the chain's own coin by transactions, of ERC-20 tokens by their logs.

What contracts pay out within a transaction leaves no trace in blocks or logs: only tracing nodes could tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import ask, fields_of, hash_in, quantity_in, result_of
from airflow_provider_bloq.chains.evm_logs import LogFilter, read_logs
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg, BloqUnavailable

__all__ = ["evm_transfers"]

#: What the event ``Transfer(address,address,uint256)`` hashes to. ERC-721 has the same, with a fourth topic.
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_TOPICS_OF_ERC20 = 3
_WORD = 2 + 64
#: Blocks with all their transactions in one request: on Ethereum 150 KB each.
_BLOCKS_AT_ONCE = 5
_FAILED = 0


def evm_transfers(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[Header]
) -> Flow[list[dict[str, Any]]]:
    """Read the transfers in blocks, in the order in which they came about.

    :param rpc: A node.
    :param reads: What others have read.
    :param wanted: Which transfers.
    :param headers: The blocks, linked to one another.
    :return: The transfers as JSON: ``height``, ``block_hash``, ``tx_hash``, ``tx_index``, ``log_index`` (None
        for the chain's own coin), ``token`` (its contract; None likewise), ``from``, ``to``, and ``amount``
        in the smallest unit as a decimal string.
    :raises BloqReorg: One of the blocks is no longer part of the chain.
    """
    if not all(address.startswith("0x") for address in wanted.addresses):
        raise BloqConfigurationError.of(
            "addresses",
            "some are of no EVM chain, and the node is",
            "Watch them on a node of their own chain.",
        )
    found: list[dict[str, Any]] = []
    if wanted.native:
        found += yield from _native(rpc, reads, wanted, headers)
    if wanted.wants_tokens:
        found += yield from _of_tokens(rpc, wanted, headers)
    return sorted(found, key=_order)


def _order(transfer: dict[str, Any]) -> tuple[int, int, int]:
    log_index = transfer["log_index"]
    return transfer["height"], transfer["tx_index"], -1 if log_index is None else log_index


def _native(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[Header]
) -> Flow[list[dict[str, Any]]]:
    span = headers[0].hash, headers[-1].hash
    payments = yield from reads.once(("evm payments", *span), lambda: _payments(rpc, headers))
    found = [payment for payment in payments if wanted.matches(payment["from"], payment["to"])]
    return (yield from _that_succeeded(rpc, found))


def _payments(rpc: RpcApi, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
    """Read all transactions that carry some of the chain's coin, whether they succeeded or not."""
    calls = [RpcCall("eth_getBlockByNumber", [hex(header.height), True]) for header in headers]
    answers = yield from RpcApi.batch.flow(rpc, calls, limit=_BLOCKS_AT_ONCE)
    payments: list[dict[str, Any]] = []
    for header, answer in zip(headers, answers, strict=True):
        if answer is None or hash_in(fields_of(answer, "block"), "hash") != header.hash:
            raise BloqReorg(headers[0].height, headers[-1].height)
        transactions = answer.get("transactions")
        if not isinstance(transactions, list):
            raise BloqUnavailable("The node gave a block without its transactions.")
        payments += [_payment(header, fields_of(item, "transaction")) for item in transactions]
    return [payment for payment in payments if payment["amount"] != "0"]


def _payment(header: Header, transaction: dict[str, Any]) -> dict[str, Any]:
    return {
        "height": header.height,
        "block_hash": header.hash,
        "tx_hash": hash_in(transaction, "hash"),
        "tx_index": quantity_in(transaction, "transactionIndex"),
        "log_index": None,
        "token": None,
        "from": _address(transaction, "from"),
        "to": _address(transaction, "to"),
        "amount": str(quantity_in(transaction, "value")),
    }


def _that_succeeded(rpc: RpcApi, found: list[dict[str, Any]]) -> Flow[list[dict[str, Any]]]:
    """Leave out the transactions that were reverted, which pay for gas alone."""
    receipts = yield from ask(rpc, [RpcCall("eth_getTransactionReceipt", [t["tx_hash"]]) for t in found])
    succeeded: list[dict[str, Any]] = []
    for transfer, outcome in zip(found, receipts, strict=True):
        if result_of(outcome) is None:
            raise BloqReorg(transfer["height"], transfer["height"])
        receipt = fields_of(outcome, "receipt")
        if hash_in(receipt, "blockHash") != transfer["block_hash"]:
            raise BloqReorg(transfer["height"], transfer["height"])
        # Receipts from before the Byzantium fork have no status.
        if receipt.get("status") is not None and quantity_in(receipt, "status") == _FAILED:
            continue
        # Without a receiver, a contract was created: it is the one that was paid.
        receiver = transfer["to"] or _address(receipt, "contractAddress")
        succeeded.append({**transfer, "to": receiver})
    return succeeded


def _of_tokens(rpc: RpcApi, wanted: TransferFilter, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
    topics = tuple(sorted(f"0x{address[2:]:0>64}" for address in wanted.addresses))
    contracts = tuple(sorted(wanted.tokens or ()))
    logs: list[dict[str, Any]] = []
    if wanted.is_from:
        logs += yield from read_logs(rpc, LogFilter(contracts, ((TRANSFER,), topics)), headers)
    if wanted.is_to:
        logs += yield from read_logs(rpc, LogFilter(contracts, ((TRANSFER,), (), topics)), headers)
    # One between two of the addresses is found by both.
    once = {(log["height"], log["log_index"]): log for log in logs}
    return [_token_transfer(log) for log in once.values() if _is_erc20(log)]


def _is_erc20(log: dict[str, Any]) -> bool:
    return len(log["topics"]) == _TOPICS_OF_ERC20 and len(log["data"]) == _WORD


def _token_transfer(log: dict[str, Any]) -> dict[str, Any]:
    _, sender, receiver = log["topics"]
    return {
        **{name: log[name] for name in ("height", "block_hash", "tx_hash", "tx_index", "log_index")},
        "token": log["address"],
        "from": f"0x{sender[-40:]}",
        "to": f"0x{receiver[-40:]}",
        "amount": str(int(log["data"], 16)),
    }


def _address(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value.lower() if isinstance(value, str) else None
