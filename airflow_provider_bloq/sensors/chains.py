"""Sensors that wait for what happens on a chain: blocks and transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.sensors._base import BloqRpcSensor
from airflow_provider_bloq.validation import number_of, seconds_of

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqBlockSensor",
    "BloqTransactionSensor",
]


class BloqBlockSensor(BloqRpcSensor):
    """Wait until a block has so many confirmations: itself, and those that were built on it.

    A block has one confirmation when it is the head of the chain, two when one more was built on it. A reorg
    that shortens the chain takes confirmations away again.

    Returns a dict: ``height``, ``confirmations``, and ``head`` with its ``height``, ``hash`` and ``time``
    (seconds since the epoch).

    The arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`,
    :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are taken as well.

    :param height: Number of the block; the genesis block has 0. A template may also give it in hex, as
        ``eth_blockNumber`` does.
    :param confirmations: How many, at least 1.
    """

    template_fields: Sequence[str] = (*BloqRpcSensor.template_fields, "height", "confirmations")

    def __init__(self, *, height: int | str, confirmations: int | str = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height
        self.confirmations = confirmations

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.chains.conditions import BlockReached

        return BlockReached(self.subject, number_of(self.height), number_of(self.confirmations))


class BloqTransactionSensor(BloqRpcSensor):
    """Wait until a transaction is in the chain with so many confirmations.

    It has one when its block is the head, two when one more block was built on that. A reorg that takes it
    out of the chain before it has them all only means to wait on.

    It fails for good with :class:`~airflow_provider_bloq.exceptions.BloqTransactionReverted` if the
    transaction failed when it was executed, and with
    :class:`~airflow_provider_bloq.exceptions.BloqTransactionReplaced` if another one took its place; each as
    deep in the chain. It fails with :class:`~airflow_provider_bloq.exceptions.BloqTransactionDropped`, which
    Airflow retries, if the node does not know it for long.

    Returns a dict: ``tx_hash``, ``height``, ``block_hash`` and ``confirmations``.

    Bitcoin's nodes must have an index of transactions (``txindex=1``) for this.

    The arguments of :class:`~airflow_provider_bloq.sensors._base.BloqRpcSensor`,
    :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are taken as well.

    :param tx_hash: The transaction's hash, in hex.
    :param confirmations: How many, at least 1.
    :param unseen_for: For how long on end the node may not know the transaction, in seconds or as a
        ``timedelta``: it may be sent after the wait has begun, and vanish for a while.
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
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.chains.conditions import TransactionConfirmed

        return TransactionConfirmed(
            self.subject,
            self.tx_hash,
            number_of(self.confirmations),
            seconds_of("unseen_for", self.unseen_for, self.task_id),
        )
