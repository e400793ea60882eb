"""The Connect client of ``BloqAsyncHook``: the REST API, and the stream for code on an event loop.

Apart from the hook, which DAG files import: its base class loads the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.connect.addresses import require_address
from airflow_provider_bloq.connect.client import AsyncConnectClient
from airflow_provider_bloq.connect.payments import PaymentBook, PaymentFeed
from airflow_provider_bloq.connect.stream import ChainUpdates, ReconnectingStream
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.validation import require_whole_number

if TYPE_CHECKING:
    pass

__all__ = [
    "DEPTH",
    "INTERVAL",
    "HookConnectClient",
]


#: Blocks under which a payment is taken to be final. No reorg of Bitcoin was as deep.
DEPTH = 100


#: Seconds between two looks for which the stream gives no reason.
INTERVAL = 60.0


class HookConnectClient(AsyncConnectClient):
    """Connect's REST API, awaited, and its stream; see :class:`~airflow_provider_bloq.connect.client.ConnectApi`.

    The stream speaks Socket.IO 2 over Engine.IO 3, as Bloq does; Engine.IO 4 is not spoken. Where it cannot be
    reached, everything goes on over REST.

    :param stream: Keeps listeners connected to the stream.
    """

    def __init__(self, *, stream: ReconnectingStream, **client: Any) -> None:
        super().__init__(**client)
        self.stream = stream

    def updates(self, addresses: str | Iterable[str] = ()) -> ChainUpdates:
        """Return what tells when there is reason to look::

            async with client.updates() as updates:
                while True:
                    ...  # look
                    await updates.wait(timeout=60)

        :param addresses: Whose transactions are reason to look, besides new blocks.
        :raises BloqConfigurationError: One of them is none of this chain.
        """
        with raise_as_fail_exception():
            return ChainUpdates(self.stream, self._named(addresses))

    def payments(
        self,
        addresses: str | Iterable[str],
        *,
        since: Mapping[str, Any] | int | None = None,
        depth: int = DEPTH,
        interval: float = INTERVAL,
    ) -> PaymentFeed:
        """Return an iterator over payments to addresses, each told once by transaction and output::

            async with client.payments(["bc1q..."]) as payments:
                async for event in payments:
                    if isinstance(event, Payment):
                        ...

        A :class:`~airflow_provider_bloq.connect.payments.Payment` is told when it is first seen, mostly while it
        waits for a block; a :class:`~airflow_provider_bloq.connect.payments.PaymentChanged` when it then comes into
        a block, when a reorg takes that block away, and when it is gone altogether. None is missed while the
        stream is away: after each connection, each block and each interval the gap is filled over REST.

        The iterator raises :class:`~airflow_provider_bloq.exceptions.BloqReorg` where blocks as deep as ``depth``
        were replaced: then begin anew, with a lower height.

        :param addresses: The addresses.
        :param since: ``cursor`` of an earlier iterator, to go on after what that gave; or number of the first
            block that counts; None for the next one. What waits for a block counts always.
        :param depth: How many blocks deep a payment is taken to be final. Those above are remembered.
        :param interval: Seconds between two looks over REST for which the stream gives no reason.
        :raises BloqConfigurationError: One of these cannot be.
        """
        with raise_as_fail_exception():
            named = self._named(addresses)
            require_whole_number("number of addresses", len(named), least=1)
            require_whole_number("depth", depth, least=1)
            book = _book_since(since)
            if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
                raise BloqConfigurationError.of(
                    "interval", f"{interval!r} is no time to wait", "Give seconds, more than 0."
                )
            return PaymentFeed(self, self.stream, named, book, depth=depth, interval=interval)

    def _named(self, addresses: str | Iterable[str]) -> tuple[str, ...]:
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        return tuple(
            dict.fromkeys(require_address(self.chain, one, self.network, "addresses") for one in given)
        )


def _book_since(since: Mapping[str, Any] | int | None) -> PaymentBook | None:
    if since is None:
        return None
    if isinstance(since, Mapping):
        return PaymentBook.from_json(since)
    require_whole_number("since", since, least=0)
    return PaymentBook(since)
