"""The JSON objects of Connect, with the names and types of Insight's API.

Amounts are in coins, or in satoshi if the name ends in ``Sat``; the value of an output is a string.
``txApperances`` is spelt as in Bloq's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_bloq.testing.local.connect.index import (
    AddressIndex,
    AddressTotals,
    IndexedBlock,
    IndexedTransaction,
    TransactionInput,
    TransactionOutput,
    UnspentOutput,
)

__all__ = [
    "OmittedFields",
    "address_view",
    "block_view",
    "coins",
    "summary_view",
    "transaction_view",
    "unspent_view",
]


_SATOSHI = 100_000_000


@dataclass(frozen=True, slots=True)
class OmittedFields:
    """Fields of a transaction that a request omits.

    :param no_asm: Scripts without ``asm``.
    :param no_script_sig: Inputs without ``scriptSig``.
    :param no_spent: Outputs without the input that spends them.
    """

    no_asm: bool = False
    no_script_sig: bool = False
    no_spent: bool = False


def coins(satoshi: int) -> int | float:
    """Return satoshi as coins, in the number format of JavaScript."""
    whole, rest = divmod(satoshi, _SATOSHI)
    return satoshi / _SATOSHI if rest else whole


def address_view(address: str, totals: AddressTotals, txids: list[str] | None) -> dict[str, Any]:
    """Return an address.

    :param txids: Its transactions; None to omit them.
    """
    view: dict[str, Any] = {
        "addrStr": address,
        **_amount("balance", totals.balance),
        **_amount("totalReceived", totals.received),
        **_amount("totalSent", totals.sent),
        **_amount("unconfirmedBalance", totals.unconfirmed),
        "unconfirmedTxApperances": totals.waiting,
        "txApperances": totals.appearances,
    }
    return view if txids is None else {**view, "transactions": txids}


def unspent_view(index: AddressIndex, coin: UnspentOutput) -> dict[str, Any]:
    """Return an unspent output, with its height or, if it is unconfirmed, its mempool time."""
    block = index.block_of(coin.txid)
    view = {
        "address": coin.address,
        "txid": coin.txid,
        "vout": coin.index,
        "scriptPubKey": coin.output.script,
        "amount": coins(coin.output.satoshi),
        "satoshis": coin.output.satoshi,
        "confirmations": index.confirmations(coin.txid),
    }
    return view | ({"ts": index.waiting_since(coin.txid)} if block is None else {"height": block.height})


def transaction_view(
    index: AddressIndex, transaction: IndexedTransaction, omitted: OmittedFields | None = None
) -> dict[str, Any]:
    """Return a transaction; the height of an unconfirmed one is -1."""
    omitted = omitted or OmittedFields()
    block = index.block_of(transaction.txid)
    view: dict[str, Any] = {
        "txid": transaction.txid,
        "version": transaction.version,
        "locktime": transaction.lock_time,
        "vin": [_input_view(number, one, omitted) for number, one in enumerate(transaction.inputs)],
        "vout": [
            _output_view(index, transaction.txid, number, one, omitted)
            for number, one in enumerate(transaction.outputs)
        ],
        "blockheight": -1 if block is None else block.height,
        "confirmations": index.confirmations(transaction.txid),
        "time": index.waiting_since(transaction.txid) if block is None else block.time,
        "valueOut": coins(transaction.value_out()),
        "size": transaction.size,
    }
    if block is not None:
        view |= {"blockhash": block.hash, "blocktime": block.time}
    if transaction.is_coinbase:
        return view | {"isCoinBase": True}
    fees = transaction.value_in() - transaction.value_out()
    return view | {"valueIn": coins(transaction.value_in()), "fees": coins(fees)}


def block_view(data: Mapping[str, Any], subsidy: int) -> dict[str, Any]:
    """Return a block.

    :param data: A block of ``getblock`` with verbosity 1; its confirmations are -1 outside the best chain.
    :param subsidy: New coins in satoshi.
    """
    copied = ("hash", "size", "height", "version", "merkleroot", "tx", "time", "nonce", "bits")
    view = {
        **{name: data[name] for name in copied},
        "difficulty": float(data["difficulty"]),
        "chainwork": data["chainwork"],
        "confirmations": data["confirmations"],
        "reward": coins(subsidy),
        "isMainChain": data["confirmations"] != -1,
        "poolInfo": {},
    }
    neighbours = ("previousblockhash", "nextblockhash")
    return view | {name: data[name] for name in neighbours if name in data}


def summary_view(block: IndexedBlock) -> dict[str, Any]:
    """Return a block as in the list of a day's blocks."""
    return {
        "height": block.height,
        "size": block.size,
        "hash": block.hash,
        "time": block.time,
        "txlength": len(block.txids),
        "poolInfo": {},
    }


def _amount(name: str, satoshi: int) -> dict[str, int | float]:
    return {name: coins(satoshi), f"{name}Sat": satoshi}


def _input_view(number: int, spent: TransactionInput, omitted: OmittedFields) -> dict[str, Any]:
    if spent.spends is None or spent.source is None:
        return {"coinbase": spent.script, "sequence": spent.sequence, "n": number}
    view: dict[str, Any] = {
        "txid": spent.spends[0],
        "vout": spent.spends[1],
        "sequence": spent.sequence,
        "n": number,
        "addr": spent.source.address,
        "valueSat": spent.source.satoshi,
        "value": coins(spent.source.satoshi),
        "doubleSpentTxID": None,
    }
    if omitted.no_script_sig:
        return view
    return view | {"scriptSig": _script(spent.script, spent.asm, omitted)}


def _output_view(
    index: AddressIndex, txid: str, number: int, output: TransactionOutput, omitted: OmittedFields
) -> dict[str, Any]:
    script = _script(output.script, output.asm, omitted)
    if output.address is not None:
        script |= {"addresses": [output.address]}
    view: dict[str, Any] = {
        "value": f"{Decimal(output.satoshi).scaleb(-8):.8f}",
        "n": number,
        "scriptPubKey": script | {"type": output.kind},
    }
    if omitted.no_spent:
        return view
    spender = index.spender((txid, number))
    block = index.block_of(spender[0]) if spender else None
    return view | {
        "spentTxId": spender[0] if spender else None,
        "spentIndex": spender[1] if spender else None,
        "spentHeight": block.height if block else None,
    }


def _script(script: str, asm: str, omitted: OmittedFields) -> dict[str, Any]:
    return {"hex": script} if omitted.no_asm else {"hex": script, "asm": asm}
