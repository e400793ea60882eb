"""Conditions on a chain's head and a node's sync, and the node that such conditions poll."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeAlias

from airflow_provider_bloq.arguments import CONNECT, connect_chain_of, node_id_of, require_whole_number
from airflow_provider_bloq.auth.credentials import shows_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.chains.blocks import Head, SyncState, read_head, read_sync
from airflow_provider_bloq.chains.queries import ChainFamily, family_named, family_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.polling.conditions import (
    Condition,
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
    "RpcRead",
    "RpcSubject",
    "SubjectTarget",
    "judge_block",
]


#: Reads a chain of a family once, for a set of interests.
RpcRead: TypeAlias = Callable[[ChainFamily, frozenset[Hashable]], Flow[Any]]


@dataclass(frozen=True, slots=True)
class RpcSubject:
    """The node, cluster or URL whose JSON-RPC is polled. Create it with :meth:`of`, which normalises it.

    It is stored in Airflow's database, so it must not be a URL with a key in its path.

    :param node: Id of a node or cluster, a URL, or ``connect:<chain>``.
    :param tls_fingerprint: SHA-256 fingerprint of its certificate, 64 lower-case hex characters.
    :param port: The port, instead of the chain's own.
    :param path: The path, instead of the chain's own.
    :param family: ``evm`` or ``bitcoin``; None to determine it at the first poll.
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
        """Validate a node, cluster or URL.

        :param node: A node or cluster, what ``BloqCreateNodeOperator`` returned for one, its id, a URL, or
            ``connect:<chain>`` for the JSON-RPC that Connect has for a chain like Ethereum's.
        :param tls_fingerprint: SHA-256 fingerprint of its certificate, if ``node`` does not include it.
        :param port: The port, if it is not the default of the chain.
        :param path: The path, likewise.
        :param family: ``evm`` or ``bitcoin``; required for a URL and for chains whose family is unknown.
        :raises BloqConfigurationError: An argument is invalid, or the family is missing.
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
    """A target read through the JSON-RPC of one subject.

    :param subject: Whose JSON-RPC.
    """

    subject: RpcSubject

    def poll_with(self, reader: Reader) -> PollFunction:
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
        """Return the function that reads the target through a client."""


def _refuse_unusable(url: str) -> None:
    # Checked before it is stored: it might hold a password or a key, so errors do not quote it.
    try:
        Origin.of(url)
    except ValueError as odd:
        raise BloqConfigurationError.of("node", f"it is not a usable URL: {odd}", "Correct it.") from None
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
    """The last block of a chain on the subject; a poll returns a :class:`Head`."""

    def poll_function(self, rpc: RpcApi) -> RpcRead:

        def look(family: ChainFamily, _: frozenset[Hashable]) -> Flow[Head]:
            return (yield from read_head(rpc, family))

        return look


@dataclass(frozen=True, slots=True)
class BlockReached(Condition):
    """A block has enough confirmations.

    It has one confirmation when it is the head, two when one more block is built on it. So the condition is met
    when the head's height is at least ``height + confirmations - 1``. A reorg may reduce confirmations.

    :param subject: A node or cluster of the chain.
    :param height: Height of the block; the genesis block has 0.
    :param confirmations: Number of confirmations required, at least 1.
    :raises BloqConfigurationError: A number is invalid.
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
        return ChainHead(self.subject)

    def judge(self, seen: Head, memory: Memory | None) -> Verdict:
        """Judge a poll; the result has ``height``, ``confirmations`` and ``head``."""
        return judge_block(seen, self.height, self.confirmations)


def judge_block(head: Head, height: int, wanted: int) -> Verdict:
    """Judge whether the block at a height has enough confirmations.

    :param head: The last block of the chain.
    :param height: The height.
    :param wanted: Number of confirmations required.
    """
    confirmations = head.confirmations_of(height)
    if confirmations >= wanted:
        return Met({"height": height, "confirmations": confirmations, "head": asdict(head)})
    if confirmations:
        return Waiting(f"block {height} has {confirmations} of {wanted} confirmations")
    return Waiting(f"the head is block {head.height}, {height - head.height} before {height}")


@dataclass(frozen=True, slots=True)
class NodeSync(SubjectTarget):
    """How far the subject is in sync; a poll returns a :class:`SyncState`.

    :param clock: Returns seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def poll_function(self, rpc: RpcApi) -> RpcRead:

        def look(family: ChainFamily, _: frozenset[Hashable]) -> Flow[SyncState]:
            return (yield from read_sync(rpc, family, clock=self.clock))

        return look


@dataclass(frozen=True, slots=True)
class NodeSynced(Condition):
    """A node is in sync with its chain, within a number of blocks, seconds or both.

    The blocks are those that the node knows of but lacks. A node without peers knows of none, so a node that only
    has the genesis block, is in its initial download (Bitcoin) or is starting never counts as in sync. The
    seconds are the age of the node's last block by the local clock, which also detects a node that has lost its
    peers; allow for the block time of the chain.

    :param subject: The node.
    :param within_blocks: Number of blocks it may lack.
    :param within_seconds: Maximum age of its last block, in seconds.
    :raises BloqConfigurationError: Neither is given, or one is invalid.
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
        return NodeSync(self.subject)

    def judge(self, seen: SyncState, memory: Memory | None) -> Verdict:
        """Judge a poll; the result has ``head``, ``age_seconds`` and ``behind``."""
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
