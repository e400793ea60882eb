"""Sensors that wait for what happens on Bitcoin and Bitcoin Cash, without a node: through Connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.sensors._base import BloqSensor
from airflow_provider_bloq.validation import number_of, seconds_of

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_bloq.polling.conditions import Condition

__all__ = [
    "BloqAddressBalanceSensor",
    "BloqConnectBlockSensor",
    "BloqConnectSensor",
    "BloqConnectTransactionSensor",
    "BloqPaymentSensor",
]


class BloqConnectSensor(BloqSensor):
    """A sensor that looks through Connect. All that wait on one chain look together where they are deferrable.

    Confirmations are counted from the newest block that Connect has taken in, as ``BloqAddressHistoryOperator`` does.
    Its node may have newer ones, of which Connect tells nothing yet.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default the usual one of the connection.
    :param confirmations: How many are wanted: one if the block is the newest, two if one more was built on it.
    """

    template_fields: Sequence[str] = (*BloqSensor.template_fields, "chain", "network", "confirmations")

    def __init__(
        self, *, chain: str, network: str | None = None, confirmations: int | str = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.chain = chain
        self.network = network
        self.confirmations = confirmations


class BloqConnectBlockSensor(BloqConnectSensor):
    """Wait until a block has so many confirmations.

    Returns a dict: ``height``, ``confirmations``, and ``head`` with its ``height``, ``hash`` and ``time``
    (seconds since the epoch). The arguments of :class:`BloqConnectSensor`,
    :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are taken as well.

    :param height: Number of the block; the genesis block has 0.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "height")

    def __init__(self, *, height: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.connect.conditions import ConnectBlockReached

        return ConnectBlockReached(
            self.chain, number_of(self.height), number_of(self.confirmations), self.network
        )


class BloqConnectTransactionSensor(BloqConnectSensor):
    """Wait until a transaction is in the chain with so many confirmations.

    A reorg that takes it out again before it has them all only means to wait on. It fails with
    :class:`~airflow_provider_bloq.exceptions.BloqTransactionDropped`, which Airflow retries, if the transaction
    is neither in the chain nor in the mempool for long.

    Returns a dict: ``txid``, ``height``, ``block_hash`` and ``confirmations``. The arguments of
    :class:`BloqConnectSensor`, :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors
    are taken as well.

    :param txid: The transaction's id, such as ``BloqSendTransactionOperator`` returns it.
    :param unseen_for: For how long on end it may be unknown, in seconds or as a ``timedelta``.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "txid", "unseen_for")

    def __init__(self, *, txid: str, unseen_for: float | str | timedelta = 600.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.txid = txid
        self.unseen_for = unseen_for

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.connect.conditions import ConnectTransactionConfirmed

        return ConnectTransactionConfirmed(
            self.chain,
            self.txid,
            number_of(self.confirmations),
            seconds_of("unseen_for", self.unseen_for, self.task_id),
            self.network,
        )


class BloqAddressBalanceSensor(BloqConnectSensor):
    """Wait until an address has so much, counting what has so many confirmations.

    Returns a dict: ``address``, ``balance_sat``, ``outputs`` (how many make it up) and ``confirmations``. The
    arguments of :class:`BloqConnectSensor`, :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's
    own sensors are taken as well; ``confirmations=0`` counts what waits for a block as well.

    :param address: The address.
    :param at_least_sat: How much, in satoshi.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "address", "at_least_sat")

    def __init__(self, *, address: str, at_least_sat: int | str = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.address = address
        self.at_least_sat = at_least_sat

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.connect.conditions import ConnectBalanceReached

        return ConnectBalanceReached(
            self.chain,
            self.address,
            number_of(self.at_least_sat),
            number_of(self.confirmations),
            self.network,
        )


class BloqPaymentSensor(BloqConnectSensor):
    """Wait until an address was paid so much by one output, with so many confirmations.

    Returns a dict: ``address``, ``amount_sat``, ``txid``, ``index`` (of the output), ``height``, ``block_hash`` and
    ``confirmations``; of several payments the deepest. The arguments of :class:`BloqConnectSensor`,
    :class:`~airflow_provider_bloq.sensors._base.BloqSensor` and Airflow's own sensors are taken as well;
    ``confirmations=0`` is content with a transaction that waits for a block.

    :param address: The address.
    :param at_least_sat: How much, in satoshi.
    :param since_height: Number of the first block that counts. Give it for addresses with a long history, else
        every look reads all of it.
    """

    template_fields: Sequence[str] = (
        *BloqConnectSensor.template_fields,
        "address",
        "at_least_sat",
        "since_height",
    )

    def __init__(
        self, *, address: str, at_least_sat: int | str = 1, since_height: int | str = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.address = address
        self.at_least_sat = at_least_sat
        self.since_height = since_height

    def condition(self) -> Condition:
        """See :meth:`BloqSensor.condition`."""
        from airflow_provider_bloq.connect.conditions import ConnectPaymentSeen

        return ConnectPaymentSeen(
            self.chain,
            self.address,
            number_of(self.at_least_sat),
            number_of(self.confirmations),
            number_of(self.since_height),
            self.network,
        )
