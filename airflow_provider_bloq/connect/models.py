"""What Connect's REST API returns. Missing and unknown fields are tolerated; amounts are exact."""

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
    "list_of",
    "object_of",
    "required_number",
    "required_text",
    "satoshi_of",
    "text_of",
    "whole_number_of",
]


_SATOSHI = 100_000_000


def object_of(item: Any, what: str) -> dict[str, Any]:
    """Return a JSON object.

    :param what: What it should be, with an article; for the error.
    :raises BloqUnavailable: It is not an object.
    """
    if not isinstance(item, dict):
        raise BloqUnavailable(f"Connect returned something other than {what}.")
    return item


def list_of(answer: Any) -> list[Any]:
    """Return a JSON list.

    :raises BloqUnavailable: It is not a list.
    """
    if not isinstance(answer, list):
        raise BloqUnavailable("Connect returned something other than a list.")
    return answer


def satoshi_of(coins: Any) -> int:
    """Convert an amount in whole coins, a number or a text, to satoshi without rounding.

    :raises BloqUnavailable: It is not an amount, or has fractions of a satoshi.
    """
    if isinstance(coins, int | Decimal | str) and not isinstance(coins, bool):
        try:
            satoshi = Decimal(coins) * _SATOSHI
            if satoshi == satoshi.to_integral_value():
                return int(satoshi)
        except (ArithmeticError, ValueError):
            pass
    raise BloqUnavailable("Connect returned something other than an amount.")


def text_of(fields: dict[str, Any], name: str) -> str | None:
    """Return a field that is a non-empty text, else None."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def whole_number_of(fields: dict[str, Any], *names: str) -> int | None:
    """Return the first of these fields that is a whole number, else None."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
    return None


def required_text(fields: Any, name: str) -> str:
    """Return a field that must be a non-empty text.

    :raises BloqUnavailable: It is not.
    """
    value = text_of(object_of(fields, "an object"), name)
    if value is None:
        raise _missing(name)
    return value


def required_number(fields: dict[str, Any], name: str) -> int:
    """Return a field that must be a whole number.

    :raises BloqUnavailable: It is not.
    """
    value = whole_number_of(fields, name)
    if value is None:
        raise _missing(name)
    return value


def _missing(name: str) -> BloqUnavailable:
    return BloqUnavailable(f"Connect's answer lacks {name}.")


