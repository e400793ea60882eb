"""Event triggers that watch Bitcoin or Bitcoin Cash through Connect, without a node: blocks, and payments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.chains.finality import Finality
from airflow_provider_bloq.chains.tellings import Telling, Transfers
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.clients.bitcoin_addresses import require_address
from airflow_provider_bloq.clients.connect_chains import require_network, require_rest_chain
from airflow_provider_bloq.triggers.block_events import BlockEvents
from airflow_provider_bloq.triggers.event_trigger import BloqEventTrigger
from airflow_provider_bloq.triggers.final_connect_block import FinalConnectBlock

if TYPE_CHECKING:
    from airflow_provider_bloq.conditions.condition import Target

__all__ = ["BloqConnectBlockTrigger", "BloqConnectTrigger", "BloqPaymentTrigger"]

#: Blocks in which payments are looked for at once: it takes a request for each of the headers.
BLOCKS_AT_ONCE = 100


class BloqConnectTrigger(BloqEventTrigger):
    """Follows a chain through Connect; see the subclasses for the events.

    The events are those that the triggers on a node of the same chain give, with the same ids, so that one can take the
    place of the other. What holds for restarts, reorgs and failures, and the arguments ``bloq_conn_id``, ``start``,
    ``poll_interval`` and ``label`` are those of
    :class:`~airflow_provider_bloq.triggers.event_trigger.BloqEventTrigger`.

    To begin far back with ``start`` takes a request for each block; for the past of addresses
    :class:`~airflow_provider_bloq.operators.address_history.BloqAddressHistoryOperator` is faster.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default the usual one of the connection.
    :param confirmations: A block is final with so many confirmations; the head has one. 12 unless given.
    :param stream: Whether Connect's stream should wake it for a new block at once. Where the stream cannot be
        reached, the block is seen at the next interval.
    :raises BloqConfigurationError: One of the arguments cannot be used.
    """

    def __init__(
        self,
        *,
        chain: str,
        network: str | None = None,
        confirmations: int | None = None,
        stream: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(finality=Finality.of(confirmations), **arguments)
        self.chain = require_rest_chain(chain)
        self.network = None if network is None else require_network(network)
        self.stream = stream

    @property
    def target(self) -> Target:
        """See :attr:`BloqEventTrigger.target`."""
        return FinalConnectBlock(self.chain, self.network, self.finality, self.stream)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "chain": self.chain,
            "network": self.network,
            "stream": self.stream,
        }


class BloqConnectBlockTrigger(BlockEvents, BloqConnectTrigger):
    """Fire on each new final block, on each n-th, or on ranges of them.

    The events are those of :class:`~airflow_provider_bloq.triggers.blocks.BloqBlockTrigger`; the other arguments
    those of :class:`BloqConnectTrigger`.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """


class BloqPaymentTrigger(BloqConnectTrigger):
    """Fire on each final block with payments to or from certain addresses, each of them once.

    A payment is an output that pays one of the addresses, or an input that spends what one had.
    The events are those that :class:`~airflow_provider_bloq.triggers.addresses.BloqAddressTrigger` gives for Bitcoin;
    only that ``tx_index`` is null should Connect not list the transactions of the block. The other arguments are
    those of :class:`BloqConnectTrigger`.

    For each new block Connect is asked once for each fifty addresses, and for each block that has payments.

    :param addresses: The address, or several.
    :param direction: ``to``, ``from`` or ``both``.
    """

    kind: ClassVar[str] = "transfers"

    def __init__(self, *, addresses: Iterable[str] | str, direction: str = "both", **arguments: Any) -> None:
        super().__init__(**arguments)
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        usual = [require_address(self.chain, one, self.network, "addresses") for one in given]
        self.wanted = TransferFilter.of(usual, direction=direction, tokens=())

    @property
    def telling(self) -> Telling:
        """See :attr:`BloqEventTrigger.telling`."""
        return Transfers(self.wanted, BLOCKS_AT_ONCE)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": sorted(self.wanted.addresses),
            "direction": self.wanted.direction,
        }
