"""Questions to a node, and the values in its answers, of which nothing is taken on trust."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall
from airflow_provider_bloq.exceptions import BloqRpcError, BloqUnavailable

__all__ = ["ask", "fields_of", "hash_in", "number_in", "quantity", "quantity_in", "result_of", "warming_up"]

#: Bitcoin's daemon is starting: it loads its blocks, which takes minutes.
_IN_WARMUP = -28

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HASH = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


def ask(rpc: RpcApi, calls: Sequence[RpcCall]) -> Flow[list[Any]]:
    """Ask a node all at once.

    :param rpc: The node.
    :param calls: The questions.
    :return: In their order the results, or in its place the :class:`BloqRpcError` that one of them got.
    :raises BloqUnavailable: The node is starting.
    :raises BloqApiError: The node could not be reached or gave no JSON-RPC answer.
    """
    outcomes = yield from RpcApi.batch.flow(rpc, calls, return_errors=True)
    for outcome in outcomes:
        starting = warming_up(outcome)
        if starting is not None:
            raise BloqUnavailable(f"The node is starting: {starting}", acted=False)
    return outcomes


def warming_up(outcome: Any) -> str | None:
    """Return what a starting node says it is busy with; None for any other outcome."""
    if isinstance(outcome, BloqRpcError) and outcome.code == _IN_WARMUP:
        return outcome.message
    return None


def result_of(outcome: Any) -> Any:
    """Return the result of a call.

    :raises BloqRpcError: It got an error instead.
    """
    if isinstance(outcome, BloqRpcError):
        raise outcome
    return outcome


def fields_of(outcome: Any, what: str) -> dict[str, Any]:
    """Return the object that a call resulted in.

    :param outcome: What :func:`ask` gave for the call.
    :param what: What it should be, for a person.
    :raises BloqRpcError: It got an error instead.
    :raises BloqUnavailable: It is no object.
    """
    result = result_of(outcome)
    if not isinstance(result, dict):
        raise BloqUnavailable(f"The node gave something that is no {what}.")
    return result


def quantity_in(fields: dict[str, Any], name: str) -> int:
    """Return a number as EVM chains write it, in hex.

    :raises BloqUnavailable: It is none.
    """
    return quantity(fields.get(name), name)


def quantity(value: Any, name: str) -> int:
    """Read a number as EVM chains write it.

    :raises BloqUnavailable: It is none.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _unreadable(name)
    return int(value, 16)


def number_in(fields: dict[str, Any], name: str) -> int:
    """Return a number as Bitcoin's nodes write it, in plain JSON.

    :raises BloqUnavailable: It is none.
    """
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unreadable(name)
    return value


def hash_in(fields: dict[str, Any], name: str) -> str:
    """Return the hash of a block or transaction, as the node writes it.

    :raises BloqUnavailable: It is none.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise _unreadable(name)
    return value


def _unreadable(name: str) -> BloqUnavailable:
    return BloqUnavailable(f"The node gave an answer whose {name!r} cannot be read.")
