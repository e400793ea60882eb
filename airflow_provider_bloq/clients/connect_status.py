"""Connect's endpoints that tell of itself and of its chain as a whole."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.connect_blocks import ChainInfo, LastBlock, Peer, SyncStatus
from airflow_provider_bloq.clients.connect_fields import needed_text, object_of, satoshi_of, whole_number_of
from airflow_provider_bloq.clients.endpoint import Endpoint, Service
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.clients.operation import operation
from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = ["ConnectStatusApi"]


class ConnectStatusApi(Service):
    """The part of :class:`~airflow_provider_bloq.clients.connect.ConnectApi` that asks about nothing in particular."""

    EXACT = True
    #: As Insight tells them: ``message. Code:-25``.
    PLAIN_ERRORS = True

    STATUS: ClassVar = Endpoint("GET", "/status", repeatable=True)
    SYNC: ClassVar = Endpoint("GET", "/sync", repeatable=True)
    PEER: ClassVar = Endpoint("GET", "/peer", repeatable=True)
    ESTIMATE_FEE: ClassVar = Endpoint("GET", "/utils/estimatefee", repeatable=True)

    @operation
    def info(self) -> Flow[ChainInfo]:
        """Read what the node behind Connect tells of itself, such as its height."""
        return ChainInfo.from_json((yield from self._status("getInfo")))

    @operation
    def difficulty(self) -> Flow[float]:
        """Read the difficulty of the chain."""
        value = object_of((yield from self._status("getDifficulty")), "a status").get("difficulty")
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BloqUnavailable("Connect gave a status without the difficulty.") from None

    @operation
    def best_block_hash(self) -> Flow[str]:
        """Read the hash of the newest block."""
        return needed_text((yield from self._status("getBestBlockHash")), "bestblockhash")

    @operation
    def last_block(self) -> Flow[LastBlock]:
        """Read the hash of the newest block, that Connect has and that its node has."""
        return LastBlock.from_json((yield from self._status("getLastBlockHash")))

    @operation
    def sync(self) -> Flow[SyncStatus]:
        """Read how far Connect has taken in its chain."""
        return SyncStatus.from_json((yield from self.call(self.SYNC)))

    @operation
    def peer(self) -> Flow[Peer]:
        """Read whether Connect is connected to its node."""
        return Peer.from_json((yield from self.call(self.PEER)))

    @operation
    def estimate_fee(self, blocks: int = 2) -> Flow[int | None]:
        """Read the fee by which a transaction is expected to be in a block in time.

        :param blocks: Blocks to wait at most.
        :return: Satoshi per 1000 bytes; None where there is no estimate.
        """
        require_whole_number("blocks", blocks, least=1)
        answer = yield from self.call(self.ESTIMATE_FEE, query={"nbBlocks": blocks})
        rate = object_of(answer, "an estimate").get(str(blocks))
        if rate is None or whole_number_of({"rate": rate}, "rate") == -1:
            return None
        return satoshi_of(rate)

    def _status(self, question: str) -> Flow[Any]:
        return (yield from self.call(self.STATUS, query={"q": question}))
