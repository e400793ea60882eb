"""Chain families, batched JSON-RPC calls to a node, parsing of its answers, and reads shared by watchers."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow, SingleFlight
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall
from airflow_provider_bloq.rpc.endpoint import BITCOIN_LIKE

__all__ = [
    "ChainFamily",
    "SharedReads",
    "ask",
    "family_named",
    "family_of",
    "fields_of",
    "hash_in",
    "number_in",
    "quantity",
    "quantity_in",
    "result_of",
    "startup_message",
]


#: Chains whose nodes answer like Ethereum's at their default endpoint. Avalanche nodes do so only at another path
#: than the documented one, so for them ``family`` and ``path`` have to be given.
EVM_LIKE = frozenset({"eth", "etc", "polygon"})

_REMEDY = (
    "Give family='evm' if it answers like Ethereum's nodes (with the path, if that is not the chain's default), "
    "family='bitcoin' if it answers like Bitcoin's."
)


class ChainFamily(StrEnum):
    """The JSON-RPC dialect of a chain's nodes."""

    EVM = "evm"
    BITCOIN = "bitcoin"


def family_of(chain: str | None) -> ChainFamily:
    """Return the family of a chain.

    :param chain: The chain as a node or cluster names it, such as ``eth``; None for a URL.
    :raises BloqConfigurationError: The family is unknown.
    """
    name = (chain or "").strip().lower()
    if name in EVM_LIKE:
        return ChainFamily.EVM
    if name in BITCOIN_LIKE:
        return ChainFamily.BITCOIN
    problem = (
        f"it is not known how nodes of {name!r} answer" if name else "a URL does not tell what answers there"
    )
    raise BloqConfigurationError.of("family", problem, _REMEDY)


def family_named(name: str) -> ChainFamily:
    """Return the family with a name.

    :raises BloqConfigurationError: There is no such family.
    """
    try:
        return ChainFamily(name)
    except ValueError:
        raise BloqConfigurationError.of("family", f"{name!r} is none", _REMEDY) from None


#: Bitcoin's daemon is starting: it loads its blocks, which takes minutes.
_IN_WARMUP = -28

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HASH = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


def ask(rpc: RpcApi, calls: Sequence[RpcCall]) -> Flow[list[Any]]:
    """Send calls to a node in one batch.

    :param rpc: The node.
    :param calls: The calls.
    :return: The results in order, with a :class:`BloqRpcError` for each call that failed.
    :raises BloqUnavailable: The node is starting.
    :raises BloqApiError: The node could not be reached or did not answer with JSON-RPC.
    """
    outcomes = yield from RpcApi.batch.flow(rpc, calls, return_errors=True)
    for outcome in outcomes:
        starting = startup_message(outcome)
        if starting is not None:
            raise BloqUnavailable(f"The node is starting: {starting}", acted=False)
    return outcomes


def startup_message(outcome: Any) -> str | None:
    """Return the progress message of a starting node; None for any other outcome."""
    if isinstance(outcome, BloqRpcError) and outcome.code == _IN_WARMUP:
        return outcome.message
    return None


def result_of(outcome: Any) -> Any:
    """Return the result of a call.

    :raises BloqRpcError: The call failed.
    """
    if isinstance(outcome, BloqRpcError):
        raise outcome
    return outcome


def fields_of(outcome: Any, what: str) -> dict[str, Any]:
    """Return the object that a call returned.

    :param outcome: The outcome of the call, from :func:`ask`.
    :param what: Name of the object, for the error message.
    :raises BloqRpcError: The call failed.
    :raises BloqUnavailable: It is not an object.
    """
    result = result_of(outcome)
    if not isinstance(result, dict):
        raise BloqUnavailable(f"The node did not return a {what}.")
    return result


def quantity_in(fields: dict[str, Any], name: str) -> int:
    """Return a number as EVM chains write it, in hex.

    :raises BloqUnavailable: It is missing or malformed.
    """
    return quantity(fields.get(name), name)


def quantity(value: Any, name: str) -> int:
    """Read a number as EVM chains write it.

    :raises BloqUnavailable: It is missing or malformed.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _unreadable(name)
    return int(value, 16)


def number_in(fields: dict[str, Any], name: str) -> int:
    """Return a number as Bitcoin's nodes write it, in plain JSON.

    :raises BloqUnavailable: It is missing or malformed.
    """
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unreadable(name)
    return value


def hash_in(fields: dict[str, Any], name: str) -> str:
    """Return the hash of a block or transaction, as the node writes it.

    :raises BloqUnavailable: It is missing or malformed.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise _unreadable(name)
    return value


def _unreadable(name: str) -> BloqUnavailable:
    return BloqUnavailable(f"The node returned an unreadable {name!r}.")


T = TypeVar("T")

#: Results kept. More occur only while many watchers catch up from different heights.
_KEPT = 16


class SharedReads:
    """Reads each thing once per poll of the chain, for all its watchers."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, SingleFlight[Any]] = {}
        self._results: dict[Hashable, Any] = {}

    def renew(self) -> None:
        """Forget all results, at the start of a poll.

        This is needed even if the final block is the same: results read during a reorg may be of another branch.
        """
        self._flights = {}
        self._results = {}

    def once(self, key: Hashable, make: Callable[[], Flow[T]]) -> Flow[T]:
        """Return the result for a key: a kept one, that of a read in progress, or that of a new read.

        :param key: Identifies what is read.
        :param make: Creates the flow that reads it.
        """
        results, flights = self._results, self._flights
        if key in results:
            known: T = results[key]
            return known
        read: T = yield from flights.setdefault(key, SingleFlight()).join(make)
        flights.pop(key, None)
        results[key] = read
        while len(results) > _KEPT:
            del results[next(iter(results))]
        return read
