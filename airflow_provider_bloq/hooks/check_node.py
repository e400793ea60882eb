"""The last stage of a thorough check: a node's JSON-RPC and its certificate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import family_of
from airflow_provider_bloq.chains.head import read_head
from airflow_provider_bloq.clients.clusters import ClustersApi
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.clients.models import STARTED, Cluster, Node
from airflow_provider_bloq.clients.node_tls import NodeTls
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.exceptions import BloqCertificateError, BloqConfigurationError
from airflow_provider_bloq.hooks.check_findings import Found, Outcome
from airflow_provider_bloq.hooks.check_remedies import pinning
from airflow_provider_bloq.hooks.wiring import Account, locator_for
from airflow_provider_bloq.settings.connection import BloqSettings

__all__ = ["look_at_node"]

#: What a chain's nodes are asked whose head is read by no call that all families have.
_ASKED = {"avalanche": "info.getNodeVersion"}


def look_at_node(
    account: Account, bearer: BearerAuth, listed: Iterable[Node], wanted: str | None
) -> Flow[Found]:
    """Call a node's JSON-RPC.

    :param account: The connection.
    :param bearer: Signs requests.
    :param listed: The account's nodes.
    :param wanted: Id of a node or cluster; None for one of the nodes, if possible one whose certificate is pinned.
    :raises BloqError: It does not answer as it should.
    """
    service: dict[str, Any] = {"url": account.settings.nodes_url, "bearer": bearer, "policy": account.policy}
    nodes, clusters = NodesApi(**service), ClustersApi(**service)
    machine: Node | Cluster | None
    if wanted is None:
        machine = _choice(account.settings, listed)
    elif wanted.startswith("cluster-"):
        machine = yield from ClustersApi.get.flow(clusters, wanted)
    else:
        machine = yield from NodesApi.get.flow(nodes, wanted)
    if machine is None:
        return Found("No node has started.", Outcome.SKIPPED)
    locator = locator_for(machine, account, nodes=nodes, clusters=clusters, bearer=bearer)
    rpc = RpcApi(locator=locator, bearer=bearer, policy=account.policy)
    try:
        answer = yield from _answer(rpc, machine)
    except BloqCertificateError as error:
        if error.fingerprint is None or machine.id in account.settings.node_fingerprints:
            raise
        seen = (
            f"{machine.id} shows a certificate with the SHA-256 fingerprint {error.fingerprint}, which the connection "
            "does not know. Tasks can call the node if they are told the fingerprint."
        )
        return Found(seen, Outcome.WARNED, pinning(machine.id, error.fingerprint))
    return Found(
        f"{machine.id} ({machine.chain} {machine.network}) {answer}; {_trusted(machine, account.settings)}."
    )


def _choice(settings: BloqSettings, listed: Iterable[Node]) -> Node | None:
    started = [node for node in listed if node.state == STARTED]
    return min(started, key=lambda node: node.id not in settings.node_fingerprints, default=None)


def _answer(rpc: RpcApi, machine: Node | Cluster) -> Flow[str]:
    if machine.chain in _ASKED:
        yield from RpcApi.call.flow(rpc, _ASKED[machine.chain])
        return "answers"
    try:
        family = family_of(machine.chain)
    except BloqConfigurationError:
        yield from rpc.locator.locate()
        return "is there; what its nodes can be asked is not known"
    head = yield from read_head(rpc, family)
    return f"answers, its head is block {head.height}"


def _trusted(machine: Node | Cluster, settings: BloqSettings) -> str:
    if machine.id in settings.node_fingerprints:
        return "its certificate is the pinned one"
    if isinstance(machine, Cluster) or settings.node_tls is NodeTls.VERIFY:
        return "its certificate is verified by a CA"
    return "its certificate is not checked"
