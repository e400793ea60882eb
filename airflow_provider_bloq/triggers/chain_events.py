"""Event triggers that follow a chain and fire on its final blocks: blocks, contract logs, transfers and payments."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.chains.blocks import Finality
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.event_builders import (
    BlockEventBuilder,
    LogEventBuilder,
    TransferEventBuilder,
)
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.exceptions import BloqConfigurationError

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

    from airflow_provider_bloq.chains.event_builders import EventBuilder
    from airflow_provider_bloq.nodes.models import Cluster, Node
    from airflow_provider_bloq.polling.conditions import Target
    from airflow_provider_bloq.polling.watcher import Watcher

__all__ = [
    "BloqAddressTrigger",
    "BloqBlockTrigger",
    "BloqChainTrigger",
    "BloqConnectBlockTrigger",
    "BloqConnectTrigger",
    "BloqEventTrigger",
    "BloqLogsTrigger",
    "BloqPaymentTrigger",
]

#: Start with what becomes final from now on.
LATEST = "latest"
#: Limits of the poll interval in seconds.
MIN_INTERVAL, MAX_INTERVAL = 0.1, 3600.0
#: Blocks searched for payments at once. Connect is asked for the header of each.
PAYMENT_BLOCKS_AT_ONCE = 100
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Arguments that do not change what is watched. A watcher keeps its checkpoint when they change.
_NOT_IN_KEY = frozenset(
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
    """Follows a chain and fires on its final blocks; see the subclasses for the events.

    **Delivery.** No event is missed: each watcher keeps a checkpoint in the state store of its asset, and moves it
    only after Airflow has stored its events. No event is fired twice while the triggerer runs. If the triggerer ends
    after an event is stored and before the checkpoint is, the events of that last batch are fired again with the
    same ``id`` and content, marked ``"redelivered": true``: Airflow stores events and checkpoints separately, and
    cannot be asked whether an event has arrived. (The content differs only if the trigger's arguments were changed.)

    **Reorgs.** A reorg among blocks that are not final yet goes unnoticed. One that replaces reported blocks fires
    ``{"event": "reorg", "first": …, "last": …, "complete": …}`` with the range of their heights, and then the new
    blocks follow. It is found up to 64 blocks below the last one; for a deeper one ``complete`` is false: blocks
    below ``first`` may have been replaced as well.

    **Sharing.** In one triggerer all watchers of a chain share each poll and each block that is read. Each
    has its own Airflow stream, since Airflow does not report which trigger of a stream has stored an event. A
    watcher that was added later or has fallen behind catches up by itself, in batches.

    **Failures.** No failure of the node, of Bloq or of Airflow ends a watcher: it logs the failure, pauses, and
    continues from where it was.

    Airflow 3.1 and 3.2 have no state store for assets and do not report when an event is stored. With them the
    checkpoint is kept in memory only; after a restart the watcher begins at its ``start`` again.

    :param finality: Which blocks are final.
    :param bloq_conn_id: Id of the connection.
    :param start: Height of the first block to report when the watcher is new; ``latest`` for the first that
        becomes final from then on.
    :param poll_interval: Seconds between two polls.
    :param label: Name of the checkpoint. Give one to keep the checkpoint when other arguments change. Watchers of
        one asset need different labels.
    :raises BloqConfigurationError: An argument is invalid.
    """

    #: Part of the checkpoint's key.
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
        """What to poll, as a :class:`~airflow_provider_bloq.polling.watcher.ChainSnapshot`."""

    @property
    @abstractmethod
    def event_builder(self) -> EventBuilder:
        """Builds the events."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and arguments from which the triggerer makes the trigger."""
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
        """The key of its checkpoint in the state store of each of its assets."""
        what = {name: value for name, value in self.serialize()[1].items() if name not in _NOT_IN_KEY}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return f"bloq-{self.kind}-{self.label or digest[:16]}"

    async def watcher(self) -> Watcher:
        """Return the watcher that follows the chain for this trigger."""
        # In a thread, since it imports HTTP libraries.
        return await asyncio.to_thread(self._watcher)

    def _watcher(self) -> Watcher:
        from airflow_provider_bloq.polling.watcher import CheckpointStore, Watcher, WatcherSettings

        settings = WatcherSettings(
            self.bloq_conn_id,
            self.target,
            self.event_builder,
            None if isinstance(self.start, str) else self.start,
            self.poll_interval,
        )
        # Airflow before 3.3 has no such attribute.
        return Watcher(
            settings, CheckpointStore(getattr(self, "asset_state_store", None), self.checkpoint_key)
        )

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of its stream, which it shares with no other trigger."""
        return (*self.serialize()[:1], json.dumps(self.serialize()[1], sort_keys=True), self.trigger_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return a new stream."""
        from airflow_provider_bloq.triggers._shared_stream import WatcherStream

        return WatcherStream()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire the events of each batch of the stream."""
        async for batch in shared_stream:
            batch.receive(self)
            for event in batch.events:
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the events if Airflow has no shared streams (before 3.3)."""
        async with aclosing((await self.watcher()).batches()) as batches:
            async for events in batches:
                for event in events:
                    yield TriggerEvent(event)  # type: ignore[no-untyped-call]


def _interval(seconds: float) -> float:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        raise BloqConfigurationError.of(
            "poll_interval",
            f"{seconds!r} is out of range",
            f"Use a number of seconds from {MIN_INTERVAL:g} to {MAX_INTERVAL:g}.",
        )
    return float(seconds)


class _BlockEvents(BloqEventTrigger):
    """Adds the arguments and events of triggers that fire on blocks; the other base class follows the chain."""

    kind: ClassVar[str] = "blocks"

    def __init__(self, *, every: int = 1, max_range: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.blocks = BlockEventBuilder.of(every, max_range)

    @property
    def event_builder(self) -> EventBuilder:
        return self.blocks

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.blocks)}


