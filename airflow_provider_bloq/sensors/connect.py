"""Sensors that wait for blocks, transactions and payments of Bitcoin and Bitcoin Cash through Connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.arguments import number_of, seconds_of
from airflow_provider_bloq.sensors._base import BloqSensor

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
    """A sensor that polls Connect. Deferrable ones share the polls of a chain.

    Confirmations are counted from the newest block that Connect has indexed, as in ``BloqAddressHistoryOperator``.
    Connect's node may have newer blocks.

    Also takes the arguments of :class:`~airflow_provider_bloq.sensors._base.BloqSensor`.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default the connection's.
    :param confirmations: Number of confirmations; the newest block has one.
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
    """Wait until a block has a number of confirmations.

    Returns a dict: ``height``, ``confirmations``, and ``head`` with its ``height``, ``hash`` and ``time``
    (seconds since the epoch). Also takes the arguments of :class:`BloqConnectSensor`.

    :param height: Number of the block; the genesis block has 0.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "height")

    def __init__(self, *, height: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height

    def condition(self) -> Condition:
        from airflow_provider_bloq.connect.conditions import ConnectBlockReached

        return ConnectBlockReached(
            self.chain, number_of(self.height), number_of(self.confirmations), self.network
        )


class BloqConnectTransactionSensor(BloqConnectSensor):
    """Wait until a transaction has a number of confirmations.

    If a reorg takes it out of the chain before it has all of them, the sensor keeps waiting. Fails with
    :class:`~airflow_provider_bloq.exceptions.BloqTransactionDropped`, which Airflow retries, if the transaction
    has been neither in the chain nor in the mempool for ``unseen_for``.

    Returns a dict: ``txid``, ``height``, ``block_hash`` and ``confirmations``. Also takes the arguments of
    :class:`BloqConnectSensor`.

    :param txid: The transaction's id, such as ``BloqSendTransactionOperator`` returns.
    :param unseen_for: How long it may be unknown without interruption, in seconds or as a ``timedelta``.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "txid", "unseen_for")

    def __init__(self, *, txid: str, unseen_for: float | str | timedelta = 600.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.txid = txid
        self.unseen_for = unseen_for

    def condition(self) -> Condition:
        from airflow_provider_bloq.connect.conditions import ConnectTransactionConfirmed

        return ConnectTransactionConfirmed(
            self.chain,
            self.txid,
            number_of(self.confirmations),
            seconds_of("unseen_for", self.unseen_for, self.task_id),
            self.network,
        )


class BloqAddressBalanceSensor(BloqConnectSensor):
    """Wait until the balance of an address, counting outputs with enough confirmations, has reached an amount.

    Returns a dict: ``address``, ``balance_sat``, ``outputs`` (their number) and ``confirmations``. Also takes the
    arguments of :class:`BloqConnectSensor`; ``confirmations=0`` counts the mempool as well.

    :param address: The address.
    :param at_least_sat: The amount in satoshi.
    """

    template_fields: Sequence[str] = (*BloqConnectSensor.template_fields, "address", "at_least_sat")

    def __init__(self, *, address: str, at_least_sat: int | str = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.address = address
        self.at_least_sat = at_least_sat

    def condition(self) -> Condition:
        from airflow_provider_bloq.connect.conditions import ConnectBalanceReached

        return ConnectBalanceReached(
            self.chain,
            self.address,
            number_of(self.at_least_sat),
            number_of(self.confirmations),
            self.network,
        )


class BloqPaymentSensor(BloqConnectSensor):
    """Wait until one output pays an address at least an amount and has enough confirmations.

    Returns a dict: ``address``, ``amount_sat``, ``txid``, ``index`` (of the output), ``height``, ``block_hash`` and
    ``confirmations``; of several payments the one with the most confirmations. Also takes the arguments of
    :class:`BloqConnectSensor`; ``confirmations=0`` accepts a transaction in the mempool.

    :param address: The address.
    :param at_least_sat: The amount in satoshi.
    :param since_height: Height of the first block to count. Give it for addresses with a long history; otherwise
        every poll reads all of it.
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
        from airflow_provider_bloq.connect.conditions import ConnectPaymentSeen

        return ConnectPaymentSeen(
            self.chain,
            self.address,
            number_of(self.at_least_sat),
            number_of(self.confirmations),
            self.network,
            number_of(self.since_height),
        )
