"""Blocks of a chain: its head, headers, the final block, and how far a node is in sync."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.arguments import require_choice, require_whole_number
from airflow_provider_bloq.chains.queries import (
    ChainFamily,
    ask,
    fields_of,
    hash_in,
    number_in,
    quantity,
    quantity_in,
    result_of,
    startup_message,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall

__all__ = [
    "BITCOIN_INFO",
    "DEFAULT_CONFIRMATIONS",
    "EVM_HEAD",
    "GENESIS_PARENT",
    "TAGS",
    "BlockHeader",
    "Finality",
    "Head",
    "SyncState",
    "bitcoin_head",
    "evm_head",
    "read_final_by_confirmations",
    "read_final_by_tag",
    "read_head",
    "read_headers",
    "read_sync",
]


#: Default number of confirmations: about three minutes on Ethereum, two hours on Bitcoin.
DEFAULT_CONFIRMATIONS = 12
#: Block tags of proof-of-stake EVM chains: a block that cannot be reverted without burning a third of the stake,
#: and one that an honest majority has agreed on.
TAGS = ("finalized", "safe")


@dataclass(frozen=True, slots=True)
class Finality:
    """When a block is final. Create it with :meth:`of`; exactly one field is set.

    :param confirmations: Number of confirmations required; the head has one.
    :param tag: ``finalized`` or ``safe``: the block with this tag and those below it are final.
    """

    confirmations: int | None = None
    tag: str | None = None

    @classmethod
    def of(cls, confirmations: int | None = None, tag: str | None = None) -> Finality:
        """Create one from the arguments of triggers; the default is 12 confirmations.

        :raises BloqConfigurationError: Both are given, or one is invalid.
        """
        if tag is None:
            confirmations = DEFAULT_CONFIRMATIONS if confirmations is None else confirmations
            require_whole_number("confirmations", confirmations, least=1)
            return cls(confirmations=confirmations)
        if confirmations is not None:
            raise BloqConfigurationError.of(
                "finality", "confirmations is given too", "Give only one of the two."
            )
        require_choice("finality", tag, TAGS)
        return cls(tag=tag)

    def height_below(self, head: int) -> int:
        """Return the height of the last final block below a head; negative if there is none."""
        return head - (self.confirmations or 1) + 1


#: Requests the head of an EVM chain.
EVM_HEAD = RpcCall("eth_getBlockByNumber", ["latest", False])
#: Requests the head and sync state of a Bitcoin-like node.
BITCOIN_INFO = RpcCall("getblockchaininfo")


@dataclass(frozen=True, slots=True)
class Head:
    """The last block of a chain.

    :param height: Its number; the genesis block has 0.
    :param hash: Its hash, as the node writes it: with ``0x`` on EVM chains, without on Bitcoin's.
    :param time: Its timestamp, in seconds since the epoch.
    """

    height: int
    hash: str
    time: float

    def confirmations_of(self, height: int) -> int:
        """Return the number of confirmations of a block: 1 for the head, 0 above it."""
        return max(0, self.height - height + 1)


def read_head(rpc: RpcApi, family: ChainFamily) -> Flow[Head]:
    """Read the head of a chain.

    :param rpc: A node of the chain.
    :param family: The chain's family.
    :raises BloqRpcError: The node answered with an error.
    :raises BloqApiError: The node could not be reached, is starting, or its answer is unusable.
    """
    if family is ChainFamily.EVM:
        (block,) = yield from ask(rpc, [EVM_HEAD])
        return evm_head(block)
    (info,) = yield from ask(rpc, [BITCOIN_INFO])
    return (yield from bitcoin_head(rpc, info))


def evm_head(outcome: Any) -> Head:
    """Parse the answer to :data:`EVM_HEAD`."""
    block = fields_of(outcome, "block")
    return Head(quantity_in(block, "number"), hash_in(block, "hash"), float(quantity_in(block, "timestamp")))


def bitcoin_head(rpc: RpcApi, outcome: Any) -> Flow[Head]:
    """Parse the answer to :data:`BITCOIN_INFO`; reads the header too if the answer has no timestamp."""
    info = fields_of(outcome, "state of the chain")
    block_hash = hash_in(info, "bestblockhash")
    time = info
    if "time" not in info:
        # Daemons before 2022 return only the median time of the last eleven blocks, about an hour older.
        (header,) = yield from ask(rpc, [RpcCall("getblockheader", [block_hash])])
        time = fields_of(header, "block header")
    return Head(number_in(info, "blocks"), block_hash, float(number_in(time, "time")))


#: Error codes for an unknown tag, or a tag without a block.
_NO_SUCH_TAG = frozenset({-32602, -32601, -39001})
#: Error codes of Bitcoin nodes for a height above the head and for an unknown hash.
_OUT_OF_RANGE, _NOT_FOUND = -8, -5
#: Parent hash of the genesis block.
GENESIS_PARENT = "0" * 64


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """The fields of a block header needed to follow a chain.

    :param height: Its number; the genesis block has 0.
    :param hash: Its hash, as the node writes it.
    :param parent: The hash of its parent.
    :param time: Its timestamp, in seconds since the epoch.
    """

    height: int
    hash: str
    parent: str
    time: int


def read_headers(rpc: RpcApi, family: ChainFamily, first: int, last: int) -> Flow[list[BlockHeader]]:
    """Read headers from the first on, as far as the node has them.

    They may not be linked if a reorg happened in between.

    :param first: Height of the first header.
    :param last: Height of the last header.
    """
    heights = range(first, last + 1)
    if family is ChainFamily.EVM:
        blocks = yield from ask(rpc, [RpcCall("eth_getBlockByNumber", [hex(h), False]) for h in heights])
        return [_evm_header(block) for block in _until_none(map(result_of, blocks))]
    answers = yield from ask(rpc, [RpcCall("getblockhash", [height]) for height in heights])
    hashes = list(_until_none(_none_if(_OUT_OF_RANGE, answer) for answer in answers))
    if not hashes:
        return []
    headers = yield from ask(rpc, [RpcCall("getblockheader", [block_hash]) for block_hash in hashes])
    return [_bitcoin_header(header) for header in _until_none(_none_if(_NOT_FOUND, h) for h in headers)]


def read_final_by_confirmations(
    rpc: RpcApi, family: ChainFamily, finality: Finality, head: Head
) -> Flow[BlockHeader | None]:
    """Read the last block with enough confirmations below a head.

    :return: Its header; None while the chain is too short, or if a reorg has just shortened it.
    """
    height = finality.height_below(head.height)
    if height < 0:
        return None
    headers = yield from read_headers(rpc, family, height, height)
    return headers[0] if headers else None


def read_final_by_tag(rpc: RpcApi, family: ChainFamily, tag: str) -> Flow[BlockHeader | None]:
    """Read the block tagged ``finalized`` or ``safe``.

    :raises BloqConfigurationError: The node has no such block.
    """
    remedy = "Give confirmations= instead."
    if family is not ChainFamily.EVM:
        raise BloqConfigurationError.of("finality", f"this chain has no {tag} block", remedy)
    (block,) = yield from ask(rpc, [RpcCall("eth_getBlockByNumber", [tag, False])])
    if isinstance(block, BloqRpcError) and block.code in _NO_SUCH_TAG:
        problem = f"the node has no {tag} block: {block.message}"
        raise BloqConfigurationError.of("finality", problem, remedy)
    return None if result_of(block) is None else _evm_header(block)


def _evm_header(outcome: Any) -> BlockHeader:
    block = fields_of(outcome, "block")
    return BlockHeader(
        quantity_in(block, "number"),
        hash_in(block, "hash"),
        hash_in(block, "parentHash"),
        quantity_in(block, "timestamp"),
    )


def _bitcoin_header(outcome: Any) -> BlockHeader:
    header = fields_of(outcome, "block header")
    # The genesis block has no parent field.
    parent = hash_in(header, "previousblockhash") if "previousblockhash" in header else GENESIS_PARENT
    return BlockHeader(
        number_in(header, "height"), hash_in(header, "hash"), parent, number_in(header, "time")
    )


def _none_if(code: int, outcome: Any) -> Any:
    is_that = isinstance(outcome, BloqRpcError) and outcome.code == code
    return None if is_that else result_of(outcome)


def _until_none(items: Any) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item is None:
            break
        found.append(item)
    return found


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far a node is in sync.

    :param observed_at: When it was read, in seconds since the epoch, by the local clock.
    :param head: Its last block; None while the node is starting.
    :param behind: Number of blocks it knows of but lacks; None if unknown.
    :param obstacle: Why it is not in sync regardless of the numbers, as text for messages.
    """

    observed_at: float
    head: Head | None
    behind: int | None = None
    obstacle: str | None = None