class BloqChainTrigger(BloqEventTrigger):
    """Follows a chain through a node; see the subclasses for the events.

    See :class:`BloqEventTrigger` for delivery, reorgs and failures, and for the arguments ``bloq_conn_id``,
    ``start``, ``poll_interval`` and ``label``. With a label the checkpoint is kept when another node of the chain
    takes over.

    :param node: A node or cluster of the chain, its id, the result of ``BloqCreateNodeOperator``, a URL, or
        ``connect:<chain>`` for Connect's JSON-RPC of the chain.
    :param confirmations: Confirmations that make a block final; the head has one. 12 if neither this nor
        ``finality`` is given.
    :param finality: ``finalized`` or ``safe``: the node's block of that name is the last final one. Only EVM chains
        with proof of stake have it.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, if ``node`` does not contain it.
    :param port: The port, if it is not the chain's default.
    :param path: The path, if it is not the chain's default.
    :param family: ``evm`` or ``bitcoin``, for a URL and for chains whose JSON-RPC dialect is not known.
    :raises BloqConfigurationError: An argument is invalid.
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
        from airflow_provider_bloq.polling.watcher import FinalBlock

        return FinalBlock(self.subject, self.finality)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, {**arguments, **asdict(self.subject), "finality": self.finality.tag}


class BloqBlockTrigger(_BlockEvents, BloqChainTrigger):
    """Fire on each new final block, on each n-th, or on ranges of them.

    An event covers a range of blocks: usually the one that has just become final, more if a poll finds several or
    the watcher has to catch up::

        {"event": "blocks", "id": "blocks:100-101:0x5e…", "first": 100, "last": 101,
         "first_hash": "0x7c…", "last_hash": "0x5e…", "parent_hash": "0x0a…",
         "first_time": 1750000000, "last_time": 1750000012, "redelivered": false}

    ``parent_hash`` is that of block ``first``; times are the blocks' own, in seconds since the epoch. Each block
    is reported once, without gaps. See :class:`BloqChainTrigger` for the other arguments.

    :param every: Fire only when a block becomes final whose height is a multiple of this number; the event then
        covers all blocks since the previous one.
    :param max_range: Blocks in one event at most. With 1, each block has its own event.
    """


class BloqLogsTrigger(BloqChainTrigger):
    """Fire on each final block that holds logs of certain contracts.

    An event lists the logs of one block, in their order; more than 100 come in several parts::

        {"event": "logs", "id": "logs:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "logs": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": 2, "address": "0xa0…",
                   "topics": ["0xdd…"], "data": "0x…"}]}

    See :class:`BloqChainTrigger` for the other arguments.

    :param addresses: Address of the contract, or several; none for all contracts.
    :param topics: Filter on topics, as for ``eth_getLogs``: for each position a topic, a list of alternatives, or
        None for any.
    """

    kind: ClassVar[str] = "logs"

    def __init__(
        self, *, addresses: Iterable[str] | str = (), topics: Iterable[Any] = (), **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.filter = LogFilter.of(addresses, topics)

    @property
    def event_builder(self) -> EventBuilder:
        return LogEventBuilder(self.filter)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": list(self.filter.addresses),
            "topics": [list(position) or None for position in self.filter.topics],
        }


class BloqAddressTrigger(BloqChainTrigger):
    """Fire on each final block that holds transfers to or from certain addresses.

    An event lists the transfers of one block, in their order; more than 100 come in several parts::

        {"event": "transfers", "id": "transfers:100:0x7c…:1", "height": 100, "block_hash": "0x7c…",
         "time": 1750000000, "part": 1, "parts": 1, "redelivered": false,
         "transfers": [{"tx_hash": "0x11…", "tx_index": 0, "log_index": null, "token": null,
                        "from": "0xf3…", "to": "0x70…", "amount": "1000000000000000000"}]}

    On EVM chains transfers are the transactions that carry the chain's own coin and were not reverted, and the
    ``Transfer`` logs of ERC-20 tokens, with the contract as ``token``. What contracts pay out of the chain's coin
    within a transaction is not seen: only tracing nodes know it. On Bitcoin's chains transfers are outputs that pay
    an address (``output`` is the number, ``from`` null) and inputs that spend its outputs (``input``, ``to`` null).

    Amounts are decimal strings in the smallest unit: wei, satoshi, or the token's. Addresses are in lower case,
    except where their case has a meaning.

    See :class:`BloqChainTrigger` for the other arguments.

    :param addresses: The address, or several.
    :param direction: ``to``, ``from`` or ``both``. Nodes know senders on Bitcoin's chains since Bitcoin Core 23.
    :param native: Whether to watch the chain's own coin. This reads every block with all its transactions, while
        tokens are searched by the node.
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
        self.filter = TransferFilter.of(addresses, direction=direction, native=native, tokens=tokens)

    @property
    def event_builder(self) -> EventBuilder:
        return TransferEventBuilder(self.filter)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        tokens = self.filter.tokens
        return classpath, {
            **arguments,
            "addresses": sorted(self.filter.addresses),
            "direction": self.filter.direction,
            "native": self.filter.native,
            "tokens": None if tokens is None else sorted(tokens),
        }


