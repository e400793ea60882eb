"""How far a node is with taking in its chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import fields_of, number_in, quantity, result_of, warming_up
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.head import BITCOIN_INFO, EVM_HEAD, Head, bitcoin_head, evm_head
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall

__all__ = ["SyncState", "read_sync"]


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far a node is.

    :param observed_at: When it was asked, in seconds since the epoch, by the clock of who asked.
    :param head: Its last block; None while the node is starting.
    :param behind: Blocks that it knows to lack; None where it does not say.
    :param obstacle: What keeps it from being in sync whatever the numbers say, for a person.
    """

    observed_at: float
    head: Head | None
    behind: int | None = None
    obstacle: str | None = None


def read_sync(rpc: RpcApi, family: Family, *, clock: Callable[[], float] = time.time) -> Flow[SyncState]:
    """Ask a node how far it is.

    :param rpc: The node.
    :param family: Its chain's family.
    :param clock: Tells the seconds since the epoch.
    :raises BloqRpcError: The node refuses to tell.
    :raises BloqApiError: The node could not be reached or gave no usable answer.
    """
    return (yield from (_evm(rpc, clock) if family is Family.EVM else _bitcoin(rpc, clock)))


def _evm(rpc: RpcApi, clock: Callable[[], float]) -> Flow[SyncState]:
    outcomes = yield from RpcApi.batch.flow(rpc, [RpcCall("eth_syncing"), EVM_HEAD], return_errors=True)
    head = evm_head(outcomes[1])
    behind = _evm_behind(result_of(outcomes[0]), head)
    # Right after its start a node says that it does not sync, since it has not met its peers.
    obstacle = "it has the genesis block only" if head.height == 0 else None
    return SyncState(clock(), head, behind, obstacle)


def _evm_behind(syncing: Any, head: Head) -> int | None:
    if syncing is False:
        return 0
    highest = fields_of(syncing, "state of the sync").get("highestBlock")
    if highest is None:
        return None
    # Measured from the head, not from the currentBlock beside it: that runs ahead of what can be queried
    # while the node still fetches the state (snap sync).
    return max(0, quantity(highest, "highestBlock") - head.height)


def _bitcoin(rpc: RpcApi, clock: Callable[[], float]) -> Flow[SyncState]:
    (outcome,) = yield from RpcApi.batch.flow(rpc, [BITCOIN_INFO], return_errors=True)
    starting = warming_up(outcome)
    if starting is not None:
        return SyncState(clock(), None, obstacle=f"it is starting: {starting}")
    head = yield from bitcoin_head(rpc, outcome)
    info = fields_of(outcome, "state of the chain")
    obstacle = "it is in its initial download" if info.get("initialblockdownload") is True else None
    return SyncState(clock(), head, max(0, number_in(info, "headers") - head.height), obstacle)
