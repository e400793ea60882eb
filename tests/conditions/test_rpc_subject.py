"""How the JSON-RPC of a node is named, stored and found, and to which family of chains it belongs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from airflow_provider_bloq.chains.conditions import BlockReached, ChainHead, RpcSubject
from airflow_provider_bloq.chains.queries import ChainFamily, family_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays
from tests.conditions.bitcoin_node import BitcoinNode
from tests.conditions.evm_chain import EvmChain
from tests.conditions.looking import Looking, result_of

PIN = "ab" * 32
URL = "https://127.0.0.1:8545/"


@pytest.mark.parametrize(
    ("chain", "family"),
    [
        ("eth", ChainFamily.EVM),
        ("etc", ChainFamily.EVM),
        ("polygon", ChainFamily.EVM),
        (" ETH ", ChainFamily.EVM),
        ("btc", ChainFamily.BITCOIN),
        ("bch", ChainFamily.BITCOIN),
        ("ltc", ChainFamily.BITCOIN),
    ],
)
def test_the_chains_of_bloq_have_a_family(chain: str, family: ChainFamily) -> None:
    assert family_of(chain) is family


@pytest.mark.parametrize("chain", ["avalanche", "algorand", "", None])
def test_of_others_it_must_be_said(chain: str | None) -> None:
    with pytest.raises(BloqConfigurationError, match="Give family='evm'") as wrong:
        family_of(chain)
    assert wrong.value.fields == ("family",)


def test_what_a_create_returns_tells_all(bloq_service: LocalBloq, bloq: BothWays) -> None:
    node = bloq.nodes.create(bloq_service.service_id("btc"))
    created = json.loads(json.dumps({**node.public(), "tls_fingerprint": PIN.upper()}))
    assert RpcSubject.of(created) == RpcSubject(node.id, PIN, family="bitcoin")
    assert RpcSubject.of(node) == RpcSubject(node.id, family="bitcoin")
    assert RpcSubject.of(created, tls_fingerprint="cd" * 32, port=1, path="/x", family="evm") == RpcSubject(
        node.id, "cd" * 32, 1, "/x", "evm"
    )


@pytest.mark.parametrize("kind", [Node, Cluster])
def test_a_node_or_cluster_names_itself(kind: type[Node | Cluster]) -> None:
    machine = kind.from_json(
        {"id": "x-1", "chain": "eth", "auth": {"type": "basic", "user": "u", "pass": "p"}}
    )
    assert RpcSubject.of(machine) == RpcSubject("x-1", family="evm")


def test_one_node_has_one_name_however_its_fingerprint_is_spelled() -> None:
    spelled = ":".join(["AB"] * 32)
    assert RpcSubject.of(" node-1\n", tls_fingerprint=spelled) == RpcSubject.of("node-1", tls_fingerprint=PIN)
    targets = {ChainHead(RpcSubject.of("node-1", tls_fingerprint=pin)) for pin in (spelled, PIN)}
    assert len(targets) == 1


def test_it_is_json() -> None:
    subject = RpcSubject.of(URL, family="evm", tls_fingerprint=PIN)
    assert RpcSubject(**json.loads(json.dumps(asdict(subject)))) == subject
    assert type(subject.family) is str


@pytest.mark.parametrize(
    ("node", "options", "field"),
    [
        (URL, {}, "family"),
        (URL, {"family": "solana"}, "family"),
        ("node-1", {"family": ""}, "family"),
        ({"id": "node-1", "chain": "algorand"}, {}, "family"),
        ("node-1", {"tls_fingerprint": "abc"}, "tls_fingerprint"),
        ({"id": "node-1", "tls_fingerprint": "abc"}, {}, "tls_fingerprint"),
        ("", {}, "node"),
        ({}, {}, "node"),
        ("{'id': 'node-1'}", {}, "node"),
        ("https://user:secret@127.0.0.1/", {"family": "evm"}, "node"),
        ("https://127.0.0.1:0/", {"family": "evm"}, "node"),
        ("https://eth.connect.bloq.cloud/v1/secret", {"family": "evm"}, "node"),
        ("https://etc.connect.bloqclouddev.com:8443//V1/secret/", {"family": "evm"}, "node"),
        ("https://eth.connect.bloq.cloud/%761/secret", {"family": "evm"}, "node"),
        ("https://rpc.example.com/?apikey=secret", {"family": "evm"}, "node"),
        ("https://rpc.example.com#secret", {"family": "evm"}, "node"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(node: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        RpcSubject.of(node, **options)
    assert wrong.value.fields == (field,)
    assert "secret" not in str(wrong.value)


def test_a_key_that_would_be_stored_has_another_place() -> None:
    with pytest.raises(BloqConfigurationError, match="connect:<chain>.*Change the key"):
        RpcSubject.of("https://eth.connect.bloq.cloud/v1/secret", family="evm")


@pytest.mark.anvil
def test_of_an_id_alone_the_family_is_found_when_the_node_is_read(
    bloq_service: LocalBloq, bloq: BothWays, chain: EvmChain
) -> None:
    node = bloq.nodes.create(bloq_service.service_id("eth"))
    pin = bloq_service.node_fingerprint(node.id)
    bloq_service.reset_counters()
    looking = Looking(bloq, BlockReached(RpcSubject.of(node.id, tls_fingerprint=pin), 0))
    for _ in range(3):
        assert result_of(looking.look())["head"]["height"] == chain.height
    # One client, which finds the node once.
    assert looking.reader.made == 1
    calls = bloq_service.counters().calls
    assert (calls["nodes GET /users/me/nodes/{id}"], calls["rpc POST /"]) == (1, 3)


def test_an_id_of_a_chain_that_is_not_known_is_told_when_the_node_is_read(
    bloq_service: LocalBloq, bloq: BothWays
) -> None:
    cluster = bloq.clusters.create(bloq_service.service_id("avalanche", kind="cluster"))
    with pytest.raises(BloqConfigurationError, match="avalanche") as wrong:
        Looking(bloq, BlockReached(RpcSubject.of(cluster.id), 0)).look()
    assert wrong.value.fields == ("family",)


def test_a_url_is_asked_in_the_way_of_the_family_that_was_given(
    outsider: BothWays, btc_node: BitcoinNode
) -> None:
    looking = Looking(outsider, BlockReached(RpcSubject.of(btc_node.url, family="bitcoin"), 100))
    assert result_of(looking.look())["confirmations"] == 1
