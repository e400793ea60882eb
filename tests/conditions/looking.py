"""Looks at what a condition watches and judges it, as sensors and triggers do, one look at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.connect.client import ConnectApi
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.polling.conditions import (
    Condition,
    Failed,
    Met,
    PollFunction,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.rpc.client import RpcApi
from tests.clients.both_ways import BothWays

__all__ = ["AccountReader", "Looking", "failure_of", "reason_of", "result_of"]


class AccountReader:
    """What a condition reads by, from the clients of an account.

    :param bloq: The clients.
    """

    def __init__(self, bloq: BothWays) -> None:
        self._bloq = bloq
        #: Clients that were made.
        self.made = 0

    @property
    def nodes(self) -> NodesApi:
        nodes: NodesApi = self._bloq.nodes.api
        return nodes

    @property
    def clusters(self) -> ClustersApi:
        clusters: ClustersApi = self._bloq.clusters.api
        return clusters

    def rpc(
        self,
        node: str,
        *,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
    ) -> RpcApi:
        self.made += 1
        rpc: RpcApi = self._bloq.rpc(node, pin=tls_fingerprint, port=port, path=path).api
        return rpc

    def connect(self, chain: str, network: str | None = None) -> ConnectApi:
        raise AssertionError("these accounts have no Connect, and no test here asks it")


class Looking:
    """Looks for one condition, again and again, with a memory that is JSON in between.

    :param bloq: The clients of an account.
    :param condition: The condition.
    :param target: What is looked at instead of the condition's own target, such as one with another clock.
    """

    def __init__(self, bloq: BothWays, condition: Condition, target: Target | None = None) -> None:
        self.condition = condition
        self.memory: dict[str, Any] | None = None
        self.reader = AccountReader(bloq)
        self._bloq = bloq
        self._target = target or condition.target
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go on as another process does, which has nothing but the memory."""
        self._observe: PollFunction = self._target.poll_with(self.reader)
        self._interest = self.condition.interest_after(self.memory)

    def look(self) -> Verdict:
        interests = frozenset({self._interest} - {None})
        verdict = self.condition.judge(self._bloq.run(self._observe(interests)), self.memory)
        if isinstance(verdict, Waiting):
            self.memory = json.loads(json.dumps(verdict.memory))
        return verdict


def reason_of(verdict: Verdict) -> str:
    """Return why it waits on; it must."""
    assert isinstance(verdict, Waiting), verdict
    return verdict.reason


def result_of(verdict: Verdict) -> Mapping[str, Any]:
    """Return the result, which must be there and be JSON."""
    assert isinstance(verdict, Met), verdict
    result: Mapping[str, Any] = json.loads(json.dumps(verdict.result))
    return result


def failure_of(verdict: Verdict) -> Any:
    """Return the error that ends the wait; there must be one."""
    assert isinstance(verdict, Failed), verdict
    return verdict.error