def read_sync(rpc: RpcApi, family: ChainFamily, *, clock: Callable[[], float] = time.time) -> Flow[SyncState]:
    """Read how far a node is in sync.

    :param rpc: The node.
    :param family: Its chain's family.
    :param clock: Returns seconds since the epoch.
    :raises BloqRpcError: The node answered with an error.
    :raises BloqApiError: The node could not be reached or its answer is unusable.
    """
    return (yield from (_evm_sync(rpc, clock) if family is ChainFamily.EVM else _bitcoin_sync(rpc, clock)))


def _evm_sync(rpc: RpcApi, clock: Callable[[], float]) -> Flow[SyncState]:
    outcomes = yield from RpcApi.batch.flow(rpc, [RpcCall("eth_syncing"), EVM_HEAD], return_errors=True)
    head = evm_head(outcomes[1])
    behind = _evm_behind(result_of(outcomes[0]), head)
    # Right after its start a node reports no sync, since it has no peers yet.
    obstacle = "it has the genesis block only" if head.height == 0 else None
    return SyncState(clock(), head, behind, obstacle)


def _evm_behind(syncing: Any, head: Head) -> int | None:
    if syncing is False:
        return 0
    highest = fields_of(syncing, "state of the sync").get("highestBlock")
    if highest is None:
        return None
    # Measured from the head, not from currentBlock, which is ahead of what can be queried while the node still fetches
    # the state (snap sync).
    return max(0, quantity(highest, "highestBlock") - head.height)


def _bitcoin_sync(rpc: RpcApi, clock: Callable[[], float]) -> Flow[SyncState]:
    (outcome,) = yield from RpcApi.batch.flow(rpc, [BITCOIN_INFO], return_errors=True)
    starting = startup_message(outcome)
    if starting is not None:
        return SyncState(clock(), None, obstacle=f"it is starting: {starting}")
    head = yield from bitcoin_head(rpc, outcome)
    info = fields_of(outcome, "state of the chain")
    obstacle = "it is in its initial download" if info.get("initialblockdownload") is True else None
    return SyncState(clock(), head, max(0, number_in(info, "headers") - head.height), obstacle)
