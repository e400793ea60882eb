"""Transfers of native coins and tokens to or from given addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_bloq.arguments import require_choice
from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.chains.logs import LogFilter, evm_address, read_logs
from airflow_provider_bloq.chains.queries import (
    SharedReads,
    ask,
    fields_of,
    hash_in,
    number_in,
    quantity_in,
    result_of,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg, BloqRpcError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall

__all__ = [
    "DIRECTIONS",
    "TransferFilter",
    "bitcoin_transfers",
    "evm_transfers",
    "normalised_address",
]


#: Whether addresses are watched as receivers, senders or both.
DIRECTIONS = ("both", "to", "from")
#: Prefixes of addresses whose case does not matter.
_SEGWIT = ("bc1", "tb1", "bcrt1", "ltc1", "tltc1", "rltc1", "bitcoincash:", "bchtest:", "bchreg:")


@dataclass(frozen=True, slots=True)
class TransferFilter:
    """Which transfers are wanted. Create it with :meth:`of`.

    :param addresses: The addresses, in the form in which nodes write them.
    :param direction: One of :data:`DIRECTIONS`.
    :param native: Whether transfers of the native coin are wanted.
    :param tokens: Contracts of the wanted tokens; None for any token.
    """

    addresses: frozenset[str]
    direction: str = "both"
    native: bool = True
    tokens: frozenset[str] | None = None

    @classmethod
    def of(
        cls,
        addresses: Iterable[str] | str,
        *,
        direction: str = "both",
        native: bool = True,
        tokens: Iterable[str] | None = None,
    ) -> TransferFilter:
        """Create a filter from the arguments of triggers.

        :raises BloqConfigurationError: One of these cannot be, or nothing is wanted.
        """
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        if not given:
            raise BloqConfigurationError.of("addresses", "there are none", "Give at least one.")
        require_choice("direction", direction, DIRECTIONS)
        if isinstance(tokens, str):
            tokens = [tokens]
        contracts = None if tokens is None else frozenset(evm_address("tokens", token) for token in tokens)
        if not native and contracts is not None and not contracts:
            raise BloqConfigurationError.of(
                "native", "neither the chain's coin nor any token is wanted", "Give native=True, or tokens."
            )
        return cls(frozenset(map(normalised_address, given)), direction, native, contracts)

    @property
    def is_to(self) -> bool:
        """Whether transfers to the addresses are wanted."""
        return self.direction != "from"

    @property
    def is_from(self) -> bool:
        """Whether transfers from the addresses are wanted."""
        return self.direction != "to"

    @property
    def wants_tokens(self) -> bool:
        """Whether transfers of tokens are wanted."""
        return self.tokens is None or bool(self.tokens)

    def matches(self, sender: str | None, receiver: str | None) -> bool:
        """Return whether a transfer between two addresses is wanted; None is an unknown address."""
        return (self.is_to and receiver in self.addresses) or (self.is_from and sender in self.addresses)


def normalised_address(value: object) -> str:
    """Return an address as nodes write it: in lower case, unless the case matters.

    :raises BloqConfigurationError: It is not an address.
    """
    if not isinstance(value, str) or not value.strip() or not value.isascii() or " " in value.strip():
        raise BloqConfigurationError.of(
            "addresses", f"{value!r} is not an address", "Give addresses as text."
        )
    address = value.strip()
    if address.lower().startswith("0x"):
        return evm_address("addresses", address)
    return address.lower() if address.lower().startswith(_SEGWIT) else address


#: Hash of ``Transfer(address,address,uint256)``. ERC-721 uses the same event with a fourth topic.
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_TOPICS_OF_ERC20 = 3
_WORD = 2 + 64
#: Blocks with all their transactions in one request: on Ethereum 150 KB each.
_EVM_BLOCKS_PER_REQUEST = 5
_FAILED = 0


def evm_transfers(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[BlockHeader]
) -> Flow[list[dict[str, Any]]]:
    """Read the transfers in blocks, in chain order.

    :param rpc: A node.
    :param reads: Results shared with other watchers.
    :param wanted: The transfers to return.
    :param headers: The blocks, each the parent of the next.
    :return: The transfers as JSON: ``height``, ``block_hash``, ``tx_hash``, ``tx_index``, ``log_index`` (None
        for the chain's own coin), ``token`` (its contract; None likewise), ``from``, ``to``, and ``amount``
        in the smallest unit as a decimal string.
    :raises BloqReorg: One of the blocks is no longer in the chain.
    """
    if not all(address.startswith("0x") for address in wanted.addresses):
        raise BloqConfigurationError.of(
            "addresses",
            "some are not EVM addresses, but the node is of an EVM chain",
            "Watch them on a node of their own chain.",
        )
    found: list[dict[str, Any]] = []
    if wanted.native:
        found += yield from _native_transfers(rpc, reads, wanted, headers)
    if wanted.wants_tokens:
        found += yield from _token_transfers(rpc, wanted, headers)
    return sorted(found, key=_order)


def _order(transfer: dict[str, Any]) -> tuple[int, int, int]:
    log_index = transfer["log_index"]
    return transfer["height"], transfer["tx_index"], -1 if log_index is None else log_index


def _native_transfers(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[BlockHeader]
) -> Flow[list[dict[str, Any]]]:
    span = headers[0].hash, headers[-1].hash
    payments = yield from reads.once(("evm payments", *span), lambda: _evm_payments(rpc, headers))
    found = [payment for payment in payments if wanted.matches(payment["from"], payment["to"])]
    return (yield from _only_succeeded(rpc, found))


def _evm_payments(rpc: RpcApi, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
    """Read all transactions with a value, whether they succeeded or not."""
    calls = [RpcCall("eth_getBlockByNumber", [hex(header.height), True]) for header in headers]
    answers = yield from RpcApi.batch.flow(rpc, calls, limit=_EVM_BLOCKS_PER_REQUEST)
    payments: list[dict[str, Any]] = []
    for header, answer in zip(headers, answers, strict=True):
        if answer is None or hash_in(fields_of(answer, "block"), "hash") != header.hash:
            raise BloqReorg(headers[0].height, headers[-1].height)
        transactions = answer.get("transactions")
        if not isinstance(transactions, list):
            raise BloqUnavailable("The node returned a block without its transactions.")
        payments += [_payment(header, fields_of(item, "transaction")) for item in transactions]
    return [payment for payment in payments if payment["amount"] != "0"]


def _payment(header: BlockHeader, transaction: dict[str, Any]) -> dict[str, Any]:
    return {
        "height": header.height,
        "block_hash": header.hash,
        "tx_hash": hash_in(transaction, "hash"),
        "tx_index": quantity_in(transaction, "transactionIndex"),
        "log_index": None,
        "token": None,
        "from": _evm_address(transaction, "from"),
        "to": _evm_address(transaction, "to"),
        "amount": str(quantity_in(transaction, "value")),
    }


def _only_succeeded(rpc: RpcApi, found: list[dict[str, Any]]) -> Flow[list[dict[str, Any]]]:
    """Return the transfers without those whose transaction was reverted."""
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
        # A transaction without a receiver creates a contract, which receives the value.
        receiver = transfer["to"] or _evm_address(receipt, "contractAddress")
        succeeded.append({**transfer, "to": receiver})
    return succeeded


def _token_transfers(
    rpc: RpcApi, wanted: TransferFilter, headers: Sequence[BlockHeader]
) -> Flow[list[dict[str, Any]]]:
    topics = tuple(sorted(f"0x{address[2:]:0>64}" for address in wanted.addresses))
    contracts = tuple(sorted(wanted.tokens or ()))
    logs: list[dict[str, Any]] = []
    if wanted.is_from:
        logs += yield from read_logs(rpc, LogFilter(contracts, ((TRANSFER,), topics)), headers)
    if wanted.is_to:
        logs += yield from read_logs(rpc, LogFilter(contracts, ((TRANSFER,), (), topics)), headers)
    # A transfer between two watched addresses is found twice.
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


def _evm_address(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value.lower() if isinstance(value, str) else None


#: Blocks with all their transactions in one request: up to several megabytes each.
_BITCOIN_BLOCKS_PER_REQUEST = 1
#: Verbosity that adds to each input the output that it spends. Older nodes leave it out.
_WITH_PREVOUTS = 3
_NOT_FOUND = -5
#: Confirmations of a block that is no longer in the chain.
_ORPHANED = -1
_SATOSHI = 10**8


def bitcoin_transfers(
    rpc: RpcApi, reads: SharedReads, wanted: TransferFilter, headers: Sequence[BlockHeader]
) -> Flow[list[dict[str, Any]]]:
    """Read the transfers in blocks, in chain order.

    Inputs have no receiver and outputs no sender: one side of each transfer is None.

    :param rpc: A node.
    :param reads: Results shared with other watchers.
    :param wanted: Which transfers; tokens are ignored.
    :param headers: The blocks, each the parent of the next.
    :return: The transfers as JSON: ``height``, ``block_hash``, ``tx_hash``, ``tx_index``, ``input`` or
        ``output`` (its number; the other is None), ``from``, ``to``, and ``amount`` in satoshi as a decimal
        string.
    :raises BloqReorg: One of the blocks is no longer in the chain.
    :raises BloqConfigurationError: Senders are watched, but the node does not return them.
    """
    span = headers[0].hash, headers[-1].hash
    payments = yield from reads.once(("bitcoin payments", *span), lambda: _bitcoin_payments(rpc, headers))
    if wanted.is_from and any(_lacks_sender(payment) for payment in payments):
        raise BloqConfigurationError.of(
            "direction",
            "the node does not return what inputs spend (getblock with verbosity 3), so senders are unknown",
            "Give direction='to', or watch through a newer node.",
        )
    return [payment for payment in payments if wanted.matches(payment["from"], payment["to"])]


def _bitcoin_payments(rpc: RpcApi, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
    """Read all inputs and outputs of blocks."""
    calls = [RpcCall("getblock", [header.hash, _WITH_PREVOUTS]) for header in headers]
    outcomes = yield from RpcApi.batch.flow(rpc, calls, limit=_BITCOIN_BLOCKS_PER_REQUEST, return_errors=True)
    payments: list[dict[str, Any]] = []
    for header, outcome in zip(headers, outcomes, strict=True):
        is_gone = isinstance(outcome, BloqRpcError) and outcome.code == _NOT_FOUND
        if is_gone or fields_of(outcome, "block").get("confirmations") == _ORPHANED:
            raise BloqReorg(headers[0].height, headers[-1].height)
        about = {"height": header.height, "block_hash": header.hash}
        for index, transaction in enumerate(_list(outcome, "tx")):
            common = {**about, "tx_hash": hash_in(transaction, "txid"), "tx_index": index}
            payments += [{**common, **side} for side in (*_spent(transaction), *_paid(transaction))]
    return payments


def _spent(transaction: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, spending in enumerate(_list(transaction, "vin")):
        before = spending.get("prevout")
        if isinstance(before, dict):
            sides = {"input": number, "output": None, "from": _bitcoin_address(before), "to": None}
            yield {**sides, "amount": _satoshi(before)}
        elif "coinbase" not in spending:
            yield {"input": number, "output": None, "from": None, "to": None, "amount": None}


def _paid(transaction: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for output in _list(transaction, "vout"):
        sides = {
            "input": None,
            "output": number_in(output, "n"),
            "from": None,
            "to": _bitcoin_address(output),
        }
        yield {**sides, "amount": _satoshi(output)}


def _lacks_sender(payment: dict[str, Any]) -> bool:
    return payment["amount"] is None


def _bitcoin_address(output: dict[str, Any]) -> str | None:
    script = output.get("scriptPubKey")
    if not isinstance(script, dict):
        raise BloqUnavailable("The node returned an output with an unreadable script.")
    # Daemons before 2021 return a list. An old multisig output has several addresses and belongs to none of them.
    several = script.get("addresses")
    only = several[0] if isinstance(several, list) and len(several) == 1 else None
    address = script.get("address", only)
    return address if isinstance(address, str) else None


def _satoshi(output: dict[str, Any]) -> str:
    value = output.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BloqUnavailable("The node returned an output with an unreadable value.")
    # A float holds eight decimal places of up to 21 million exactly.
    return str(int(Decimal(f"{value:.8f}") * _SATOSHI))


def _list(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = fields.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BloqUnavailable(f"The node returned an unreadable {name!r}.")
    return items
