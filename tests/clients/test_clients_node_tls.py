"""Certificates of nodes: pinned, verified or not checked, and what reaches a node before it is trusted."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_bloq.exceptions import BloqCertificateError, BloqConfigurationError, BloqUnavailable
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.nodes.models import Node
from airflow_provider_bloq.rpc.certificates import NodeTlsMode
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays, OpenClients

pytestmark = pytest.mark.anvil
CHAIN_ID = "0x7a69"


@pytest.fixture
def node(chains: LocalBloq, bloq_with_chains: BothWays) -> Node:
    made: Node = bloq_with_chains.nodes.create(chains.service_id("eth"))
    return made


@pytest.fixture
def pin(chains: LocalBloq, node: Node) -> str:
    return chains.node_fingerprint(node.id)


def reached(service: LocalBloq, node: Node) -> bool:
    """Tell whether any request, with or without a credential, has reached the node."""
    counts = service.counters()
    return node.id in counts.authorizations or any(route.startswith("rpc ") for route in counts.calls)


def test_an_unpinned_node_is_not_called_and_the_error_says_how_to_pin_it(
    chains: LocalBloq, bloq_with_chains: BothWays, node: Node, pin: str
) -> None:
    with pytest.raises(BloqCertificateError, match="nothing was sent") as unpinned:
        bloq_with_chains.rpc(node).call("eth_chainId")
    assert unpinned.value.fingerprint == pin
    assert f"tls_fingerprint='{pin}'" in str(unpinned.value)
    assert f'"node_fingerprints": {{"{node.id}": ["{pin}"]}}' in str(unpinned.value)
    assert not reached(chains, node)


def test_a_pinned_node_is_called(bloq_with_chains: BothWays, node: Node, pin: str) -> None:
    assert bloq_with_chains.rpc(node, pin=pin).call("eth_chainId") == CHAIN_ID
    assert bloq_with_chains.rpc(node.id, pin=pin).call("eth_chainId") == CHAIN_ID


def test_fingerprints_of_the_connection_count_as_well(
    bloq_with_chains: BothWays, node: Node, pin: str
) -> None:
    known = {node.id: frozenset({"0" * 64, pin}), "node-0": frozenset({"1" * 64})}
    assert bloq_with_chains.rpc(node, known=known).call("eth_chainId") == CHAIN_ID


@pytest.mark.parametrize("tls", list(NodeTlsMode))
def test_another_certificate_than_the_pinned_one_is_not_called(
    chains: LocalBloq, bloq_with_chains: BothWays, node: Node, tls: NodeTlsMode
) -> None:
    with pytest.raises(BloqCertificateError, match="not the pinned one") as wrong:
        bloq_with_chains.rpc(node, tls=tls, pin="0" * 64).call("eth_chainId")
    assert wrong.value.fingerprint == chains.node_fingerprint(node.id)
    assert not reached(chains, node)


def test_a_certificate_that_changes_under_a_client_ends_its_calls(
    chains: LocalBloq, bloq_with_chains: BothWays, node: Node, pin: str
) -> None:
    rpc = bloq_with_chains.rpc(node, pin=pin)
    assert rpc.call("eth_chainId") == CHAIN_ID
    token = bloq_with_chains.run(bloq_with_chains.provider.token()).secret.reveal()
    assert node.id in chains.where_seen(token)
    chains.reset_counters()
    changed = chains.replace_node_certificate(node.id)
    with pytest.raises(BloqCertificateError) as error:
        rpc.call("eth_chainId")
    assert error.value.fingerprint == changed
    assert not reached(chains, node)


def test_verify_refuses_what_no_authority_vouches_for(
    chains: LocalBloq, bloq_with_chains: BothWays, node: Node
) -> None:
    with pytest.raises(BloqUnavailable, match="CERTIFICATE_VERIFY_FAILED") as error:
        bloq_with_chains.rpc(node, tls=NodeTlsMode.VERIFY).call("eth_chainId")
    assert error.value.acted is False
    assert not reached(chains, node)


@pytest.mark.parametrize("tls", list(NodeTlsMode))
@pytest.mark.parametrize("auth_type", ["jwt", "none", "basic"])
def test_clusters_are_verified_by_their_authority_in_any_mode(
    chains: LocalBloq, open_clients: OpenClients, tls: NodeTlsMode, auth_type: str
) -> None:
    service_id = chains.service_id("eth", kind="cluster")
    trusting = open_clients(chains, network=Network(ca_bundle=str(chains.ca_bundle)))
    cluster = trusting.clusters.create(service_id, auth_type)
    assert trusting.rpc(cluster, tls=tls).call("eth_chainId") == CHAIN_ID
    assert trusting.rpc(cluster.id, tls=tls).call("eth_chainId") == CHAIN_ID
    chains.reset_counters()
    # Without the local authority's certificate.
    other = open_clients(chains)
    with pytest.raises(BloqUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        other.rpc(cluster, tls=tls).call("eth_chainId")
    assert cluster.id not in chains.counters().authorizations


def test_a_cluster_can_be_pinned_too(chains: LocalBloq, bloq_with_chains: BothWays) -> None:
    cluster = bloq_with_chains.clusters.create(chains.service_id("eth", kind="cluster"))
    pin = chains.node_fingerprint(cluster.id)
    assert bloq_with_chains.rpc(cluster, pin=pin).call("eth_chainId") == CHAIN_ID


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_insecure_calls_and_warns_each_time(
    bloq_with_chains: BothWays, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    rpc = bloq_with_chains.rpc(node, tls=NodeTlsMode.INSECURE)
    for _ in range(3):
        assert rpc.call("eth_chainId") == CHAIN_ID
    warnings = [record for record in caplog.records if "is not checked" in record.message]
    assert [record.levelno for record in warnings] == [logging.WARNING] * 3


def elsewhere(auth_type: str) -> Node:
    """A node at an address that belongs to nobody."""
    return Node.from_json(
        {
            "id": "node-1",
            "chain": "eth",
            "network": "mainnet",
            "state": "started",
            "ip": "192.0.2.1",
            "auth": {"type": auth_type, "user": "u", "pass": "p"},
        }
    )


def test_insecure_is_refused_where_it_would_show_the_token_to_anybody(bloq: BothWays) -> None:
    with pytest.raises(BloqConfigurationError, match="access token") as refused:
        bloq.rpc(elsewhere("jwt"), tls=NodeTlsMode.INSECURE, local=False).call("eth_chainId")
    assert refused.value.fields == ("node_tls",)
    assert not bloq.origins.covers("https://192.0.2.1:8545/")


def test_insecure_with_a_password_of_the_nodes_own_is_the_callers_business(bloq: BothWays) -> None:
    rpc = bloq.rpc(elsewhere("basic"), tls=NodeTlsMode.INSECURE, local=False)
    target = bloq.run(rpc.api.resolver.resolve())
    assert target.basic is not None
    assert not bloq.origins.covers(target.url)


def test_a_pin_goes_before_insecure(chains: LocalBloq, bloq_with_chains: BothWays, node: Node) -> None:
    with pytest.raises(BloqCertificateError):
        bloq_with_chains.rpc(node, tls=NodeTlsMode.INSECURE, pin="0" * 64).call("eth_chainId")
