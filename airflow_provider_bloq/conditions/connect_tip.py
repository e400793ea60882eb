"""The newest block that Connect has taken in, from which confirmations are counted.

Connect's node may be ahead of Connect's index. What is told of a block or a transaction by the node's newest block
Connect may not be able to show yet: a task that waited for it would come too early.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.head import Head
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.connect_models import Transaction, Unspent
from airflow_provider_bloq.exceptions import BloqNotFound, BloqUnavailable

__all__ = ["ConnectTip"]

T = TypeVar("T", Transaction, Unspent)


class ConnectTip:
    """The newest block that Connect has taken in. A block that has been read is not read again.

    :param api: Connect.
    """

    def __init__(self, api: ConnectApi) -> None:
        self._api = api
        self._known: dict[str, Head] = {}

    def read(self) -> Flow[Head | None]:
        """Look which one it is; a flow.

        :return: None while Connect names one that it does not show yet.
        :raises BloqUnavailable: Connect names none.
        """
        newest = yield from ConnectApi.last_block.flow(self._api)
        block_hash = newest.synced_hash or newest.last_hash
        if block_hash is None:
            raise BloqUnavailable("Connect gave a status without the newest block.")
        if block_hash not in self._known:
            try:
                block = yield from ConnectApi.block.flow(self._api, block_hash)
            except BloqNotFound:
                return None
            self._known = {block_hash: Head(block.height, block.hash, block.time)}
        return self._known[block_hash]

    def counted(self, found: list[T]) -> Flow[list[T]]:
        """Return transactions or outputs with no more confirmations than this block gives them; a flow.

        :param found: What Connect told. Nothing is asked where all of it waits for a block.
        """
        if all(one.height is None for one in found):
            return found
        tip = yield from self.read()
        return [
            one
            if one.height is None
            else replace(
                one,
                confirmations=min(one.confirmations, 0 if tip is None else tip.confirmations_of(one.height)),
            )
            for one in found
        ]
