"""The access token in the hands of other libraries: requests, Airflow's HTTP provider, web3.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from web3 import HTTPProvider, Web3

from airflow_provider_bloq.hooks.auth import BloqAuth
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from tests.support.raw_server import Serve, answering

NODES = "users/me/nodes"


@pytest.fixture
def http_connection(service: LocalBloq, keys: IssuedKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of the HTTP provider, whose login names the connection with the client keys."""
    connection = {"conn_type": "http", "host": service.nodes_url, "login": "bloq_default"}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_NODES", json.dumps(connection))


def test_requests_with_bloq_auth(service: LocalBloq, keys: IssuedKeys) -> None:
    url = f"{service.nodes_url}/{NODES}"
    assert requests.get(url, auth=BloqAuth("bloq_default"), timeout=30).json() == []
    assert requests.get(url, auth=BloqAuth(), timeout=30).json() == []
    service.revoke_access_tokens(keys.client_id)
    assert requests.get(url, auth=BloqAuth(), timeout=30).json() == []
    counts = service.counters()
    assert (counts.mints, counts.refreshes) == (1, 1)


def test_bloq_auth_signs_for_bloq_only(keys: IssuedKeys, serve: Serve) -> None:
    foreign = serve(answering(401))
    assert requests.get(foreign.url, auth=BloqAuth(), timeout=30).status_code == 401
    assert [seen.authorization for seen in foreign.requests] == [None]


@pytest.mark.usefixtures("http_connection")
def test_the_http_hook_with_bloq_auth(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = HttpHook(method="GET", http_conn_id="bloq_nodes", auth_type=BloqAuth)
    assert hook.run(NODES).json() == []
    service.revoke_access_tokens(keys.client_id)
    assert hook.run(NODES).json() == []
    body = json.dumps({"serviceId": service.service_id("btc"), "authType": "jwt"})
    posting = HttpHook(method="POST", http_conn_id="bloq_nodes", auth_type=BloqAuth)
    service.revoke_access_tokens(keys.client_id)
    assert posting.run(NODES, data=body).status_code == 201
    counts = service.counters()
    assert (counts.mints, counts.refreshes) == (1, 2)


@pytest.mark.usefixtures("http_connection")
def test_the_http_operator_with_bloq_auth(service: LocalBloq) -> None:
    listing = HttpOperator(
        task_id="list",
        http_conn_id="bloq_nodes",
        method="GET",
        endpoint=NODES,
        auth_type=BloqAuth,
        response_filter=lambda response: response.json(),
    )
    assert listing.execute({}) == []
    assert service.counters().mints == 1


@pytest.mark.anvil
@pytest.mark.parametrize("auth_type", ["jwt", "basic"])
def test_web3_with_the_session_of_a_node(connected_chains: LocalBloq, auth_type: str) -> None:
    hook = BloqHook()
    node = hook.nodes.create(connected_chains.service_id("eth"), auth_type)
    rpc = hook.rpc(node, tls_fingerprint=connected_chains.node_fingerprint(node.id))
    web3 = Web3(HTTPProvider(rpc.url, session=rpc.get_conn()))
    assert web3.eth.chain_id == 31337
    assert web3.eth.get_block(0)["number"] == 0
    seen = connected_chains.where_seen(hook.get_access_token())
    assert seen == ({"nodes", node.id} if auth_type == "jwt" else {"nodes"})


@pytest.mark.anvil
def test_web3_goes_through_a_revocation(connected_chains: LocalBloq) -> None:
    hook = BloqHook()
    node = hook.nodes.create(connected_chains.service_id("eth"))
    rpc = hook.rpc(node, tls_fingerprint=connected_chains.node_fingerprint(node.id))
    web3: Any = Web3(HTTPProvider(rpc.url, session=rpc.get_conn()))
    assert web3.eth.chain_id == 31337
    connected_chains.revoke_access_tokens()
    assert web3.eth.block_number >= 0
    counts = connected_chains.counters()
    assert (counts.mints, counts.refreshes) == (1, 1)


@pytest.mark.anvil
def test_the_session_of_a_node_refuses_another_certificate(connected_chains: LocalBloq) -> None:
    hook = BloqHook()
    node = hook.nodes.create(connected_chains.service_id("eth"))
    rpc = hook.rpc(node, tls_fingerprint=connected_chains.node_fingerprint(node.id))
    session = rpc.get_conn()
    connected_chains.replace_node_certificate(node.id)
    connected_chains.reset_counters()
    with pytest.raises(requests.exceptions.SSLError, match="not the pinned one"):
        session.post(rpc.url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    assert node.id not in connected_chains.counters().authorizations
