"""What the event triggers on chains have in common: how their events reach Airflow, each once."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_bloq.chains.blocks import Finality
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.events import (
    BlockEventBuilder,
    EventBuilder,
    LogEventBuilder,
    TransferEventBuilder,
)
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.connect.addresses import require_address
from airflow_provider_bloq.connect.client import require_network, require_rest_chain
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.polling.watcher import (
    CheckpointStore,
    FinalBlock,
    FinalConnectBlock,
    Watcher,
    WatcherSettings,
)
from airflow_provider_bloq.validation import require_whole_number

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

    from airflow_provider_bloq.polling.conditions import Target

__all__ = [
    "LATEST",
    "BlockEvents",
    "BloqAddressTrigger",
    "BloqBlockTrigger",
    "BloqChainTrigger",
    "BloqConnectBlockTrigger",
    "BloqConnectTrigger",
    "BloqEventTrigger",
    "BloqLogsTrigger",
    "BloqPaymentTrigger",
]


#: Begin with what becomes final from now on.
LATEST = "latest"
#: Shorter is a flood of requests, longer hides that a watcher runs at all.
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 3600.0
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Arguments that say how it is watched, not what: to change one of them leaves the watcher in its place.
_MANNERS = frozenset(
    {
        "bloq_conn_id",
        "family",
        "max_range",
        "path",
        "poll_interval",
        "port",
        "start",
        "stream",
        "tls_fingerprint",
    }
)


class BloqEventTrigger(BaseEventTrigger):
    """Follows a chain and fires on what its final blocks hold; see the subclasses for the events.

    **What holds.** Nothing is missed: each watcher keeps its place in the state store of its asset, and moves it
    only after Airflow has stored its events. Nothing is fired twice while the triggerer runs. If the triggerer ends
    between storing an event and keeping the place, a second or two, the events of that last batch are fired
    again with the same ``id`` and the same content, marked ``"redelivered": true``. Airflow stores events and places
    apart, and cannot be asked whether an event has arrived, so that this cannot be ruled out. (The content is
    another only if arguments of the trigger were changed meanwhile.)

    **Reorgs.** One among blocks that are not final yet goes unnoticed. One that replaces blocks which were told of
    fires ``{"event": "reorg", "first": …, "last": …, "complete": …}`` with the range of their heights, and then
    the new blocks follow. It is found up to 64 blocks below the last one; for a deeper one ``complete`` is
    false, which means that blocks below ``first`` may have been replaced as well.

    **Sharing.** In one triggerer all watchers of the same chain share one look per interval, and what is read of
    the same blocks. Each has an Airflow stream of its own: Airflow reports of a stream how many of its triggers
    have stored an event, but not which, and would hold each up until all have. So a watcher that is added later,
    or has fallen behind, catches up by itself, in batches.

    **Failures.** No failure of the node, of Bloq or of Airflow ends a watcher; it logs the failure, pauses, and goes
    on where it was.

    Airflow 3.1 and 3.2 have no state store for assets and do not tell when an event is stored: there the place is
    kept in memory alone, and after a restart of the triggerer the watcher begins at its ``start`` again.

    :param finality: Which blocks are final.
    :param bloq_conn_id: Id of the connection.
    :param start: Height of the first block to tell of when the watcher is new; ``latest`` for the first that
        becomes final from then on.
    :param poll_interval: Seconds between two looks.
    :param label: Name under which it keeps its place. Give one to go on from the same place with other arguments.
        Watchers of one asset need different ones.
    :raises BloqConfigurationError: One of the arguments cannot be used.
    """

    #: Stands in the key of the place.
    kind: ClassVar[str]

    def __init__(
        self,
        *,
        finality: Finality,
        bloq_conn_id: str = "bloq_default",
        start: int | str = LATEST,
        poll_interval: float = 10.0,
        label: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bloq_conn_id = bloq_conn_id
        self.finality = finality
        if start != LATEST:
            require_whole_number("start", start, least=0)
        self.start = start
        self.poll_interval = _interval(poll_interval)
        if label is not None and not _LABEL.fullmatch(label):
            raise BloqConfigurationError.of(
                "label", f"{label!r} cannot be used", "Use up to 100 letters, digits, '.', '_' and '-'."
            )
        self.label = label

    @property
    @abstractmethod
    def target(self) -> Target:
        """What is looked at; seen as a :class:`~airflow_provider_bloq.polling.watcher.ChainSnapshot`."""

    @property
    @abstractmethod
    def telling(self) -> EventBuilder:
        """What is told of the blocks."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments by which the triggerer makes it anew."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            "bloq_conn_id": self.bloq_conn_id,
            "confirmations": self.finality.confirmations,
            "start": self.start,
            "poll_interval": self.poll_interval,
            "label": self.label,
        }

    @property
    def checkpoint_key(self) -> str:
        """The key under which it keeps its place, in the state store of each of its assets."""
        what = {name: value for name, value in self.serialize()[1].items() if name not in _MANNERS}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return f"bloq-{self.kind}-{self.label or digest[:16]}"

    def watcher(self) -> Watcher:
        """Make what follows the chain for this trigger."""
        settings = WatcherSettings(
            self.bloq_conn_id,
            self.target,
            self.telling,
            None if isinstance(self.start, str) else self.start,
            self.poll_interval,
        )
        # Airflow before 3.3 knows no such attribute.
        return Watcher(
            settings, CheckpointStore(getattr(self, "asset_state_store", None), self.checkpoint_key)
        )

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of its stream: one of its own, in which Airflow tells when events are stored."""
        return (*self.serialize()[:1], json.dumps(self.serialize()[1], sort_keys=True), self.trigger_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the stream; its trigger makes itself known to it."""
        from airflow_provider_bloq.triggers._shared_stream import WatcherStream

        return WatcherStream()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire the events of each batch that the stream gives."""
        async for parcel in shared_stream:
            parcel.receive(self)
            for event in parcel.events:
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the events where Airflow has no shared streams (before 3.3)."""
        async with aclosing(self.watcher().batches()) as batches:
            async for events in batches:
                for event in events:
                    yield TriggerEvent(event)  # type: ignore[no-untyped-call]


