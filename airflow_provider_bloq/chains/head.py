"""The head of a chain: its last block, as a node knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import ask, fields_of, hash_in, number_in, quantity_in
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall

__all__ = ["BITCOIN_INFO", "EVM_HEAD", "Head", "bitcoin_head", "evm_head", "read_head"]

#: Asks for the head of an EVM chain.
EVM_HEAD = RpcCall("eth_getBlockByNumber", ["latest", False])
#: Asks for the head of a Bitcoin chain, and for the sync.
BITCOIN_INFO = RpcCall("getblockchaininfo")


@dataclass(frozen=True, slots=True)
class Head:
    """The last block of a chain.

    :param height: Its number; the genesis block has 0.
    :param hash: Its hash, as the node writes it: with ``0x`` on EVM chains, without on Bitcoin's.
    :param time: When it was made, in seconds since the epoch, as it says itself.
    """

    height: int
    hash: str
    time: float

    def confirmations_of(self, height: int) -> int:
        """Return how many confirmations a block has: one if it is the head, none if it is yet to come."""
        return max(0, self.height - height + 1)


def read_head(rpc: RpcApi, family: Family) -> Flow[Head]:
    """Read the head of a chain.

    :param rpc: A node of it.
    :param family: The chain's family.
    :raises BloqRpcError: The node refuses to tell.
    :raises BloqApiError: The node could not be reached, is starting, or gave no usable answer.
    """
    if family is Family.EVM:
        (block,) = yield from ask(rpc, [EVM_HEAD])
        return evm_head(block)
    (info,) = yield from ask(rpc, [BITCOIN_INFO])
    return (yield from bitcoin_head(rpc, info))


def evm_head(outcome: Any) -> Head:
    """Read the head out of the answer to :data:`EVM_HEAD`."""
    block = fields_of(outcome, "block")
    return Head(quantity_in(block, "number"), hash_in(block, "hash"), float(quantity_in(block, "timestamp")))


def bitcoin_head(rpc: RpcApi, outcome: Any) -> Flow[Head]:
    """Read the head out of the answer to :data:`BITCOIN_INFO`; asks again where that does not tell its time."""
    info = fields_of(outcome, "state of the chain")
    block_hash = hash_in(info, "bestblockhash")
    time = info
    if "time" not in info:
        # Daemons before 2022 tell the median of the last eleven blocks only, an hour older or so.
        (header,) = yield from ask(rpc, [RpcCall("getblockheader", [block_hash])])
        time = fields_of(header, "block header")
    return Head(number_in(info, "blocks"), block_hash, float(number_in(time, "time")))
