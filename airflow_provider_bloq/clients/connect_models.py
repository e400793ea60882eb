"""What Connect tells of addresses, transactions and blocks, as values.

Amounts are whole numbers of satoshi. Connect's objects are read tolerantly: a field that is missing or new is no
error, unless it is one that nothing can be said without.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_bloq.clients.connect_fields import (
    items_in,
    needed_number,
    needed_text,
    object_of,
    satoshi_of,
    text_of,
    whole_number_of,
)

__all__ = ["Address", "ConnectValue", "Transaction", "TransactionPage", "TxInput", "TxOutput", "Unspent"]


@dataclass(frozen=True, slots=True)
class ConnectValue:
    """Something that Connect tells."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dict of JSON values."""
        fields: dict[str, Any] = _listed(asdict(self))
        return fields


@dataclass(frozen=True, slots=True)
class Address(ConnectValue):
    """The sums of an address, in satoshi. Only the unconfirmed ones count what is in no block yet.

    :param address: The address.
    :param balance_sat: What it has by the blocks.
    :param total_received_sat: What was paid to it.
    :param total_sent_sat: What was spent from it.
    :param unconfirmed_balance_sat: What the waiting transactions would change.
    :param transaction_count: Transactions in blocks that touch it.
    :param unconfirmed_transaction_count: Transactions that wait and touch it.
    :param txids: Ids of its transactions, the newest first; None where they were not asked for.
    """

    address: str
    balance_sat: int
    total_received_sat: int
    total_sent_sat: int
    unconfirmed_balance_sat: int
    transaction_count: int
    unconfirmed_transaction_count: int
    txids: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, item: Any) -> Address:
        """Read what ``/addr/{addr}`` gives."""
        fields = object_of(item, "an address")
        listed = fields.get("transactions")
        return cls(
            address=str(fields.get("addrStr", "")),
            balance_sat=_amount(fields, "balance"),
            total_received_sat=_amount(fields, "totalReceived"),
            total_sent_sat=_amount(fields, "totalSent"),
            unconfirmed_balance_sat=_amount(fields, "unconfirmedBalance"),
            transaction_count=whole_number_of(fields, "txApperances", "txAppearances") or 0,
            unconfirmed_transaction_count=(
                whole_number_of(fields, "unconfirmedTxApperances", "unconfirmedTxAppearances") or 0
            ),
            txids=tuple(map(str, listed)) if isinstance(listed, list) else None,
        )


@dataclass(frozen=True, slots=True)
class Unspent(ConnectValue):
    """An output that can be spent.

    :param address: Whom it pays.
    :param txid: Id of its transaction.
    :param index: Its place among that transaction's outputs.
    :param amount_sat: Its value.
    :param script: Its script in hex.
    :param confirmations: How many its transaction has; 0 while it waits for a block.
    :param height: Number of its block; None while it waits for one.
    """

    address: str
    txid: str
    index: int
    amount_sat: int
    script: str | None
    confirmations: int
    height: int | None

    @classmethod
    def from_json(cls, item: Any) -> Unspent:
        """Read an item of ``/addrs/{addrs}/utxo``."""
        fields = object_of(item, "an unspent output")
        amount = whole_number_of(fields, "satoshis")
        return cls(
            address=str(fields.get("address", "")),
            txid=needed_text(fields, "txid"),
            index=needed_number(fields, "vout"),
            amount_sat=satoshi_of(fields.get("amount")) if amount is None else amount,
            script=text_of(fields, "scriptPubKey"),
            confirmations=whole_number_of(fields, "confirmations") or 0,
            height=_height(fields, "height"),
        )


