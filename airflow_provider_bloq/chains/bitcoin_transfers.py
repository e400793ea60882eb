"""Transfers on Bitcoin's chains: outputs that pay an address, and inputs that spend what it had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import fields_of, hash_in, number_in
from airflow_provider_bloq.chains.headers import Header
from airflow_provider_bloq.chains.shared_reads import SharedReads
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg, BloqRpcError, BloqUnavailable

__all__ = ["bitcoin_transfers"]

#: Blocks with all their transactions in one request: up to several megabytes each.
_BLOCKS_AT_ONCE = 1
#: Transactions, and with each input the output that it spends. Older nodes leave the latter out.
_WITH_PREVOUTS = 3
_NOT_FOUND = -5
#: Confirmations of a block that is no longer part of the chain.
_ORPHANED = -1
_SATOSHI = 10**8


def bitcoin_transfers(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[Header]
) -> Flow[list[dict[str, Any]]]:
    """Read the transfers in blocks, in the order in which they came about.

    An input does not say whom it pays, nor an output by whom it is paid: of each transfer one side is None.

    :param rpc: A node.
    :param reads: What others have read.
    :param wanted: Which transfers; tokens there are none.
    :param headers: The blocks, linked to one another.
    :return: The transfers as JSON: ``height``, ``block_hash``, ``tx_hash``, ``tx_index``, ``input`` or
        ``output`` (its number; the other is None), ``from``, ``to``, and ``amount`` in satoshi as a decimal
        string.
    :raises BloqReorg: One of the blocks is no longer part of the chain.
    :raises BloqConfigurationError: Senders are watched, and the node cannot tell them.
    """
    span = headers[0].hash, headers[-1].hash
    payments = yield from reads.once(("bitcoin payments", *span), lambda: _payments(rpc, headers))
    if wanted.is_from and any(_is_obscure(payment) for payment in payments):
        raise BloqConfigurationError.of(
            "direction",
            "the node does not tell what inputs spend (getblock with verbosity 3), so it knows no senders",
            "Give direction='to', or watch through a newer node.",
        )
    return [payment for payment in payments if wanted.matches(payment["from"], payment["to"])]


def _payments(rpc: RpcApi, headers: Sequence[Header]) -> Flow[list[dict[str, Any]]]:
    """Read all inputs and outputs of blocks."""
    calls = [RpcCall("getblock", [header.hash, _WITH_PREVOUTS]) for header in headers]
    outcomes = yield from RpcApi.batch.flow(rpc, calls, limit=_BLOCKS_AT_ONCE, return_errors=True)
    payments: list[dict[str, Any]] = []
    for header, outcome in zip(headers, outcomes, strict=True):
        is_gone = isinstance(outcome, BloqRpcError) and outcome.code == _NOT_FOUND
        if is_gone or fields_of(outcome, "block").get("confirmations") == _ORPHANED:
            raise BloqReorg(headers[0].height, headers[-1].height)
        about = {"height": header.height, "block_hash": header.hash}
        for index, transaction in enumerate(_list(outcome, "tx")):
            its_own = {**about, "tx_hash": hash_in(transaction, "txid"), "tx_index": index}
            payments += [{**its_own, **side} for side in (*_spent(transaction), *_paid(transaction))]
    return payments


def _spent(transaction: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, spending in enumerate(_list(transaction, "vin")):
        before = spending.get("prevout")
        if isinstance(before, dict):
            sides = {"input": number, "output": None, "from": _address(before), "to": None}
            yield {**sides, "amount": _satoshi(before)}
        elif "coinbase" not in spending:
            yield {"input": number, "output": None, "from": None, "to": None, "amount": None}


def _paid(transaction: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for output in _list(transaction, "vout"):
        sides = {"input": None, "output": number_in(output, "n"), "from": None, "to": _address(output)}
        yield {**sides, "amount": _satoshi(output)}


def _is_obscure(payment: dict[str, Any]) -> bool:
    return payment["amount"] is None


def _address(output: dict[str, Any]) -> str | None:
    script = output.get("scriptPubKey")
    if not isinstance(script, dict):
        raise BloqUnavailable("The node gave an output whose script cannot be read.")
    # Daemons before 2021 list them. What several hold together, an output of old multisig, is nobody's alone.
    several = script.get("addresses")
    only = several[0] if isinstance(several, list) and len(several) == 1 else None
    address = script.get("address", only)
    return address if isinstance(address, str) else None


def _satoshi(output: dict[str, Any]) -> str:
    value = output.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BloqUnavailable("The node gave an output whose value cannot be read.")
    # Eight places of what is at most 21 million: a float holds them all.
    return str(int(Decimal(f"{value:.8f}") * _SATOSHI))


def _list(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = fields.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BloqUnavailable(f"The node gave an answer whose {name!r} cannot be read.")
    return items
