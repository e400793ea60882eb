"""``BloqLogsTrigger``: fires on the logs of contracts on an EVM chain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from airflow_provider_bloq.chains.evm_logs import LogFilter
from airflow_provider_bloq.chains.tellings import Logs, Telling
from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["BloqLogsTrigger"]


class BloqLogsTrigger(BloqChainTrigger):
    """Fire on each final block that holds logs of certain contracts.

    An event tells of the logs of one block, in their order; of more than 100 in several parts::

        {"event": "logs", "id": "logs:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "logs": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": 2, "address": "0xa0…",
                   "topics": ["0xdd…"], "data": "0x…"}]}

    For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param addresses: Address of the contract, or several; none for all contracts.
    :param topics: What the topics of a log may be, as for ``eth_getLogs``: for each place a topic, a list of
        those that may stand there, or None for any.
    """

    kind: ClassVar[str] = "logs"

    def __init__(
        self, *, addresses: Iterable[str] | str = (), topics: Iterable[Any] = (), **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.wanted = LogFilter.of(addresses, topics)

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqEventTrigger.telling`."""
        return Logs(self.wanted)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": list(self.wanted.addresses),
            "topics": [list(place) or None for place in self.wanted.topics],
        }
