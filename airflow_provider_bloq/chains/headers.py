"""Headers of blocks: what links a block to the one before it, read in batches from either family of chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import ask, fields_of, hash_in, number_in, quantity_in, result_of
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.chains.head import Head
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError

__all__ = ["GENESIS_PARENT", "Header", "read_final_by_confirmations", "read_final_by_tag", "read_headers"]

#: Errors by which nodes say that they do not know a tag, or no block that it stands for.
_NO_SUCH_TAG = frozenset({-32602, -32601, -39001})
#: What Bitcoin's nodes answer for a height above their head, and for a hash that they do not know.
_OUT_OF_RANGE, _NOT_FOUND = -8, -5
#: Stands for the block before the genesis block, of which there is none.
GENESIS_PARENT = "0" * 64


@dataclass(frozen=True, slots=True)
class Header:
    """What following a chain needs of a block.

    :param height: Its number; the genesis block has 0.
    :param hash: Its hash, as the node writes it.
    :param parent: The hash of the block before it.
    :param time: When it was made, in seconds since the epoch, as it says itself.
    """

    height: int
    hash: str
    parent: str
    time: int


def read_headers(rpc: RpcApi, family: Family, first: int, last: int) -> Flow[list[Header]]:
    """Read headers, from the first on as far as the node has them.

    They are those that the node held while it was asked: a reorg may have come between two of them.

    :param first: Height of the first.
    :param last: Height of the last.
    """
    heights = range(first, last + 1)
    if family is Family.EVM:
        blocks = yield from ask(rpc, [RpcCall("eth_getBlockByNumber", [hex(h), False]) for h in heights])
        return [_evm_header(block) for block in _until_none(map(result_of, blocks))]
    answers = yield from ask(rpc, [RpcCall("getblockhash", [height]) for height in heights])
    hashes = list(_until_none(_unless(_OUT_OF_RANGE, answer) for answer in answers))
    if not hashes:
        return []
    headers = yield from ask(rpc, [RpcCall("getblockheader", [block_hash]) for block_hash in hashes])
    return [_bitcoin_header(header) for header in _until_none(_unless(_NOT_FOUND, h) for h in headers)]


def read_final_by_confirmations(
    rpc: RpcApi, family: Family, finality: Finality, head: Head
) -> Flow[Header | None]:
    """Read the last block that has the confirmations, below a head that was just read.

    :return: Its header; None while the chain is too short, or if a reorg has just shortened it.
    """
    height = finality.height_below(head.height)
    if height < 0:
        return None
    headers = yield from read_headers(rpc, family, height, height)
    return headers[0] if headers else None


def read_final_by_tag(rpc: RpcApi, family: Family, tag: str) -> Flow[Header | None]:
    """Read the block that the node calls ``finalized`` or ``safe``.

    :raises BloqConfigurationError: It calls none so.
    """
    remedy = "Give confirmations= instead of it."
    if family is not Family.EVM:
        raise BloqConfigurationError.of("finality", f"this chain has no {tag} block", remedy)
    (block,) = yield from ask(rpc, [RpcCall("eth_getBlockByNumber", [tag, False])])
    if isinstance(block, BloqRpcError) and block.code in _NO_SUCH_TAG:
        problem = f"the node has no {tag} block: {block.message}"
        raise BloqConfigurationError.of("finality", problem, remedy)
    return None if result_of(block) is None else _evm_header(block)


def _evm_header(outcome: Any) -> Header:
    block = fields_of(outcome, "block")
    return Header(
        quantity_in(block, "number"),
        hash_in(block, "hash"),
        hash_in(block, "parentHash"),
        quantity_in(block, "timestamp"),
    )


def _bitcoin_header(outcome: Any) -> Header:
    header = fields_of(outcome, "block header")
    # The genesis block has none before it, and does not say so.
    parent = hash_in(header, "previousblockhash") if "previousblockhash" in header else GENESIS_PARENT
    return Header(number_in(header, "height"), hash_in(header, "hash"), parent, number_in(header, "time"))


def _unless(code: int, outcome: Any) -> Any:
    is_that = isinstance(outcome, BloqRpcError) and outcome.code == code
    return None if is_that else result_of(outcome)


def _until_none(items: Any) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item is None:
            break
        found.append(item)
    return found
