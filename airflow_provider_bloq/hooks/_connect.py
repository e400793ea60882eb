"""The Connect client of ``BloqAsyncHook``: the REST API and the stream.

A separate module because DAG files import the hook, and this client's base class loads the REST client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.connect.addresses import require_address
from airflow_provider_bloq.connect.client import AsyncConnectClient
from airflow_provider_bloq.connect.payments import PaymentFeed, ReportedPayments
from airflow_provider_bloq.connect.stream import ChainUpdates, ReconnectingStream
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception

__all__ = ["HookConnectClient"]


#: Number of blocks on top at which a payment is final. No reorg of Bitcoin was deeper.
FINAL_DEPTH = 100
#: Seconds after which payments are polled even if the stream announces nothing.
POLL_INTERVAL = 60.0


class HookConnectClient(AsyncConnectClient):
    """The async client for Connect's REST API and its stream.

    See :class:`~airflow_provider_bloq.connect.client.ConnectApi` for the REST API.

    The stream uses Socket.IO 2 on Engine.IO 3, as Bloq does, not Engine.IO 4. If it cannot be reached, updates and
    payments are still polled over REST.

    :param stream: Connects to the stream.
    """

    def __init__(self, *, stream: ReconnectingStream, **client: Any) -> None:
        super().__init__(**client)
        self.stream = stream

    def updates(self, addresses: str | Iterable[str] = ()) -> ChainUpdates:
        """Return an object that waits for new blocks::

            async with client.updates() as updates:
                while True:
                    ...  # poll
                    await updates.wait(timeout=60)

        :param addresses: Addresses whose transactions end a wait as well.
        :raises BloqConfigurationError: One of them is not an address of this chain.
        """
        with raise_as_fail_exception():
            return ChainUpdates(self.stream, self._unique(addresses))

    def payments(
        self,
        addresses: str | Iterable[str],
        *,
        since: Mapping[str, Any] | int | None = None,
        depth: int = FINAL_DEPTH,
        interval: float = POLL_INTERVAL,
    ) -> PaymentFeed:
        """Return an iterator over payments to addresses, each reported once by transaction and output::

            async with client.payments(["bc1q..."]) as payments:
                async for event in payments:
                    if isinstance(event, Payment):
                        ...

        A :class:`~airflow_provider_bloq.connect.payments.Payment` is reported when it is first seen, usually in the
        mempool; a :class:`~airflow_provider_bloq.connect.payments.PaymentChanged` when it is mined, when a reorg
        removes its block, and when it is gone. No payment is missed while the stream is down: payments are polled over
        REST after each connection, each block and each interval.

        The iterator raises :class:`~airflow_provider_bloq.exceptions.BloqReorg` if a reorg is deeper than ``depth``.
        In that case start over from a lower height.

        :param addresses: The addresses.
        :param since: The ``cursor`` of an earlier iterator, to continue after its last event; or the height of the
            first block to count; None for the next block. The mempool always counts.
        :param depth: Number of blocks on top at which a payment is final. Payments above are remembered.
        :param interval: Seconds after which payments are polled even if the stream announces nothing.
        :raises BloqConfigurationError: One of these is invalid.
        """
        with raise_as_fail_exception():
            wanted = self._unique(addresses)
            require_whole_number("number of addresses", len(wanted), least=1)
            require_whole_number("depth", depth, least=1)
            reported = _reported_since(since)
            if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
                raise BloqConfigurationError.of(
                    "interval", f"{interval!r} is not a positive number", "Use a number of seconds above 0."
                )
            return PaymentFeed(self, self.stream, wanted, reported, depth=depth, interval=interval)

    def _unique(self, addresses: str | Iterable[str]) -> tuple[str, ...]:
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        return tuple(
            dict.fromkeys(require_address(self.chain, one, self.network, "addresses") for one in given)
        )


def _reported_since(since: Mapping[str, Any] | int | None) -> ReportedPayments | None:
    if since is None:
        return None
    if isinstance(since, Mapping):
        return ReportedPayments.from_json(since)
    require_whole_number("since", since, least=0)
    return ReportedPayments(since)
