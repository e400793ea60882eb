"""Whose JSON-RPC a condition looks at, in a form that can be stored; and looking at it."""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

from airflow_provider_bloq.arguments import (
    CONNECT,
    connect_chain_of,
    node_id_of,
    require_seconds,
    require_whole_number,
)
from airflow_provider_bloq.auth.credentials import shows_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.chains.blocks import Head, SyncState, read_head, read_sync
from airflow_provider_bloq.chains.queries import ChainFamily, family_named, family_of
from airflow_provider_bloq.chains.transactions import Mined, SpentInputs, TransactionStatuses, read_statuses
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqTransactionReverted,
)
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.polling.conditions import (
    Condition,
    Failed,
    Memory,
    Met,
    PollFunction,
    Reader,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.rpc.certificates import normalise_fingerprint
from airflow_provider_bloq.rpc.client import RpcApi

__all__ = [
    "BlockReached",
    "ChainHead",
    "NodeSync",
    "NodeSynced",
    "Past",
    "RpcRead",
    "RpcSubject",
    "SubjectTarget",
    "TransactionConfirmed",
    "TransactionInterest",
    "Transactions",
    "judge_block",
]


#: Looks once at a chain of a family, on behalf of those interests.
RpcRead: TypeAlias = Callable[[ChainFamily, frozenset[Hashable]], Flow[Any]]


@dataclass(frozen=True, slots=True)
class RpcSubject:
    """Whose JSON-RPC is meant. Make it by :meth:`of`, which brings equal ones into one form.

    It is stored in Airflow's database, so a URL with a key in its path does not belong here.

    :param node: Id of a node or cluster, a URL, or ``connect:<chain>``.
    :param tls_fingerprint: SHA-256 fingerprint of its certificate, 64 lower-case hex characters.
    :param port: The port, instead of the chain's own.
    :param path: The path, instead of the chain's own.
    :param family: ``evm`` or ``bitcoin``; None to find it out when the node is first looked at.
    """

    node: str
    tls_fingerprint: str | None = None
    port: int | None = None
    path: str | None = None
    family: str | None = None

    @classmethod
    def of(
        cls,
        node: Node | Cluster | Mapping[str, Any] | str,
        *,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
        family: str | None = None,
    ) -> RpcSubject:
        """Name a node, cluster or URL.

        :param node: A node or cluster, what ``BloqCreateNodeOperator`` returned for one, its id, a URL, or
            ``connect:<chain>`` for the JSON-RPC that Connect has for a chain like Ethereum's.
        :param tls_fingerprint: SHA-256 fingerprint of its certificate, where ``node`` does not tell it.
        :param port: The port, where it is not the usual one of the chain.
        :param path: The path, likewise.
        :param family: Whether it answers like Ethereum's nodes (``evm``) or Bitcoin's (``bitcoin``); for a
            URL and for chains of which it is not known.
        :raises BloqConfigurationError: One of these cannot be used, or the family is missing.
        """
        fields = node.public() if isinstance(node, Node | Cluster) else node
        node_id = node_id_of(fields)
        if (
            connected := connect_chain_of(node_id, tls_fingerprint=tls_fingerprint, port=port, path=path)
        ) is not None:
            return cls(f"{CONNECT}{connected}", family=family_named(family or ChainFamily.EVM).value)
        chain = None
        if isinstance(fields, Mapping):
            tls_fingerprint = tls_fingerprint or fields.get("tls_fingerprint")
            chain = fields.get("chain")
        if "://" in node_id:
            _refuse_unusable(node_id)
        if family is not None:
            family = family_named(family).value
        elif chain is not None or "://" in node_id:
            family = family_of(chain).value
        return cls(node_id, _normalised(tls_fingerprint), port, path, family)


@dataclass(frozen=True, slots=True)
class SubjectTarget(Target):
    """Something that the JSON-RPC of one subject tells. Its client is made once, and found once.

    :param subject: Whose JSON-RPC.
    """

    subject: RpcSubject

    def poll_with(self, reader: Reader) -> PollFunction:
        """See :meth:`Target.poll_with`."""
        subject = self.subject
        rpc = reader.rpc(
            subject.node, tls_fingerprint=subject.tls_fingerprint, port=subject.port, path=subject.path
        )
        look = self.poll_function(rpc)

        def observe(interests: frozenset[Hashable]) -> Flow[Any]:
            if subject.family is not None:
                family = family_named(subject.family)
            else:
                family = family_of((yield from rpc.resolver.resolve()).chain)
            return (yield from look(family, interests))

        return observe

    @abstractmethod
    def poll_function(self, rpc: RpcApi) -> RpcRead:
        """Return what looks by this client, again and again."""


def _refuse_unusable(url: str) -> None:
    # Before it is stored: it might hold a password or a key. None of it is quoted.
    try:
        Origin.of(url)
    except ValueError as odd:
        raise BloqConfigurationError.of(
            "node", f"it is no URL that can be used: {odd}", "Correct it."
        ) from None
    if shows_path_key(url):
        raise BloqConfigurationError.of(
            "node",
            "it is a URL of Connect, whose path is a credential that Airflow's database would hold",
            "Give the key to the connection, in connect_api_keys or beside the client keys in Vault, and write "
            'node="connect:<chain>". Change the key: it may stand in pages and logs by now',
        )
    if "?" in url or "#" in url:
        raise BloqConfigurationError.of(
            "node",
            "it is a URL with a query or a fragment, where keys stand that Airflow's database would hold",
            'Give a URL without one; for a chain in Connect, node="connect:<chain>"',
        )


def _normalised(fingerprint: Any) -> str | None:
    if fingerprint is None:
        return None
    try:
        return normalise_fingerprint(str(fingerprint))
    except ValueError as error:
        raise BloqConfigurationError.of(
            "tls_fingerprint", str(error), "Copy it as the create returned it."
        ) from None


@dataclass(frozen=True, slots=True)
class ChainHead(SubjectTarget):
    """The last block of a chain, as the subject knows it; seen as a :class:`Head`."""

    def poll_function(self, rpc: RpcApi) -> RpcRead:
        """See :meth:`SubjectTarget.poll_function`."""

        def look(family: ChainFamily, _: frozenset[Hashable]) -> Flow[Head]:
            return (yield from read_head(rpc, family))

        return look


@dataclass(frozen=True, slots=True)
class BlockReached(Condition):
    """A block has so many confirmations: itself, and those that were built on it.

    A block has one confirmation when it is the head, two when one more was built on it. So this holds when
    the head's height is at least ``height + confirmations - 1``. A reorg that shortens the chain takes
    confirmations away again.

    :param subject: A node or cluster of the chain.
    :param height: Number of the block; the genesis block has 0.
    :param confirmations: How many, at least 1.
    :raises BloqConfigurationError: One of the numbers cannot be.
    """

    kind: ClassVar[str] = "block_reached"

    subject: RpcSubject
    height: int
    confirmations: int = 1

    def __post_init__(self) -> None:
        require_whole_number("height", self.height, least=0)
        require_whole_number("confirmations", self.confirmations, least=1)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return ChainHead(self.subject)

    def judge(self, seen: Head, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells height, confirmations and the head."""
        return judge_block(seen, self.height, self.confirmations)


def judge_block(head: Head, height: int, wanted: int) -> Verdict:
    """Judge whether the block at a height has enough confirmations.

    :param head: The last block of the chain.
    :param height: The height.
    :param wanted: How many confirmations it needs.
    """
    confirmations = head.confirmations_of(height)
    if confirmations >= wanted:
        return Met({"height": height, "confirmations": confirmations, "head": asdict(head)})
    if confirmations:
        return Waiting(f"block {height} has {confirmations} of {wanted} confirmations")
    return Waiting(f"the head is block {head.height}, {height - head.height} before {height}")


@dataclass(frozen=True, slots=True)
class NodeSync(SubjectTarget):
    """How far the subject is; seen as a :class:`SyncState`.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def poll_function(self, rpc: RpcApi) -> RpcRead:
        """See :meth:`SubjectTarget.poll_function`."""

        def look(family: ChainFamily, _: frozenset[Hashable]) -> Flow[SyncState]:
            return (yield from read_sync(rpc, family, clock=self.clock))

        return look


@dataclass(frozen=True, slots=True)
class NodeSynced(Condition):
    """A node has taken in its chain, up to so many blocks or seconds. Where both are given, both must hold.

    The count of blocks is the node's own word: those that it has heard of and lacks. A node that has met no
    peers has heard of none, so a node with the genesis block only, one in its initial download (Bitcoin) and
    one that is starting are never in sync. The seconds are the age of the node's last block by this
    machine's clock, which also finds out a node that has lost its peers; leave room for the time that the
    chain takes for a block.

    :param subject: The node.
    :param within_blocks: Blocks that it may lack.
    :param within_seconds: Seconds that its last block may be old.
    :raises BloqConfigurationError: Neither is given, or one cannot be.
    """

    kind: ClassVar[str] = "node_synced"

    subject: RpcSubject
    within_blocks: int | None = None
    within_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.within_blocks is None and self.within_seconds is None:
            raise BloqConfigurationError.of(
                "within_blocks", "neither it nor within_seconds is given", "Give one of them, or both."
            )
        if self.within_blocks is not None:
            require_whole_number("within_blocks", self.within_blocks, least=0)
        seconds = self.within_seconds
        if seconds is not None and (
            not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0
        ):
            raise BloqConfigurationError.of(
                "within_seconds", f"{seconds!r} does not fit", "Use a number of seconds greater than 0."
            )

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return NodeSync(self.subject)

    def judge(self, seen: SyncState, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells the head, its age in seconds, and blocks behind."""
        if seen.head is None:
            return Waiting(f"{self.subject.node} is not in sync: {seen.obstacle}")
        missing = "; ".join(self._missing(seen, seen.head))
        if missing:
            return Waiting(f"{self.subject.node} is not in sync: {missing}")
        age = seen.observed_at - seen.head.time
        return Met({"head": asdict(seen.head), "age_seconds": age, "behind": seen.behind})

    def _missing(self, seen: SyncState, head: Head) -> Iterator[str]:
        if seen.obstacle is not None:
            yield seen.obstacle
        if self.within_blocks is not None and (seen.behind is None or seen.behind > self.within_blocks):
            yield (
                "it does not say how many blocks it lacks"
                if seen.behind is None
                else f"it lacks {seen.behind} blocks"
            )
        age = seen.observed_at - head.time
        if self.within_seconds is not None and age > self.within_seconds:
            yield f"its last block, {head.height}, is {age:.0f} seconds old"


@dataclass(frozen=True, slots=True)
class Past:
    """What the looks so far have seen.

    :param uses: What the transaction uses, which nothing can use twice.
    :param mined_at: Height of the last block that it was seen in.
    :param overtaken_at: Height of the head when what it uses was first seen used by another.
    :param unknown_since: When it was first unknown to the node, in seconds since the epoch.
    """

    uses: SpentInputs = ()
    mined_at: int | None = None
    overtaken_at: int | None = None
    unknown_since: float | None = None

    @classmethod
    def from_json(cls, memory: Memory | None) -> Past:
        """Read what :meth:`to_json` wrote."""
        memory = memory or {}
        return cls(
            tuple((str(what), int(number)) for what, number in memory.get("uses", ())),
            memory.get("mined_at"),
            memory.get("overtaken_at"),
            memory.get("unknown_since"),
        )

    def to_json(self) -> Memory:
        """Write it as JSON."""
        return {
            "uses": [list(use) for use in self.uses],
            "mined_at": self.mined_at,
            "overtaken_at": self.overtaken_at,
            "unknown_since": self.unknown_since,
        }

    def with_uses(self, uses: SpentInputs) -> Past:
        """Return it with what the transaction is now known to use, if it is known."""
        return replace(self, uses=uses) if uses else self

    def seen_in(self, height: int) -> Past:
        """Return it after the transaction was seen in a block."""
        return Past(self.uses, mined_at=height)

    @property
    def was_seen(self) -> bool:
        """Whether the transaction was known to the node at any look."""
        return bool(self.uses) or self.mined_at is not None

    def after_reorg(self) -> str:
        """Return, for a person, that it was in a block before; empty if it was not."""
        return "" if self.mined_at is None else f", since a reorg took it out of block {self.mined_at}"

    def how_used(self) -> str:
        """Return, for a person, what it would use."""
        return ", ".join(f"{what} {number}" for what, number in self.uses)


_HASH = re.compile(r"(?:0x)?[0-9a-f]{64}")
_HASH_BITS = 256


@dataclass(frozen=True, slots=True)
class TransactionInterest:
    """A transaction that a look must ask for.

    :param tx_hash: Its hash.
    :param uses: What it uses, where that is known from a look before.
    """

    tx_hash: str
    uses: SpentInputs = ()


@dataclass(frozen=True, slots=True)
class Transactions(SubjectTarget):
    """The transactions that are waited for, as the subject knows them; seen as :class:`Standings`.

    It remembers from one look to the next what each of them uses: of one that is gone, the node cannot be
    asked that any more.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def poll_function(self, rpc: RpcApi) -> RpcRead:
        """See :meth:`SubjectTarget.poll_function`."""
        known: dict[str, SpentInputs] = {}

        def look(family: ChainFamily, interests: frozenset[Hashable]) -> Flow[TransactionStatuses]:
            wanted = _wanted(interests, known)
            standings = yield from read_statuses(rpc, family, wanted, clock=self.clock)
            known.clear()
            known.update({tx_hash: standing.uses for tx_hash, standing in standings.of.items()})
            return standings

        return look


@dataclass(frozen=True, slots=True)
class TransactionConfirmed(Condition):
    """A transaction is in the chain with so many confirmations.

    It has one when its block is the head, two when one more block was built on that. Until it has as many as
    wanted, a reorg that takes it out of the chain again only means to wait on.

    What ends the wait otherwise, each after as many confirmations, too:

    - It failed when it was executed: ``BloqTransactionReverted`` (EVM).
    - Another transaction used its nonce or an input of it: ``BloqTransactionReplaced``. To tell this the
      transaction must have been seen once, pending or in a block.
    - The node does not know it, neither in the chain nor pending, for ``unseen_for`` seconds on end, whether it
      has been seen before or never: ``BloqTransactionDropped``. So the wait may begin before the transaction
      is sent.

    Bitcoin's nodes must have an index of transactions (``txindex=1``) for this. The members of a cluster may lag
    behind each other by a block: there, wait for two confirmations or more.

    :param subject: A node or cluster of the chain.
    :param tx_hash: The transaction's hash, in hex; or as a number, which a DAG that renders templates as native
        objects makes of ``0x…``.
    :param confirmations: How many, at least 1.
    :param unseen_for: Seconds that the node may not know it.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "transaction_confirmed"

    subject: RpcSubject
    tx_hash: str
    confirmations: int = 1
    unseen_for: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tx_hash", _hash_of(self.tx_hash))
        require_whole_number("confirmations", self.confirmations, least=1)
        require_seconds("unseen_for", self.unseen_for)

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return Transactions(self.subject)

    @property
    def interest(self) -> TransactionInterest:
        """See :attr:`Condition.interest`."""
        return self.interest_after(None)

    def interest_after(self, memory: Memory | None) -> TransactionInterest:
        """See :meth:`Condition.interest_after`."""
        return TransactionInterest(self.tx_hash.strip().lower(), Past.from_json(memory).uses)

    def judge(self, seen: TransactionStatuses, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells hash, height, block hash and confirmations."""
        standing = seen.of.get(self.interest.tx_hash)
        if standing is None:
            return Waiting("it has not been looked for yet", memory)
        past = Past.from_json(memory).with_uses(standing.uses)
        if standing.mined is not None:
            return self._in_chain(standing.mined, past)
        if standing.overtaken:
            return self._overtaken(seen.head.height, past)
        past = replace(past, overtaken_at=None)
        if standing.pending:
            return self._pending(past)
        return self._unknown(seen.observed_at, past)

    def _in_chain(self, mined: Mined, past: Past) -> Verdict:
        if mined.confirmations < self.confirmations:
            return Waiting(
                f"{self.tx_hash} has {mined.confirmations} of {self.confirmations} confirmations",
                past.seen_in(mined.height).to_json(),
            )
        if mined.reverted:
            return Failed(
                BloqTransactionReverted(
                    f"{self.tx_hash} is in block {mined.height}, but was reverted: it had no effect but its fee.",
                    tx_hash=self.tx_hash,
                    height=mined.height,
                    block_hash=mined.block_hash,
                )
            )
        return Met(
            {
                "tx_hash": self.tx_hash,
                "height": mined.height,
                "block_hash": mined.block_hash,
                "confirmations": mined.confirmations,
            }
        )

    def _overtaken(self, height: int, past: Past) -> Verdict:
        # Never at the first such look: this transaction may be what came between its questions.
        if past.overtaken_at is None:
            past = replace(past, overtaken_at=height)
        elif height - past.overtaken_at + 1 >= self.confirmations:
            return Failed(
                BloqTransactionReplaced(
                    f"Another transaction came into the chain in the place of {self.tx_hash}: {past.how_used()}.",
                    tx_hash=self.tx_hash,
                )
            )
        return Waiting(
            f"another transaction came in the place of {self.tx_hash}; a reorg may undo it", past.to_json()
        )

    def _pending(self, past: Past) -> Verdict:
        past = replace(past, unknown_since=None)
        return Waiting(f"{self.tx_hash} is pending{past.after_reorg()}", past.to_json())

    def _unknown(self, now: float, past: Past) -> Verdict:
        since = past.unknown_since if past.unknown_since is not None else now
        if now - since >= self.unseen_for:
            what = "is not known any more" if past.was_seen else "has never been known"
            return Failed(
                BloqTransactionDropped(
                    f"{self.tx_hash} {what} to the node, for {now - since:.0f} seconds.",
                    tx_hash=self.tx_hash,
                )
            )
        reason = f"{self.tx_hash} is not known to the node{past.after_reorg()}"
        return Waiting(reason, replace(past, unknown_since=since).to_json())


def _hash_of(given: object) -> str:
    if isinstance(given, int):
        if not isinstance(given, bool) and 0 <= given < 1 << _HASH_BITS:
            return f"0x{given:064x}"
        # Python refuses to write very large numbers in decimal.
        told = "a number like that"
    else:
        if isinstance(given, str) and _HASH.fullmatch(given.strip().lower()):
            return given
        told = repr(str(given)[:80])
    raise BloqConfigurationError.of("tx_hash", f"{told} is no hash of a transaction", "Give 32 bytes in hex.")


def _wanted(interests: frozenset[Hashable], known: dict[str, SpentInputs]) -> dict[str, SpentInputs]:
    wanted: dict[str, SpentInputs] = {}
    for interest in interests:
        if isinstance(interest, TransactionInterest):
            told = wanted.get(interest.tx_hash) or interest.uses
            wanted[interest.tx_hash] = told or known.get(interest.tx_hash, ())
    return dict(sorted(wanted.items()))