class BloqConnectTrigger(BloqEventTrigger):
    """Follows a chain through Connect; see the subclasses for the events.

    Events and their ids are those of the triggers on a node of the same chain, so that one can replace the other.
    See :class:`BloqEventTrigger` for delivery, reorgs and failures, and for the arguments ``bloq_conn_id``,
    ``start``, ``poll_interval`` and ``label``.

    Starting far back with ``start`` takes one request per block; for the past payments of addresses,
    :class:`~airflow_provider_bloq.operators.connect.BloqAddressHistoryOperator` is faster.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default the connection's.
    :param confirmations: Confirmations that make a block final; the head has one. 12 by default.
    :param stream: Whether Connect's stream should wake the watcher for each new block. If the stream cannot be
        reached, blocks are seen at the next interval.
    :raises BloqConfigurationError: An argument is invalid.
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
        from airflow_provider_bloq.connect.client import require_network, require_rest_chain

        super().__init__(finality=Finality.of(confirmations), **arguments)
        self.chain = require_rest_chain(chain)
        self.network = None if network is None else require_network(network)
        self.stream = stream

    @property
    def target(self) -> Target:
        from airflow_provider_bloq.polling.watcher import FinalConnectBlock

        return FinalConnectBlock(self.chain, self.network, self.finality, self.stream)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "chain": self.chain,
            "network": self.network,
            "stream": self.stream,
        }


class BloqConnectBlockTrigger(_BlockEvents, BloqConnectTrigger):
    """Fire on each new final block, on each n-th, or on ranges of them.

    The events and the arguments ``every`` and ``max_range`` are those of :class:`BloqBlockTrigger`; see
    :class:`BloqConnectTrigger` for the others.

    :param every: Fire only when a block becomes final whose height is a multiple of this number.
    :param max_range: Blocks in one event at most.
    """


class BloqPaymentTrigger(BloqConnectTrigger):
    """Fire on each final block with payments to or from certain addresses.

    A payment is an output that pays one of the addresses, or an input that spends one of their outputs. The events are
    those of :class:`BloqAddressTrigger` for Bitcoin, but ``tx_index`` is null if Connect does not list the
    transactions of the block. See :class:`BloqConnectTrigger` for the other arguments.

    Each new block takes one request for every fifty addresses, and each block with payments another one.

    :param addresses: The address, or several.
    :param direction: ``to``, ``from`` or ``both``.
    """

    kind: ClassVar[str] = "transfers"

    def __init__(self, *, addresses: Iterable[str] | str, direction: str = "both", **arguments: Any) -> None:
        from airflow_provider_bloq.connect.addresses import require_address

        super().__init__(**arguments)
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        valid = [require_address(self.chain, one, self.network, "addresses") for one in given]
        self.filter = TransferFilter.of(valid, direction=direction, tokens=())

    @property
    def event_builder(self) -> EventBuilder:
        return TransferEventBuilder(self.filter, PAYMENT_BLOCKS_AT_ONCE)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "addresses": sorted(self.filter.addresses),
            "direction": self.filter.direction,
        }
