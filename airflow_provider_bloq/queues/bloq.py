"""Chains as message queues: ``MessageQueueTrigger(scheme="bloq", node=…)``; needs the extra ``messaging``.

The scheme says what is told: ``bloq`` the blocks, ``bloq+addresses`` transfers, ``bloq+logs`` logs of contracts; and,
of chains that are watched through Connect, ``bloq+connect`` the blocks and ``bloq+payments`` payments. All other
arguments are those of the trigger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger

__all__ = [
    "BloqAddressQueue",
    "BloqBlockQueue",
    "BloqConnectBlockQueue",
    "BloqLogsQueue",
    "BloqPaymentQueue",
]


class BloqBlockQueue(BaseMessageQueueProvider):
    """The final blocks of a chain; see :class:`~airflow_provider_bloq.triggers.chain_events.BloqBlockTrigger`."""

    scheme = "bloq"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that watches them."""
        from airflow_provider_bloq.triggers.chain_events import BloqBlockTrigger

        return BloqBlockTrigger


class BloqAddressQueue(BaseMessageQueueProvider):
    """Transfers; see :class:`~airflow_provider_bloq.triggers.chain_events.BloqAddressTrigger`."""

    scheme = "bloq+addresses"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that watches them."""
        from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger

        return BloqAddressTrigger


class BloqLogsQueue(BaseMessageQueueProvider):
    """Logs of contracts; see :class:`~airflow_provider_bloq.triggers.chain_events.BloqLogsTrigger`."""

    scheme = "bloq+logs"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that watches them."""
        from airflow_provider_bloq.triggers.chain_events import BloqLogsTrigger

        return BloqLogsTrigger


class BloqConnectBlockQueue(BaseMessageQueueProvider):
    """Final blocks through Connect.

    See :class:`~airflow_provider_bloq.triggers.chain_events.BloqConnectBlockTrigger`.
    """

    scheme = "bloq+connect"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that watches them."""
        from airflow_provider_bloq.triggers.chain_events import BloqConnectBlockTrigger

        return BloqConnectBlockTrigger


class BloqPaymentQueue(BaseMessageQueueProvider):
    """Payments through Connect; see :class:`~airflow_provider_bloq.triggers.chain_events.BloqPaymentTrigger`."""

    scheme = "bloq+payments"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that watches them."""
        from airflow_provider_bloq.triggers.chain_events import BloqPaymentTrigger

        return BloqPaymentTrigger
