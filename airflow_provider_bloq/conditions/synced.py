"""Conditions on how far a node is with taking in its chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.head import Head
from airflow_provider_bloq.chains.sync import SyncState, read_sync
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.conditions.condition import Condition, Memory, Met, Target, Verdict, Waiting
from airflow_provider_bloq.conditions.rpc_subject import Look, RpcSubject, SubjectTarget
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["NodeSync", "NodeSynced"]


@dataclass(frozen=True, slots=True)
class NodeSync(SubjectTarget):
    """How far the subject is; seen as a :class:`SyncState`.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def looking_by(self, rpc: RpcApi) -> Look:
        """See :meth:`SubjectTarget.looking_by`."""

        def look(family: Family, _: frozenset[Hashable]) -> Flow[SyncState]:
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
