"""Contract logs on EVM chains: a filter, and reading the logs of blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_bloq.chains.blocks import BlockHeader, read_headers
from airflow_provider_bloq.chains.queries import ChainFamily, ask, fields_of, hash_in, quantity_in, result_of
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqReorg, BloqRpcError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.rpc.client import RpcApi, RpcCall

__all__ = [
    "LogFilter",
    "Topics",
    "evm_address",
    "read_logs",
]


_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_TOPIC = re.compile(r"0x[0-9a-f]{64}")
#: Logs have up to four topics.
_MOST_TOPICS = 4

#: The topics allowed at each position of a log; an empty tuple allows any.
Topics: TypeAlias = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are wanted. Create it with :meth:`of`.

    :param addresses: The contracts, in lower case; empty for all.
    :param topics: The allowed topics.
    """

    addresses: tuple[str, ...] = ()
    topics: Topics = ()

    @classmethod
    def of(cls, addresses: Iterable[str] | str = (), topics: Iterable[Any] = ()) -> LogFilter:
        """Create a filter from the arguments of ``eth_getLogs``.

        :param addresses: Address of the contract, or several.
        :param topics: For each position: a topic, a list of allowed topics, or None for any.
        :raises BloqConfigurationError: An argument is invalid.
        """
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        places = () if isinstance(topics, str) else tuple(map(_place, topics))
        if isinstance(topics, str) or len(places) > _MOST_TOPICS:
            raise BloqConfigurationError.of(
                "topics",
                f"{topics!r} is no list of up to four places",
                "Give a topic, a list or None for each.",
            )
        return cls(tuple(sorted({evm_address("address", address) for address in given})), places)

    def to_json(self) -> dict[str, Any]:
        """Return it as the argument of ``eth_getLogs``, without the block range."""
        fields: dict[str, Any] = {"topics": [list(place) or None for place in self.topics]}
        return {"address": list(self.addresses), **fields} if self.addresses else fields


def evm_address(field: str, value: object) -> str:
    """Return an address in lower case.

    :raises BloqConfigurationError: It is not an EVM address.
    """
    if isinstance(value, str) and _ADDRESS.fullmatch(value.lower()):
        return value.lower()
    raise BloqConfigurationError.of(
        field, f"{value!r} is not an address of an EVM chain", "Give 0x and 40 hexadecimal digits."
    )


def read_logs(rpc: RpcApi, wanted: LogFilter, headers: Sequence[BlockHeader]) -> Flow[list[dict[str, Any]]]:
    """Read the logs of blocks, in chain order.

    If the node refuses the range or finds too many logs, each half is read separately.

    :param rpc: A node of an EVM chain.
    :param wanted: The logs to return.
    :param headers: The blocks, each the parent of the next.
    :return: The logs as JSON: ``height``, ``block_hash``, ``tx_hash``, ``tx_index``, ``log_index``,
        ``address``, ``topics`` and ``data``.
    :raises BloqReorg: One of the blocks is no longer in the chain.
    """
    span = {"fromBlock": hex(headers[0].height), "toBlock": hex(headers[-1].height)}
    (answer,) = yield from ask(rpc, [RpcCall("eth_getLogs", [{**wanted.to_json(), **span}])])
    if isinstance(answer, BloqRpcError) and len(headers) > 1:
        middle = len(headers) // 2
        lower = yield from read_logs(rpc, wanted, headers[:middle])
        return lower + (yield from read_logs(rpc, wanted, headers[middle:]))
    found = result_of(answer)
    if not isinstance(found, list):
        raise BloqUnavailable("The node did not return a list of logs.")
    logs = [_log(item) for item in found if not (isinstance(item, dict) and item.get("removed") is True)]
    # The answer does not identify blocks without logs, so they could be of another branch.
    last = yield from read_headers(rpc, ChainFamily.EVM, headers[-1].height, headers[-1].height)
    hashes = {header.height: header.hash for header in headers}
    if last != [headers[-1]] or any(hashes.get(log["height"]) != log["block_hash"] for log in logs):
        raise BloqReorg(headers[0].height, headers[-1].height)
    return sorted(logs, key=lambda log: (log["height"], log["log_index"]))


def _log(outcome: Any) -> dict[str, Any]:
    log = fields_of(outcome, "log")
    topics, data = log.get("topics"), log.get("data")
    if (
        not isinstance(topics, list)
        or not all(isinstance(t, str) for t in topics)
        or not isinstance(data, str)
    ):
        raise BloqUnavailable("The node returned a log with unreadable topics or data.")
    return {
        "height": quantity_in(log, "blockNumber"),
        "block_hash": hash_in(log, "blockHash"),
        "tx_hash": hash_in(log, "transactionHash"),
        "tx_index": quantity_in(log, "transactionIndex"),
        "log_index": quantity_in(log, "logIndex"),
        "address": _lower(log, "address"),
        "topics": [topic.lower() for topic in topics],
        "data": data.lower(),
    }


def _lower(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BloqUnavailable(f"The node returned a log with an unreadable {name!r}.")
    return value.lower()


def _place(place: Any) -> tuple[str, ...]:
    if place is None:
        return ()
    topics = [place] if isinstance(place, str) else place
    if not isinstance(topics, list | tuple) or not all(
        isinstance(topic, str) and _TOPIC.fullmatch(topic.lower()) for topic in topics
    ):
        raise BloqConfigurationError.of(
            "topics",
            f"{place!r} is not a topic",
            "Give 0x and 64 hexadecimal digits, a list of these, or None.",
        )
    return tuple(sorted({topic.lower() for topic in topics}))
