"""How Connect's JSON is read: tolerantly, and its amounts exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = [
    "Address",
    "BlockSummary",
    "BlocksOfDay",
    "ChainInfo",
    "ConnectBlock",
    "ConnectValue",
    "LastBlock",
    "Peer",
    "SyncStatus",
    "Transaction",
    "TransactionPage",
    "TxInput",
    "TxOutput",
    "Unspent",
    "items_in",
    "list_of",
    "needed_number",
    "needed_text",
    "object_of",
    "satoshi_of",
    "text_of",
    "whole_number_of",
]


_SATOSHI = 100_000_000


def object_of(item: Any, what: str) -> dict[str, Any]:
    """Return an object of an answer.

    :param what: What it should be, for the error.
    :raises BloqUnavailable: It is none.
    """
    if not isinstance(item, dict):
        raise BloqUnavailable(f"Connect gave something that is not {what}.")
    return item


def satoshi_of(coins: Any) -> int:
    """Return an amount in satoshi, exactly, of one that is written in whole coins as a number or a text.

    :raises BloqUnavailable: It is none, or is finer than a satoshi.
    """
    if isinstance(coins, int | Decimal | str) and not isinstance(coins, bool):
        try:
            satoshi = Decimal(coins) * _SATOSHI
            if satoshi == satoshi.to_integral_value():
                return int(satoshi)
        except (ArithmeticError, ValueError):
            pass
    raise BloqUnavailable("Connect gave something that is no amount.")


def text_of(fields: dict[str, Any], name: str) -> str | None:
    """Return a text; None where there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def whole_number_of(fields: dict[str, Any], *names: str) -> int | None:
    """Return a whole number by the first of these names that has one; None where none has."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
    return None


def needed_text(fields: Any, name: str) -> str:
    """Return a text that must be there.

    :raises BloqUnavailable: It is not.
    """
    value = text_of(object_of(fields, "an object"), name)
    if value is None:
        raise BloqUnavailable(f"Connect gave something without {name}.")
    return value


def needed_number(fields: dict[str, Any], name: str) -> int:
    """Return a whole number that must be there.

    :raises BloqUnavailable: It is not.
    """
    value = whole_number_of(fields, name)
    if value is None:
        raise BloqUnavailable(f"Connect gave something without {name}.")
    return value


def items_in(fields: dict[str, Any], name: str) -> list[Any]:
    """Return a list; an empty one where there is none."""
    value = fields.get(name)
    return value if isinstance(value, list) else []


def list_of(answer: Any) -> list[Any]:
    """Return an answer that must be a list.

    :raises BloqUnavailable: It is none.
    """
    if not isinstance(answer, list):
        raise BloqUnavailable("Connect gave something that is no list.")
    return answer


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


@dataclass(frozen=True, slots=True)
class ConnectBlock(ConnectValue):
    """A block.

    :param hash: Its hash.
    :param height: Its number.
    :param time: When it was made, as its miner wrote, in seconds since the epoch.
    :param confirmations: How many it has; -1 if it is not of the best chain.
    :param previous_hash: Hash of the block before; None for the first of all.
    :param next_hash: Hash of the block after; None for the newest.
    :param txids: Its transactions, in their order.
    :param reward_sat: New coins of it, in satoshi.
    :param size: Its bytes.
    :param is_main_chain: Whether it is of the best chain.
    """

    hash: str
    height: int
    time: int
    confirmations: int
    previous_hash: str | None
    next_hash: str | None
    txids: tuple[str, ...]
    reward_sat: int | None
    size: int | None
    is_main_chain: bool

    @classmethod
    def from_json(cls, item: Any) -> ConnectBlock:
        """Read what ``/block/{hash}`` gives."""
        fields = object_of(item, "a block")
        summary = BlockSummary.from_json(fields)
        confirmations = whole_number_of(fields, "confirmations")
        listed = fields.get("tx")
        return cls(
            hash=summary.hash,
            height=summary.height,
            time=summary.time,
            confirmations=0 if confirmations is None else confirmations,
            previous_hash=text_of(fields, "previousblockhash"),
            next_hash=text_of(fields, "nextblockhash"),
            txids=tuple(map(str, listed)) if isinstance(listed, list) else (),
            reward_sat=None if fields.get("reward") is None else satoshi_of(fields["reward"]),
            size=summary.size,
            is_main_chain=fields.get("isMainChain") is not False and confirmations != -1,
        )


@dataclass(frozen=True, slots=True)
class BlockSummary(ConnectValue):
    """A block in a list.

    :param hash: Its hash.
    :param height: Its number.
    :param time: When it was made, as its miner wrote, in seconds since the epoch.
    :param size: Its bytes.
    :param transaction_count: Its transactions.
    """

    hash: str
    height: int
    time: int
    size: int | None
    transaction_count: int | None

    @classmethod
    def from_json(cls, item: Any) -> BlockSummary:
        """Read an item of ``/blocks``."""
        fields = object_of(item, "a block")
        block_hash, height = text_of(fields, "hash"), whole_number_of(fields, "height")
        if block_hash is None or height is None:
            raise BloqUnavailable("Connect gave a block without hash or height.")
        return cls(
            hash=block_hash,
            height=height,
            time=whole_number_of(fields, "time") or 0,
            size=whole_number_of(fields, "size"),
            transaction_count=whole_number_of(fields, "txlength"),
        )


@dataclass(frozen=True, slots=True)
class BlocksOfDay(ConnectValue):
    """The blocks of one day, the newest first.

    :param blocks: The blocks, as many as were asked for.
    :param more: Whether the day has further ones, which come before the last of these.
    """

    blocks: tuple[BlockSummary, ...]
    more: bool

    @classmethod
    def from_json(cls, item: Any) -> BlocksOfDay:
        """Read what ``/blocks`` gives."""
        fields = object_of(item, "a list of blocks")
        blocks, pagination = fields.get("blocks"), fields.get("pagination")
        return cls(
            blocks=tuple(BlockSummary.from_json(one) for one in blocks) if isinstance(blocks, list) else (),
            more=isinstance(pagination, dict) and pagination.get("more") is True,
        )


@dataclass(frozen=True, slots=True)
class ChainInfo(ConnectValue):
    """What Connect's node tells of itself.

    :param height: Number of its newest block.
    :param network: Its network as it calls it, such as ``livenet`` or ``main``.
    :param connections: Its peers.
    :param version: Its version, as a number.
    :param relay_fee_sat_per_kb: The least fee that it passes on, in satoshi per 1000 bytes.
    :param errors: What it complains about.
    """

    height: int
    network: str | None
    connections: int | None
    version: int | None
    relay_fee_sat_per_kb: int | None
    errors: str | None

    @classmethod
    def from_json(cls, item: Any) -> ChainInfo:
        """Read what ``/status?q=getInfo`` gives."""
        fields = object_of(object_of(item, "a status").get("info"), "a status")
        height = whole_number_of(fields, "blocks")
        if height is None:
            raise BloqUnavailable("Connect gave a status without the number of blocks.")
        return cls(
            height=height,
            network=text_of(fields, "network"),
            connections=whole_number_of(fields, "connections"),
            version=whole_number_of(fields, "version"),
            relay_fee_sat_per_kb=None if fields.get("relayfee") is None else satoshi_of(fields["relayfee"]),
            errors=text_of(fields, "errors"),
        )


@dataclass(frozen=True, slots=True)
class LastBlock(ConnectValue):
    """The newest block, twice.

    :param synced_hash: Hash of the newest block that Connect has taken in.
    :param last_hash: Hash of the newest block of its node.
    """

    synced_hash: str | None
    last_hash: str | None

    @classmethod
    def from_json(cls, item: Any) -> LastBlock:
        """Read what ``/status?q=getLastBlockHash`` gives."""
        fields = object_of(item, "a status")
        return cls(text_of(fields, "syncTipHash"), text_of(fields, "lastblockhash"))


@dataclass(frozen=True, slots=True)
class SyncStatus(ConnectValue):
    """How far Connect has taken in its chain.

    :param status: Such as ``finished``.
    :param height: Number of the newest block that it has taken in.
    :param chain_height: Number of the newest block that there is.
    :param percentage: How much it has, from 0 to 100.
    :param error: What went wrong.
    """

    status: str | None
    height: int | None
    chain_height: int | None
    percentage: float | None
    error: str | None

    @classmethod
    def from_json(cls, item: Any) -> SyncStatus:
        """Read what ``/sync`` gives."""
        fields = object_of(item, "a state of sync")
        try:
            percentage = float(fields["syncPercentage"])
        except (KeyError, TypeError, ValueError):
            percentage = None
        return cls(
            status=text_of(fields, "status"),
            height=whole_number_of(fields, "height"),
            chain_height=whole_number_of(fields, "blockChainHeight"),
            percentage=percentage,
            error=text_of(fields, "error"),
        )


@dataclass(frozen=True, slots=True)
class Peer(ConnectValue):
    """The node behind Connect.

    :param connected: Whether Connect is connected to it.
    """

    connected: bool

    @classmethod
    def from_json(cls, item: Any) -> Peer:
        """Read what ``/peer`` gives."""
        return cls(object_of(item, "a peer").get("connected") is True)
