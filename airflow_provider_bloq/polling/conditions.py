"""What is watched, how it is judged, and what the verdict can be: the terms that all conditions are made of.

A sensor that pokes and a trigger that polls use the same condition. Neither decides anything itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from airflow_provider_bloq.exceptions import BloqError

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.client import ConnectApi
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
    from airflow_provider_bloq.rpc.client import RpcApi

__all__ = [
    "Condition",
    "Failed",
    "Memory",
    "Met",
    "Reader",
    "Reading",
    "Target",
    "Verdict",
    "Waiting",
]


#: What a condition remembers from one look to the next; JSON, since it may be stored between two.
Memory: TypeAlias = dict[str, Any]
#: Looks once: takes the interests of all that wait, gives what is seen.
Reading: TypeAlias = "Callable[[frozenset[Hashable]], Flow[Any]]"


class Reader(Protocol):
    """Reads for a condition. Both hooks are one."""

    @property
    def nodes(self) -> NodesApi:
        """Reads nodes."""

    @property
    def clusters(self) -> ClustersApi:
        """Reads clusters."""

    def rpc(
        self,
        node: str,
        *,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
    ) -> RpcApi:
        """Return a client for the JSON-RPC of a node, cluster or URL."""

    def connect(self, chain: str, network: str | None = None) -> ConnectApi:
        """Return a client for the REST API that Connect has for a chain."""


class Target(ABC):
    """Something to look at, such as the list of nodes. Equal targets are looked at once for all that wait.

    A subclass is a frozen dataclass, so that it can be compared and is a key.
    """

    @abstractmethod
    def observer(self, reader: Reader) -> Reading:
        """Return what looks at it by this reader, again and again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet.

    :param reason: What is still missing, for a person.
    :param memory: What the next look must know.
    """

    reason: str
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Met:
    """What was waited for has come.

    :param result: What is to be said of it; JSON, without anything secret.
    """

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not come any more.

    :param error: Why.
    """

    error: BloqError


Verdict: TypeAlias = Waiting | Met | Failed


class Condition(ABC):
    """What is waited for. A subclass is a frozen dataclass whose fields are JSON.

    So it can be stored in a trigger's kwargs: ``conditions.registry`` writes and reads it.
    """

    #: The name by which it is stored. To change it breaks the tasks that are waiting during an upgrade.
    kind: ClassVar[str]

    @property
    @abstractmethod
    def target(self) -> Target:
        """What has to be looked at."""

    @property
    def interest(self) -> Hashable | None:
        """What the look must ask for on behalf of this one condition, if anything."""
        return None

    def interest_after(self, memory: Memory | None) -> Hashable | None:
        """Return the interest of one who begins to look anew: in another process, or after a restart.

        :param memory: What the last verdict before that left to be remembered.
        """
        return self.interest

    @abstractmethod
    def judge(self, seen: Any, memory: Memory | None) -> Verdict:
        """Decide by what was seen. Does nothing else.

        :param seen: What the target's observer gave.
        :param memory: What the verdict before this one left to be remembered.
        """
