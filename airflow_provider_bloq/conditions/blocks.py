"""Conditions on the height of a chain."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.head import Head, read_head
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.conditions.condition import Condition, Memory, Met, Target, Verdict, Waiting
from airflow_provider_bloq.conditions.rpc_subject import Look, RpcSubject, SubjectTarget

__all__ = ["BlockReached", "ChainHead"]


@dataclass(frozen=True, slots=True)
class ChainHead(SubjectTarget):
    """The last block of a chain, as the subject knows it; seen as a :class:`Head`."""

    def looking_by(self, rpc: RpcApi) -> Look:
        """See :meth:`SubjectTarget.looking_by`."""

        def look(family: Family, _: frozenset[Hashable]) -> Flow[Head]:
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
        confirmations = seen.confirmations_of(self.height)
        if confirmations >= self.confirmations:
            return Met({"height": self.height, "confirmations": confirmations, "head": asdict(seen)})
        if confirmations:
            return Waiting(f"block {self.height} has {confirmations} of {self.confirmations} confirmations")
        return Waiting(f"the head is block {seen.height}, {self.height - seen.height} before {self.height}")
