"""Where a node's JSON-RPC is, and the addresses that no credential is ever sent to."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqUnavailable,
    BloqUnsafeAddress,
)
from airflow_provider_bloq.nodes.models import Cluster, Deployment, Node
from airflow_provider_bloq.rpc.endpoint import rpc_port, rpc_url, rpc_version

pytestmark = pytest.mark.logic


def node(ip: str | None, chain: str = "eth", network: str = "mainnet", **more: Any) -> Node:
    return Node.from_json({"id": "node-1", "chain": chain, "network": network, "ip": ip, **more})


def cluster(domain: str, chain: str = "eth") -> Cluster:
    return Cluster.from_json(
        {"id": "cluster-1", "chain": chain, "network": "mainnet", "domain": domain, "ip": "192.0.2.1"}
    )


@pytest.mark.parametrize(
    ("chain", "network", "port", "version", "path"),
    [
        ("btc", "mainnet", 8332, "1.0", "/"),
        ("btc", "testnet", 18332, "1.0", "/"),
        ("bch", "mainnet", 8332, "1.0", "/"),
        ("bch", "testnet", 18332, "1.0", "/"),
        ("ltc", "mainnet", 9332, "1.0", "/"),
        ("ltc", "testnet", 19332, "1.0", "/"),
        ("eth", "mainnet", 8545, "2.0", "/"),
        ("eth", "sepolia", 8545, "2.0", "/"),
        ("etc", "mainnet", 8545, "2.0", "/"),
        ("polygon", "mainnet", 8545, "2.0", "/"),
        ("avalanche", "mainnet", 9650, "2.0", "/ext/info"),
    ],
)
def test_ports_paths_and_versions_follow_the_documented_table(
    chain: str, network: str, port: int, version: str, path: str
) -> None:
    assert rpc_url(node("192.0.2.1", chain, network), local=False) == f"https://192.0.2.1:{port}{path}"
    assert (rpc_port(chain, network), rpc_version(chain)) == (port, version)


def test_clusters_are_reached_by_their_domain() -> None:
    assert rpc_url(cluster("Eth-1.Clusters.example."), local=False) == "https://eth-1.clusters.example:8545/"


@pytest.mark.parametrize(("chain", "network"), [("solana", "mainnet"), ("btc", "regtest"), ("", "")])
def test_an_unknown_port_has_to_be_given(chain: str, network: str) -> None:
    with pytest.raises(BloqConfigurationError, match="Pass it as port=") as unknown:
        rpc_url(node("192.0.2.1", chain, network), local=False)
    assert unknown.value.fields == ("port",)
    assert rpc_url(node("192.0.2.1", chain, network), local=False, port=9000) == "https://192.0.2.1:9000/"


def test_port_and_path_that_are_given_go_first() -> None:
    url = rpc_url(node("192.0.2.1", "avalanche"), local=False, port=443, path="ext/bc/C/rpc?x=1")
    assert url == "https://192.0.2.1:443/ext/bc/C/rpc?x=1"


@pytest.mark.parametrize("port", [0, -1, 65536, "8545", True, 8545.0])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="port"):
        rpc_url(node("192.0.2.1"), local=False, port=port)


@pytest.mark.parametrize("path", ["/a b", "/a\n", "/ä", "/x#y", "\\\\evil.example"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BloqConfigurationError, match="path"):
        rpc_url(node("192.0.2.1"), local=False, path=path)


@pytest.mark.parametrize("path", ["@evil.example", "//evil.example", ":1@evil.example/"])
def test_a_path_cannot_change_the_host(path: str) -> None:
    assert rpc_url(node("192.0.2.1"), local=False, path=path).startswith("https://192.0.2.1:8545/")


UNSAFE = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("make", [node, cluster])
@pytest.mark.parametrize("address", UNSAFE)
def test_metadata_services_and_the_like_are_refused_everywhere(address: str, make: Any, local: bool) -> None:
    with pytest.raises(BloqUnsafeAddress):
        rpc_url(make(address), local=local)


@pytest.mark.parametrize("make", [node, cluster])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_for_the_local_environment_only(address: str, make: Any) -> None:
    assert rpc_url(make(address), local=True).endswith(":8545/")
    with pytest.raises(BloqUnsafeAddress, match="only environment 'local' allows"):
        rpc_url(make(address), local=False)


@pytest.mark.parametrize(
    "number",
    [
        "2130706433",
        "2852039166",
        "0x7f000001",
        "0xa9fea9fe",
        "0177.0.0.1",
        "127.1",
        "0251.254.169.254",
        "169.254.43518",
    ],
)
@pytest.mark.parametrize("make", [node, cluster])
def test_other_spellings_of_ipv4_are_refused(number: str, make: Any) -> None:
    with pytest.raises(BloqUnsafeAddress):
        rpc_url(make(number), local=True)


@pytest.mark.parametrize("make", [node, cluster])
def test_an_address_with_a_port_is_for_loopback_in_the_local_environment_only(make: Any) -> None:
    assert rpc_url(make("127.0.0.1:4711"), local=True) == "https://127.0.0.1:4711/"
    assert rpc_url(make("[::1]:4711"), local=True) == "https://[::1]:4711/"
    assert rpc_url(make("127.0.0.1:4711"), local=True, port=9) == "https://127.0.0.1:9/"
    for address, local in (
        ("127.0.0.1:4711", False),
        ("192.0.2.1:8545", True),
        ("169.254.169.254:80", True),
        ("[fe80::1]:8545", True),
        ("127.0.0.1:99999", True),
        ("127.0.0.1:" + "9" * 5000, True),
        ("evil.example:8545", True),
    ):
        with pytest.raises(BloqUnsafeAddress):
            rpc_url(make(address), local=local)


@pytest.mark.parametrize(
    "name",
    [
        "metadata",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "instance-data",
        "instance-data.ec2.internal",
    ],
)
def test_names_of_metadata_services_are_refused(name: str) -> None:
    with pytest.raises(BloqUnsafeAddress):
        rpc_url(cluster(name), local=True)


def test_localhost_is_for_the_local_environment_only() -> None:
    for name in ("localhost", "a.localhost", "LOCALHOST."):
        assert rpc_url(cluster(name), local=True)
        with pytest.raises(BloqUnsafeAddress):
            rpc_url(cluster(name), local=False)


@pytest.mark.parametrize(
    "domain",
    [
        "evil.example/x",
        "evil.example:443/x",
        "evil.example?",
        "evil.example#",
        "user@evil.example",
        "evil.example\\x",
        "a b.example",
        "a..example",
        "http://evil.example",
        "ex\u0430mple.com",
        "-",
        "x" * 300,
        " ",
        ".",
    ],
)
def test_a_domain_that_is_no_plain_name_is_refused(domain: str) -> None:
    with pytest.raises(BloqUnsafeAddress):
        rpc_url(cluster(domain), local=True)


@pytest.mark.parametrize(
    "ip", ["node.example", "localhost", "metadata.google.internal", "192.0.2.1/x", "1.2.3"]
)
def test_the_address_of_a_node_is_an_ip_address(ip: str) -> None:
    with pytest.raises(BloqUnsafeAddress):
        rpc_url(node(ip), local=True)


def test_a_node_without_address_is_not_ready() -> None:
    with pytest.raises(BloqUnavailable, match="its state is starting") as early:
        rpc_url(node(None, state="starting"), local=False)
    assert early.value.retryable


@pytest.mark.parametrize("machine", [node("192.0.2.1", state="stopped"), node(None, state="stopped")])
def test_the_address_of_a_deleted_node_is_not_called(machine: Deployment) -> None:
    with pytest.raises(BloqNotFound, match="was deleted"):
        rpc_url(machine, local=False)


def test_public_ipv6_addresses_are_bracketed() -> None:
    assert rpc_url(node("2001:DB8:0::1"), local=False) == "https://[2001:db8::1]:8545/"
