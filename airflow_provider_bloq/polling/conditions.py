"""What a sensor, operator or trigger waits for: a condition, the target it polls, and the verdict on each poll."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.client import ConnectApi
    from airflow_provider_bloq.exceptions import BloqError
    from airflow_provider_bloq.flow.effects import Flow
    from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
    from airflow_provider_bloq.rpc.client import RpcApi

__all__ = [
    "Condition",
    "Failed",
    "Memory",
    "Met",
    "PollFunction",
    "Reader",
    "Target",
    "Verdict",
    "Waiting",
]


#: What a condition remembers from one poll to the next. JSON, since it may be stored in between.
Memory: TypeAlias = dict[str, Any]
#: Polls a target once, for the interests of all waiters, and returns what the target's conditions judge.
PollFunction: TypeAlias = "Callable[[frozenset[Hashable]], Flow[Any]]"


class Reader(Protocol):
    """The part of the hooks that targets read through."""

    @property
    def nodes(self) -> NodesApi:
        """The client for nodes."""

    @property
    def clusters(self) -> ClustersApi:
        """The client for clusters."""

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
        """Return a client for Connect's REST API of a chain."""


class Target(ABC):
    """Something to poll, such as the list of nodes. Equal targets share each poll.

    Subclasses are frozen dataclasses, so that targets can be compared and used as keys.
    """

    @abstractmethod
    def poll_with(self, reader: Reader) -> PollFunction:
        """Return the function that polls the target through this reader."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The condition does not hold yet.

    :param reason: What is still missing, for logs.
    :param memory: What the next poll must know.
    """

    reason: str
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Met:
    """The condition holds.

    :param result: The result of the wait; JSON without secrets.
    """

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The condition can no longer hold, or cannot be polled."""

    error: BloqError


Verdict: TypeAlias = Waiting | Met | Failed


class Condition(ABC):
    """What a task waits for. It only judges the results of polls.

    Subclasses are frozen dataclasses whose fields are JSON: :mod:`.serialization` writes and reads them.
    """

    #: The name under which it is stored. Changing it breaks tasks that wait during an upgrade.
    kind: ClassVar[str]

    @property
    @abstractmethod
    def target(self) -> Target:
        """What to poll."""

    @property
    def interest(self) -> Hashable | None:
        """What the poll must ask for on behalf of this condition, if anything."""
        return None

    def interest_after(self, memory: Memory | None) -> Hashable | None:
        """Return the interest when polling resumes in another process.

        :param memory: The memory of the last verdict before that.
        """
        return self.interest

    @abstractmethod
    def judge(self, seen: Any, memory: Memory | None) -> Verdict:
        """Judge the result of a poll; has no side effects.

        :param seen: What the target's poll function returned.
        :param memory: The memory of the previous verdict.
        """
