"""Sensors that wait for blocks and transactions of a chain, through a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.arguments import number_of, seconds_of
from airflow_provider_bloq.sensors._base import BloqRpcSensor

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqBlockSensor",
    "BloqTransactionSensor",
]


class BloqBlockSensor(BloqRpcSensor):
    """Wait until a block has a number of confirmations.

    A block has one confirmation when it is the head of the chain, two when another block follows it. A reorg can
    reduce the number.

    Returns a dict: ``height``, ``confirmations``, and ``head`` with its ``height``, ``hash`` and ``time``
    (seconds since the epoch).

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`.

    :param height: Number of the block; the genesis block has 0. Hex, as from ``eth_blockNumber``, is accepted.
    :param confirmations: Number of confirmations, at least 1.
    """

    template_fields: Sequence[str] = (*BloqRpcSensor.template_fields, "height", "confirmations")

    def __init__(self, *, height: int | str, confirmations: int | str = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height
        self.confirmations = confirmations

    def condition(self) -> Condition:
        from airflow_provider_bloq.chains.conditions import BlockReached

        return BlockReached(self.subject, number_of(self.height), number_of(self.confirmations))


class BloqTransactionSensor(BloqRpcSensor):
    """Wait until a transaction has a number of confirmations.

    It has one when its block is the head of the chain, two when another block follows. If a reorg takes it out of
    the chain before it has all of them, the sensor keeps waiting.

    Fails without retries with :class:`~airflow_provider_bloq.exceptions.BloqTransactionReverted` if the
    transaction failed when it was executed, and with
    :class:`~airflow_provider_bloq.exceptions.BloqTransactionReplaced` if another one took its place, once that has
    as many confirmations. Fails with :class:`~airflow_provider_bloq.exceptions.BloqTransactionDropped`, which
    Airflow retries, if the node has not known it for ``unseen_for``.

    Returns a dict: ``tx_hash``, ``height``, ``block_hash`` and ``confirmations``.

    Bitcoin nodes need a transaction index (``txindex=1``).

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`.

    :param tx_hash: The transaction's hash, in hex.
    :param confirmations: Number of confirmations, at least 1.
    :param unseen_for: How long the node may not know the transaction without interruption, in seconds or as a
        ``timedelta``: it may be sent after the wait began, or disappear for a while.
    """

    template_fields: Sequence[str] = (
        *BloqRpcSensor.template_fields,
        "tx_hash",
        "confirmations",
        "unseen_for",
    )

    def __init__(
        self,
        *,
        tx_hash: str,
        confirmations: int | str = 1,
        unseen_for: float | str | timedelta = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tx_hash = tx_hash
        self.confirmations = confirmations
        self.unseen_for = unseen_for

    def condition(self) -> Condition:
        from airflow_provider_bloq.chains.transactions import TransactionConfirmed

        return TransactionConfirmed(
            self.subject,
            self.tx_hash,
            number_of(self.confirmations),
            seconds_of("unseen_for", self.unseen_for, self.task_id),
        )