@dataclass(frozen=True, slots=True)
class TxInput(ConnectValue):
    """What a transaction spends.

    :param index: Its place among the inputs.
    :param address: Whose output is spent; None where its script names nobody, and for new coins.
    :param amount_sat: The value of that output; None for new coins.
    :param spent_txid: Id of the transaction that made it; None for new coins.
    :param spent_index: Its place there.
    """

    index: int
    address: str | None
    amount_sat: int | None
    spent_txid: str | None
    spent_index: int | None

    @classmethod
    def from_json(cls, item: Any, place: int) -> TxInput:
        """Read an item of ``vin``."""
        fields = object_of(item, "an input")
        amount = whole_number_of(fields, "valueSat")
        if amount is None and fields.get("value") is not None:
            amount = satoshi_of(fields["value"])
        number = whole_number_of(fields, "n")
        return cls(
            index=place if number is None else number,
            address=text_of(fields, "addr"),
            amount_sat=amount,
            spent_txid=text_of(fields, "txid"),
            spent_index=whole_number_of(fields, "vout"),
        )


@dataclass(frozen=True, slots=True)
class TxOutput(ConnectValue):
    """What a transaction pays.

    :param index: Its place among the outputs.
    :param addresses: Whom it pays; several in old scripts only, none where the script names nobody.
    :param amount_sat: Its value.
    :param script: Its script in hex.
    :param spent_txid: Id of the transaction that spends it; None where nothing does, or Connect does not say.
    """

    index: int
    addresses: tuple[str, ...]
    amount_sat: int
    script: str | None
    spent_txid: str | None

    @classmethod
    def from_json(cls, item: Any, place: int) -> TxOutput:
        """Read an item of ``vout``."""
        fields = object_of(item, "an output")
        script = fields["scriptPubKey"] if isinstance(fields.get("scriptPubKey"), dict) else {}
        named = script.get("addresses")
        number = whole_number_of(fields, "n")
        amount = whole_number_of(fields, "valueSat")
        return cls(
            index=place if number is None else number,
            addresses=tuple(map(str, named)) if isinstance(named, list) else (),
            amount_sat=satoshi_of(fields.get("value")) if amount is None else amount,
            script=text_of(script, "hex"),
            spent_txid=text_of(fields, "spentTxId"),
        )


@dataclass(frozen=True, slots=True)
class Transaction(ConnectValue):
    """A transaction in a block or in the mempool.

    :param txid: Its id.
    :param height: Number of its block; None while it waits for one.
    :param block_hash: Hash of its block; likewise.
    :param confirmations: How many it has; 0 while it waits.
    :param time: When its block was made, or since when it waits, in seconds since the epoch.
    :param inputs: What it spends.
    :param outputs: What it pays.
    :param is_coinbase: Whether it makes new coins.
    :param fees_sat: What is left to the miner; None for new coins and where Connect does not say.
    :param size: Its bytes.
    """

    txid: str
    height: int | None
    block_hash: str | None
    confirmations: int
    time: int | None
    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOutput, ...]
    is_coinbase: bool
    fees_sat: int | None
    size: int | None

    @classmethod
    def from_json(cls, item: Any) -> Transaction:
        """Read what ``/tx/{txid}`` gives."""
        fields = object_of(item, "a transaction")
        block_hash = text_of(fields, "blockhash")
        height = _height(fields, "blockheight")
        return cls(
            txid=needed_text(fields, "txid"),
            height=height,
            block_hash=block_hash,
            confirmations=whole_number_of(fields, "confirmations") or 0,
            time=whole_number_of(fields, "blocktime", "time"),
            inputs=tuple(TxInput.from_json(one, at) for at, one in enumerate(items_in(fields, "vin"))),
            outputs=tuple(TxOutput.from_json(one, at) for at, one in enumerate(items_in(fields, "vout"))),
            is_coinbase=fields.get("isCoinBase") is True,
            fees_sat=None if fields.get("fees") is None else satoshi_of(fields["fees"]),
            size=whole_number_of(fields, "size"),
        )


@dataclass(frozen=True, slots=True)
class TransactionPage(ConnectValue):
    """A part of a list of transactions.

    :param items: The transactions.
    :param total: How many there are in all; for lists by page the number of pages.
    """

    items: tuple[Transaction, ...]
    total: int


def _amount(fields: dict[str, Any], name: str) -> int:
    exact = whole_number_of(fields, f"{name}Sat")
    return satoshi_of(fields.get(name)) if exact is None else exact


def _height(fields: dict[str, Any], name: str) -> int | None:
    height = whole_number_of(fields, name)
    return None if height is None or height < 0 else height


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value
