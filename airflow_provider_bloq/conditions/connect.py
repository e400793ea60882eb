"""Conditions on blocks and transactions of Bitcoin and Bitcoin Cash, looked at through Connect."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.head import Head
from airflow_provider_bloq.clients.bitcoin_raw import require_txid
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.clients.connect_chains import require_network, require_rest_chain
from airflow_provider_bloq.clients.connect_models import Transaction
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.conditions.condition import (
    Condition,
    Failed,
    Memory,
    Met,
    Observer,
    Reader,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.conditions.connect_tip import ConnectTip
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqTransactionDropped,
)

__all__ = [
    "ConnectBlockReached",
    "ConnectHead",
    "ConnectTarget",
    "ConnectTransactionConfirmed",
    "ConnectTransactions",
    "SeenTransactions",
    "settle_place",
]


@dataclass(frozen=True, slots=True)
class ConnectTarget(Target):
    """Something that Connect tells of a chain.

    :param chain: ``btc`` or ``bch``.
    :param network: Its network; None for the usual one of the connection.
    """

    chain: str
    network: str | None

    def observer(self, reader: Reader) -> Observer:
        """See :meth:`Target.observer`."""
        return self.looking_by(reader.connect(self.chain, self.network))

    @abstractmethod
    def looking_by(self, api: ConnectApi) -> Observer:
        """Return what looks by this client, again and again."""


@dataclass(frozen=True, slots=True)
class ConnectHead(ConnectTarget):
    """The newest block that Connect has taken in; seen as a :class:`Head`, or None while it does not show it."""

    def looking_by(self, api: ConnectApi) -> Observer:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(_: frozenset[Hashable]) -> Flow[Head | None]:
            return (yield from tip.read())

        return look


@dataclass(frozen=True, slots=True)
class SeenTransactions:
    """What one look saw of the transactions that are waited for.

    :param of: Each by its id; None where it is neither in the chain nor in the mempool.
    :param observed_at: When, in seconds since the epoch.
    """

    of: dict[str, Transaction | None]
    observed_at: float


@dataclass(frozen=True, slots=True)
class ConnectTransactions(ConnectTarget):
    """The transactions that are waited for; seen as :class:`SeenTransactions`.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def looking_by(self, api: ConnectApi) -> Observer:
        """See :meth:`ConnectTarget.looking_by`."""
        tip = ConnectTip(api)

        def look(interests: frozenset[Hashable]) -> Flow[SeenTransactions]:
            seen: dict[str, Transaction] = {}
            for txid in sorted(map(str, interests)):
                with suppress(BloqNotFound):
                    seen[txid] = yield from ConnectApi.transaction.flow(api, txid)
            counted = yield from tip.counted(list(seen.values()))
            known = dict(zip(seen, counted, strict=True))
            return SeenTransactions({str(txid): known.get(str(txid)) for txid in interests}, self.clock())

        return look


@dataclass(frozen=True, slots=True)
class ConnectBlockReached(Condition):
    """A block has so many confirmations; see :class:`~airflow_provider_bloq.conditions.blocks.BlockReached`.

    They are counted from the newest block that Connect has taken in, which may not be the newest of its node.

    :param chain: ``btc`` or ``bch``.
    :param height: Number of the block; the genesis block has 0.
    :param confirmations: How many, at least 1.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_block_reached"

    chain: str
    height: int
    confirmations: int = 1
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_whole_number("height", self.height, least=0)
        require_whole_number("confirmations", self.confirmations, least=1)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return ConnectHead(self.chain, self.network)

    def judge(self, seen: Head | None, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells height, confirmations and the head."""
        if seen is None:
            return Waiting("Connect does not show its newest block yet")
        confirmations = seen.confirmations_of(self.height)
        if confirmations >= self.confirmations:
            return Met({"height": self.height, "confirmations": confirmations, "head": asdict(seen)})
        return Waiting(
            f"block {self.height} of {self.chain} has {confirmations} of {self.confirmations} confirmations; "
            f"the newest is {seen.height}"
        )


@dataclass(frozen=True, slots=True)
class ConnectTransactionConfirmed(Condition):
    """A transaction is in the chain with so many confirmations.

    They are counted from the newest block that Connect has taken in. A reorg that takes it out again before it has
    them all only means to wait on. If it is neither in the chain nor in the mempool for ``unseen_for`` seconds on
    end, the wait ends with ``BloqTransactionDropped``: it was never sent, another one took its place, or the node has
    forgotten it.

    :param chain: ``btc`` or ``bch``.
    :param txid: Its id.
    :param confirmations: How many, at least 1.
    :param unseen_for: Seconds that it may be unknown.
    :param network: Its network; None for the usual one of the connection.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "connect_transaction_confirmed"

    chain: str
    txid: str
    confirmations: int = 1
    unseen_for: float = 600.0
    network: str | None = None

    def __post_init__(self) -> None:
        settle_place(self)
        require_txid(self.txid)
        require_whole_number("confirmations", self.confirmations, least=1)
        seconds = self.unseen_for
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
            raise BloqConfigurationError.of(
                "unseen_for", f"{seconds!r} does not fit", "Use a number of seconds, 0 or more."
            )

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return ConnectTransactions(self.chain, self.network)

    @property
    def interest(self) -> str:
        """See :attr:`Condition.interest`."""
        return require_txid(self.txid)

    def judge(self, seen: SeenTransactions, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells id, height, block hash and confirmations."""
        if self.interest not in seen.of:
            return Waiting("it has not been looked for yet", memory)
        transaction = seen.of[self.interest]
        if transaction is None:
            return self._unknown(seen.observed_at, memory)
        if transaction.height is None:
            return Waiting(f"{self.txid} waits for a block")
        if transaction.confirmations < self.confirmations:
            return Waiting(
                f"{self.txid} has {transaction.confirmations} of {self.confirmations} confirmations"
            )
        return Met(
            {
                "txid": transaction.txid,
                "height": transaction.height,
                "block_hash": transaction.block_hash,
                "confirmations": transaction.confirmations,
            }
        )

    def _unknown(self, now: float, memory: Memory | None) -> Verdict:
        since = (memory or {}).get("unknown_since", now)
        if now - since >= self.unseen_for:
            return Failed(
                BloqTransactionDropped(
                    f"{self.txid} has been neither in the chain nor in the mempool for {now - since:.0f} seconds.",
                    tx_hash=self.txid,
                )
            )
        return Waiting(f"{self.txid} is not known to Connect", {"unknown_since": since})


def settle_place(condition: Any) -> None:
    """Bring a condition's chain and network into lower case: by them those that can look together are found.

    :raises BloqConfigurationError: Connect does not have the chain or the network.
    """
    object.__setattr__(condition, "chain", require_rest_chain(condition.chain))
    if condition.network is not None:
        object.__setattr__(condition, "network", require_network(condition.network))
