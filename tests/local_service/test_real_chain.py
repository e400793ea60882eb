"""A created Ethereum node is a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller, call

pytestmark = [
    pytest.mark.anvil,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with LocalBloq() as bloq:
        yield Caller.of(bloq)


def _result(url: str, token: str, verify: str | bool, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    answer = call("POST", url, token, json=body, verify=verify)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_a_node_mines_and_each_node_has_a_separate_chain(caller: Caller) -> None:
    token = caller.access_token()
    one, two = (f"https://{caller.create_node(token, auth_type='jwt')['ip']}:8545/" for _ in range(2))
    assert _result(one, token, False, "web3_clientVersion").startswith("anvil")
    _result(one, token, False, "evm_mine")
    assert _result(one, token, False, "eth_blockNumber") == "0x1"
    assert _result(two, token, False, "eth_blockNumber") == "0x0"


def test_a_batch_is_answered_in_order(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token, auth_type="jwt")
    batch = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(20)]
    answer = call("POST", f"https://{node['ip']}:8545/", token, json=batch, verify=False)
    assert [item["id"] for item in answer.json()] == list(range(20))
    assert caller.bloq.counters().rpc_calls[node["id"]] == {"eth_chainId": 20}


def test_a_cluster_is_called_with_its_certificate_checked(caller: Caller) -> None:
    token = caller.access_token()
    cluster = caller.create_cluster(token, auth_type="jwt")
    url, bundle = f"https://{cluster['domain']}:8545/", str(caller.bloq.ca_bundle)
    assert _result(url, token, bundle, "eth_blockNumber") == "0x0"
