"""Reads how transactions stand, many of one chain in one look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.bitcoin_transactions import bitcoin_standings
from airflow_provider_bloq.chains.evm_transactions import evm_standings
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.standing import Standings, Uses
from airflow_provider_bloq.clients.jsonrpc import RpcApi

__all__ = ["read_standings"]


def read_standings(
    rpc: RpcApi,
    family: Family,
    wanted: Mapping[str, Uses],
    *,
    clock: Callable[[], float] = time.time,
) -> Flow[Standings]:
    """Look at many transactions at once.

    :param rpc: A node of the chain.
    :param family: The chain's family.
    :param wanted: The hashes, each with what the transaction is known to use from a look before. Without
        that it cannot be told whether one that is gone was replaced.
    :param clock: Tells the seconds since the epoch.
    :raises BloqConfigurationError: The node does not keep what is asked for.
    :raises BloqRpcError: The node refuses to tell.
    :raises BloqApiError: The node could not be reached, is starting, or gave no usable answer.
    """
    read = evm_standings if family is Family.EVM else bitcoin_standings
    head, standings = yield from read(rpc, wanted)
    return Standings(clock(), head, standings)