def _interval(seconds: float) -> float:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise BloqConfigurationError.of(
            "poll_interval",
            f"{seconds!r} does not fit",
            f"Use a number of seconds from {SHORTEST_INTERVAL:g} to {LONGEST_INTERVAL:g}.",
        )
    return float(seconds)


class BlockEvents(BloqEventTrigger):
    """Has the arguments and events of triggers that fire on blocks; whose blocks, the other base says.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """

    kind: ClassVar[str] = "blocks"

    def __init__(self, *, every: int = 1, max_range: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.blocks = BlockEventBuilder.of(every, max_range)

    @property
    def telling(self) -> EventBuilder:
        """See :attr:`BloqEventTrigger.telling`."""
        return self.blocks

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.blocks)}


class BloqChainTrigger(BloqEventTrigger):
    """Follows a chain through a node; see the subclasses for the events.

    What holds for restarts, reorgs and failures, and the arguments ``bloq_conn_id``, ``start``, ``poll_interval`` and
    ``label`` are those of :class:`~airflow_provider_bloq.triggers.chain_events.BloqEventTrigger`. With a label it
    goes on from the same place with another node of the chain.

    :param node: A node or cluster of the chain, its id, what ``BloqCreateNodeOperator`` returned, a URL, or
        ``connect:<chain>`` for the JSON-RPC that Connect has for the chain.
    :param confirmations: A block is final with so many confirmations; the head has one. 12 if neither this nor
        ``finality`` is given.
    :param finality: ``finalized`` or ``safe``: the block that the node calls so is the last final one. EVM chains
        with proof of stake only.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` does not tell it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param family: ``evm`` or ``bitcoin``, for a URL and for chains of which it is not known.
    :raises BloqConfigurationError: One of the arguments cannot be used.
    """

    def __init__(
        self,
        *,
        node: Node | Cluster | Mapping[str, Any] | str,
        confirmations: int | None = None,
        finality: str | None = None,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
        family: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(finality=Finality.of(confirmations, finality), **arguments)
        self.subject = RpcSubject.of(
            node, tls_fingerprint=tls_fingerprint, port=port, path=path, family=family
        )

    @property
    def target(self) -> Target:
        """See :attr:`BloqEventTrigger.target`."""
        return FinalBlock(self.subject, self.finality)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.subject), "finality": self.finality.tag}


class BloqBlockTrigger(BlockEvents, BloqChainTrigger):
    """Fire on each new final block, on each n-th, or on ranges of them.

    An event tells of a range of blocks: in daily life of the one that has just become final, of more where a look
    finds several or where the watcher has to catch up::

        {"event": "blocks", "id": "blocks:100-101:0x5e…", "first": 100, "last": 101,
         "first_hash": "0x7c…", "last_hash": "0x5e…", "parent_hash": "0x0a…",
         "first_time": 1750000000, "last_time": 1750000012, "redelivered": false}

    ``parent_hash`` is that of block ``first``; times are in seconds since the epoch, as the blocks say.

    Each block is told of once, and without a gap to the one before. For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """


