"""Chains as message queues: ``MessageQueueTrigger(scheme="bloq", node=…)``; needs the extra ``messaging``.

All other arguments are those of the scheme's trigger in :mod:`airflow_provider_bloq.triggers.chain_events`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

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


class _ChainQueue(BaseMessageQueueProvider):
    #: Name of the class of the trigger.
    trigger: ClassVar[str]

    def trigger_class(self) -> type[BaseEventTrigger]:
        from airflow_provider_bloq.triggers import chain_events

        return cast("type[BaseEventTrigger]", getattr(chain_events, self.trigger))


class BloqBlockQueue(_ChainQueue):
    """Final blocks of a chain."""

    scheme = "bloq"
    trigger = "BloqBlockTrigger"


class BloqAddressQueue(_ChainQueue):
    """Transfers to or from addresses."""

    scheme = "bloq+addresses"
    trigger = "BloqAddressTrigger"


class BloqLogsQueue(_ChainQueue):
    """Logs of contracts."""

    scheme = "bloq+logs"
    trigger = "BloqLogsTrigger"


class BloqConnectBlockQueue(_ChainQueue):
    """Final blocks of a chain, through Connect."""

    scheme = "bloq+connect"
    trigger = "BloqConnectBlockTrigger"


class BloqPaymentQueue(_ChainQueue):
    """Payments to or from addresses, through Connect."""

    scheme = "bloq+payments"
    trigger = "BloqPaymentTrigger"