def _list_in(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []


def _texts_in(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(map(str, _list_in(fields, name)))


def _coins_in(fields: dict[str, Any], name: str) -> int | None:
    return None if fields.get(name) is None else satoshi_of(fields[name])


def _amount(fields: dict[str, Any], name: str) -> int:
    exact = whole_number_of(fields, f"{name}Sat")
    return satoshi_of(fields.get(name)) if exact is None else exact


def _height(fields: dict[str, Any], name: str) -> int | None:
    height = whole_number_of(fields, name)
    return None if height is None or height < 0 else height


@dataclass(frozen=True, slots=True)
class ConnectValue:
    """Base class of the values that Connect returns."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields: dict[str, Any] = _with_lists(asdict(self))
        return fields


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_lists(one) for name, one in value.items()}
    return [_with_lists(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Address(ConnectValue):
    """The sums of an address, in satoshi. Only ``unconfirmed_`` fields include the mempool.

    :param address: The address.
    :param balance_sat: Its confirmed balance.
    :param total_received_sat: All that was paid to it.
    :param total_sent_sat: All that was spent from it.
    :param unconfirmed_balance_sat: By how much the transactions in the mempool would change the balance.
    :param transaction_count: Number of its transactions in blocks.
    :param unconfirmed_transaction_count: Number of its transactions in the mempool.
    :param txids: Ids of its transactions, newest first; None if they were not requested.
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
        """Parse the answer of ``/addr/{addr}``."""
        fields = object_of(item, "an address")
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
            txids=_texts_in(fields, "transactions") if isinstance(fields.get("transactions"), list) else None,
        )


@dataclass(frozen=True, slots=True)
class Unspent(ConnectValue):
    """An unspent output.

    :param address: The address that it pays.
    :param txid: Id of its transaction.
    :param index: Its index among the outputs.
    :param amount_sat: Its value.
    :param script: Its script in hex.
    :param confirmations: Confirmations of its transaction; 0 in the mempool.
    :param height: Height of its block; None in the mempool.
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
        """Parse an item of ``/addrs/{addrs}/utxo``."""
        fields = object_of(item, "an unspent output")
        amount = whole_number_of(fields, "satoshis")
        return cls(
            address=str(fields.get("address", "")),
            txid=required_text(fields, "txid"),
            index=required_number(fields, "vout"),
            amount_sat=satoshi_of(fields.get("amount")) if amount is None else amount,
            script=text_of(fields, "scriptPubKey"),
            confirmations=whole_number_of(fields, "confirmations") or 0,
            height=_height(fields, "height"),
        )


@dataclass(frozen=True, slots=True)
class TxInput(ConnectValue):
    """An input of a transaction. In a coinbase all fields but the index are None.

    :param index: Its index among the inputs.
    :param address: The address whose output it spends; None if the script has none.
    :param amount_sat: The value of that output.
    :param spent_txid: Id of the transaction with that output.
    :param spent_index: Index of that output.
    """

    index: int
    address: str | None
    amount_sat: int | None
    spent_txid: str | None
    spent_index: int | None

    @classmethod
    def from_json(cls, item: Any, position: int) -> TxInput:
        """Parse an item of ``vin``."""
        fields = object_of(item, "an input")
        amount = whole_number_of(fields, "valueSat")
        number = whole_number_of(fields, "n")
        return cls(
            index=position if number is None else number,
            address=text_of(fields, "addr"),
            amount_sat=_coins_in(fields, "value") if amount is None else amount,
            spent_txid=text_of(fields, "txid"),
            spent_index=whole_number_of(fields, "vout"),
        )


@dataclass(frozen=True, slots=True)
class TxOutput(ConnectValue):
    """An output of a transaction.

    :param index: Its index among the outputs.
    :param addresses: The addresses that it pays: usually one, none for some scripts, several for bare multisig.
    :param amount_sat: Its value.
    :param script: Its script in hex.
    :param spent_txid: Id of the transaction that spends it; None if it is unspent or Connect does not say.
    """

    index: int
    addresses: tuple[str, ...]
    amount_sat: int
    script: str | None
    spent_txid: str | None

    @classmethod
    def from_json(cls, item: Any, position: int) -> TxOutput:
        """Parse an item of ``vout``."""
        fields = object_of(item, "an output")
        script = fields["scriptPubKey"] if isinstance(fields.get("scriptPubKey"), dict) else {}
        number = whole_number_of(fields, "n")
        amount = whole_number_of(fields, "valueSat")
        return cls(
            index=position if number is None else number,
            addresses=_texts_in(script, "addresses"),
            amount_sat=satoshi_of(fields.get("value")) if amount is None else amount,
            script=text_of(script, "hex"),
            spent_txid=text_of(fields, "spentTxId"),
        )


@dataclass(frozen=True, slots=True)
class Transaction(ConnectValue):
    """A transaction in a block or in the mempool.

    :param txid: Its id.
    :param height: Height of its block; None in the mempool.
    :param block_hash: Hash of its block; None in the mempool.
    :param confirmations: Its confirmations; 0 in the mempool.
    :param time: Time of its block, or of its arrival in the mempool, in epoch seconds.
    :param inputs: Its inputs.
    :param outputs: Its outputs.
    :param is_coinbase: Whether it is a coinbase.
    :param fees_sat: Its fee; None for a coinbase or if Connect does not say.
    :param size: Its size in bytes.
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
        """Parse the answer of ``/tx/{txid}``."""
        fields = object_of(item, "a transaction")
        return cls(
            txid=required_text(fields, "txid"),
            height=_height(fields, "blockheight"),
            block_hash=text_of(fields, "blockhash"),
            confirmations=whole_number_of(fields, "confirmations") or 0,
            time=whole_number_of(fields, "blocktime", "time"),
            inputs=tuple(TxInput.from_json(one, at) for at, one in enumerate(_list_in(fields, "vin"))),
            outputs=tuple(TxOutput.from_json(one, at) for at, one in enumerate(_list_in(fields, "vout"))),
            is_coinbase=fields.get("isCoinBase") is True,
            fees_sat=_coins_in(fields, "fees"),
            size=whole_number_of(fields, "size"),
        )


@dataclass(frozen=True, slots=True)
class TransactionPage(ConnectValue):
    """A page of a list of transactions.

    :param items: The transactions.
    :param total: Number of all transactions; if the pages are numbered, number of pages.
    """

    items: tuple[Transaction, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ConnectBlock(ConnectValue):
    """A block.

    :param hash: Its hash.
    :param height: Its height.
    :param time: Its time as the miner set it, in epoch seconds.
    :param confirmations: Its confirmations; -1 if it is not in the best chain.
    :param previous_hash: Hash of the previous block; None for the genesis block.
    :param next_hash: Hash of the next block; None for the newest.
    :param txids: Ids of its transactions, in order.
    :param reward_sat: Its block reward in satoshi.
    :param size: Its size in bytes.
    :param is_main_chain: Whether it is in the best chain.
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
        """Parse the answer of ``/block/{hash}``."""
        fields = object_of(item, "a block")
        summary = BlockSummary.from_json(fields)
        confirmations = whole_number_of(fields, "confirmations")
        return cls(
            hash=summary.hash,
            height=summary.height,
            time=summary.time,
            confirmations=0 if confirmations is None else confirmations,
            previous_hash=text_of(fields, "previousblockhash"),
            next_hash=text_of(fields, "nextblockhash"),
            txids=_texts_in(fields, "tx"),
            reward_sat=_coins_in(fields, "reward"),
            size=summary.size,
            is_main_chain=fields.get("isMainChain") is not False and confirmations != -1,
        )


@dataclass(frozen=True, slots=True)
class BlockSummary(ConnectValue):
    """A block in a list.

    :param hash: Its hash.
    :param height: Its height.
    :param time: Its time as the miner set it, in epoch seconds.
    :param size: Its size in bytes.
    :param transaction_count: Number of its transactions.
    """

    hash: str
    height: int
    time: int
    size: int | None
    transaction_count: int | None

    @classmethod
    def from_json(cls, item: Any) -> BlockSummary:
        """Parse an item of ``/blocks``."""
        fields = object_of(item, "a block")
        return cls(
            hash=required_text(fields, "hash"),
            height=required_number(fields, "height"),
            time=whole_number_of(fields, "time") or 0,
            size=whole_number_of(fields, "size"),
            transaction_count=whole_number_of(fields, "txlength"),
        )


@dataclass(frozen=True, slots=True)
class BlocksOfDay(ConnectValue):
    """The blocks of one day, newest first.

    :param blocks: The blocks, at most as many as requested.
    :param more: Whether there are older blocks on that day.
    """

    blocks: tuple[BlockSummary, ...]
    more: bool

    @classmethod
    def from_json(cls, item: Any) -> BlocksOfDay:
        """Parse the answer of ``/blocks``."""
        fields = object_of(item, "a list of blocks")
        pagination = fields.get("pagination")
        return cls(
            blocks=tuple(map(BlockSummary.from_json, _list_in(fields, "blocks"))),
            more=isinstance(pagination, dict) and pagination.get("more") is True,
        )


@dataclass(frozen=True, slots=True)
class ChainInfo(ConnectValue):
    """The state of Connect's node.

    :param height: Height of its newest block.
    :param network: The node's own name for its network, such as ``livenet`` or ``main``.
    :param connections: Number of its peers.
    :param version: Its version, as a number.
    :param relay_fee_sat_per_kb: Its minimum relay fee in satoshi per 1000 bytes.
    :param errors: Its warnings.
    """

    height: int
    network: str | None
    connections: int | None
    version: int | None
    relay_fee_sat_per_kb: int | None
    errors: str | None

    @classmethod
    def from_json(cls, item: Any) -> ChainInfo:
        """Parse the answer of ``/status?q=getInfo``."""
        fields = object_of(object_of(item, "a status").get("info"), "a status")
        return cls(
            height=required_number(fields, "blocks"),
            network=text_of(fields, "network"),
            connections=whole_number_of(fields, "connections"),
            version=whole_number_of(fields, "version"),
            relay_fee_sat_per_kb=_coins_in(fields, "relayfee"),
            errors=text_of(fields, "errors"),
        )


@dataclass(frozen=True, slots=True)
class LastBlock(ConnectValue):
    """The newest block of Connect and of its node.

    :param synced_hash: Hash of the newest block that Connect has indexed.
    :param last_hash: Hash of the newest block of its node.
    """

    synced_hash: str | None
    last_hash: str | None

    @classmethod
    def from_json(cls, item: Any) -> LastBlock:
        """Parse the answer of ``/status?q=getLastBlockHash``."""
        fields = object_of(item, "a status")
        return cls(text_of(fields, "syncTipHash"), text_of(fields, "lastblockhash"))


@dataclass(frozen=True, slots=True)
class SyncStatus(ConnectValue):
    """How much of its chain Connect has indexed.

    :param status: Such as ``finished``.
    :param height: Height of the newest indexed block.
    :param chain_height: Height of the newest block of the chain.
    :param percentage: Progress from 0 to 100.
    :param error: The error, if any.
    """

    status: str | None
    height: int | None
    chain_height: int | None
    percentage: float | None
    error: str | None

    @classmethod
    def from_json(cls, item: Any) -> SyncStatus:
        """Parse the answer of ``/sync``."""
        fields = object_of(item, "a sync status")
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
        """Parse the answer of ``/peer``."""
        return cls(object_of(item, "a peer").get("connected") is True)