class BloqLogsTrigger(BloqChainTrigger):
    """Fire on each final block that holds logs of certain contracts.

    An event tells of the logs of one block, in their order; of more than 100 in several parts::

        {"event": "logs", "id": "logs:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "logs": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": 2, "address": "0xa0…",
                   "topics": ["0xdd…"], "data": "0x…"}]}

    For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param addresses: Address of the contract, or several; none for all contracts.
    :param topics: What the topics of a log may be, as for ``eth_getLogs``: for each place a topic, a list of
        those that may stand there, or None for any.
    """

    kind: ClassVar[str] = "logs"

    def __init__(
        self, *, addresses: Iterable[str] | str = (), topics: Iterable[Any] = (), **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.wanted = LogFilter.of(addresses, topics)

    @property
    def telling(self) -> EventBuilder:
        """See :attr:`BloqEventTrigger.telling`."""
        return LogEventBuilder(self.wanted)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": list(self.wanted.addresses),
            "topics": [list(place) or None for place in self.wanted.topics],
        }


class BloqAddressTrigger(BloqChainTrigger):
    """Fire on each final block that holds transfers to or from certain addresses.

    An event tells of the transfers of one block, in their order; of more than 100 in several parts::

        {"event": "transfers", "id": "transfers:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "transfers": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": null, "token": null,
                        "from": "0xf3…", "to": "0x70…", "amount": "1000000000000000000"}]}

    On EVM chains these are the transactions that carry the chain's own coin and have not been reverted, and the
    ``Transfer`` logs of ERC-20 tokens, with the contract as ``token``. What contracts pay out of the chain's coin
    within a transaction is not seen: only tracing nodes know it. On Bitcoin's chains they are outputs that pay an
    address (``output`` is the number, ``from`` null) and inputs that spend what it had (``input``, ``to`` null).

    Amounts are decimal strings in the smallest unit: wei, satoshi, or whatever a token counts in. Addresses are in
    lower case, except where their case has a meaning.

    For reorgs, restarts and the other arguments see
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqChainTrigger`.

    :param addresses: The address, or several.
    :param direction: ``to``, ``from`` or ``both``. Senders on Bitcoin's chains are known to nodes since Bitcoin
        Core 23 only.
    :param native: Whether to watch the chain's own coin. It takes every block with all its transactions, where
        for tokens the node searches.
    :param tokens: Contracts of the tokens to watch; None for any token, an empty list for none.
    """

    kind: ClassVar[str] = "transfers"

    def __init__(
        self,
        *,
        addresses: Iterable[str] | str,
        direction: str = "both",
        native: bool = True,
        tokens: Iterable[str] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.wanted = TransferFilter.of(addresses, direction=direction, native=native, tokens=tokens)

    @property
    def telling(self) -> EventBuilder:
        """See :attr:`BloqEventTrigger.telling`."""
        return TransferEventBuilder(self.wanted)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        tokens = self.wanted.tokens
        return classpath, {
            **arguments,
            "addresses": sorted(self.wanted.addresses),
            "direction": self.wanted.direction,
            "native": self.wanted.native,
            "tokens": None if tokens is None else sorted(tokens),
        }


#: Blocks in which payments are looked for at once: it takes a request for each of the headers.
BLOCKS_AT_ONCE = 100


class BloqConnectTrigger(BloqEventTrigger):
    """Follows a chain through Connect; see the subclasses for the events.

    The events are those that the triggers on a node of the same chain give, with the same ids, so that one can take the
    place of the other. What holds for restarts, reorgs and failures, and the arguments ``bloq_conn_id``, ``start``,
    ``poll_interval`` and ``label`` are those of
    :class:`~airflow_provider_bloq.triggers.chain_events.BloqEventTrigger`.

    To begin far back with ``start`` takes a request for each block; for the past of addresses
    :class:`~airflow_provider_bloq.operators.connect.BloqAddressHistoryOperator` is faster.

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

    The events are those of :class:`~airflow_provider_bloq.triggers.chain_events.BloqBlockTrigger`; the other arguments
    those of :class:`BloqConnectTrigger`.

    :param every: Fire only when a block has become final whose height this number divides; the event then tells
        of all blocks since the one before.
    :param max_range: Blocks in one event at most. With 1, each block has an event of its own.
    """


class BloqPaymentTrigger(BloqConnectTrigger):
    """Fire on each final block with payments to or from certain addresses, each of them once.

    A payment is an output that pays one of the addresses, or an input that spends what one had.
    The events are those that :class:`.BloqAddressTrigger` gives for Bitcoin;
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
    def telling(self) -> EventBuilder:
        """See :attr:`BloqEventTrigger.telling`."""
        return TransferEventBuilder(self.wanted, BLOCKS_AT_ONCE)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See :meth:`BloqEventTrigger.serialize`."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": sorted(self.wanted.addresses),
            "direction": self.wanted.direction,
        }
