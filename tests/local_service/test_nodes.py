"""Nodes: what can be ordered, create, list, show, delete, logs, states, quota."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller

Start = Callable[..., LocalBloq]

_OWN = "/users/me/nodes"
_DOCUMENTED = {
    "id", "user", "chain", "network", "state", "ip", "service", "serviceData", "auth", "createdAt",
    "updatedAt", "stoppedAt", "ttl", "userPlanData", "instance", "vendor",
}  # fmt: skip


def test_chains_are_listed_without_a_token(caller: Caller) -> None:
    for path in ("/chains", "/chains/nodes", "/chains/cluster"):
        chains = caller.nodes("GET", path).json()
        assert {"chain": "eth", "network": "mainnet"}.items() <= next(
            c for c in chains if c["chain"] == "eth"
        ).items()
        assert all(set(chain) == {"chain", "network", "software"} for chain in chains)


def test_services_are_listed_with_metadata_and_region(caller: Caller) -> None:
    for path in ("/services", "/services/nodes", "/services/cluster"):
        services = caller.nodes("GET", path, caller.access_token()).json()
        for service in services:
            assert service["id"].startswith("service-")
            assert {"software", "performance"} <= set(service["metadata"])
            assert service["vendor"]["region"]
        assert {"eth"} <= {service["chain"] for service in services}


def test_services_can_be_listed_without_a_token_when_switched_off(start: Start) -> None:
    assert Caller.of(start(services_need_token=False)).nodes("GET", "/services/nodes").status_code == 200


def test_a_new_node_is_started_and_has_the_documented_fields(caller: Caller) -> None:
    token = caller.access_token()
    node = caller.create_node(token)
    assert set(node) == _DOCUMENTED - {"stoppedAt"}
    assert re.fullmatch(r"node-[0-9a-f-]{36}", node["id"])
    assert node["state"] == "started"
    assert node["user"] == caller.account.id
    assert set(node["serviceData"]) == {"software", "performance", "amiPrefix"}
    assert node["auth"]["type"] == "basic"
    assert len(node["auth"]["user"]) >= 10
    assert len(node["auth"]["pass"]) >= 10
    assert caller.nodes("GET", f"{_OWN}/{node['id']}", token).json() == node
    assert caller.nodes("GET", _OWN, token).json() == [node]


def test_a_jwt_node_has_neither_user_nor_password(caller: Caller) -> None:
    assert caller.create_node(caller.access_token(), auth_type="jwt")["auth"] == {"type": "jwt"}


def test_each_node_has_a_different_loopback_address(caller: Caller) -> None:
    token = caller.access_token()
    addresses = {caller.create_node(token)["ip"] for _ in range(3)}
    assert len(addresses) == 3
    assert all(address.startswith("127.") for address in addresses)


def test_the_status_of_create_can_be_the_documented_200(start: Start) -> None:
    caller = Caller.of(start(create_status=200))
    body = {"serviceId": caller.bloq.service_id(), "authType": "jwt"}
    assert caller.nodes("POST", _OWN, caller.access_token(), json=body).status_code == 200


def test_json_is_read_whatever_the_content_type(caller: Caller) -> None:
    body = json.dumps({"serviceId": caller.bloq.service_id(), "authType": "jwt"})
    assert caller.nodes("POST", _OWN, caller.access_token(), data=body).status_code == 201


def test_unknown_and_disabled_services_are_answered_404(caller: Caller) -> None:
    token, disabled = caller.access_token(), caller.bloq.service_id("etc")
    caller.bloq.disable_service(disabled)
    for service_id in ("service-unknown", disabled, caller.bloq.service_id("eth", kind="cluster"), None):
        body = {"serviceId": service_id, "authType": "jwt"}
        assert caller.nodes("POST", _OWN, token, json=body).status_code == 404
    listed = caller.nodes("GET", "/services/nodes", token).json()
    assert [item["id"] for item in listed if item.get("disabled")] == [disabled]


def test_a_node_wants_basic_or_jwt(caller: Caller) -> None:
    for auth_type in ("none", "", None, 1):
        body = {"serviceId": caller.bloq.service_id(), "authType": auth_type}
        answer = caller.nodes("POST", _OWN, caller.access_token(), json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidAuthType")


def test_the_create_body_of_2019_is_refused_unless_switched_on(caller: Caller) -> None:
    assert caller.nodes("POST", _OWN, caller.access_token(), json={"image": "eth"}).status_code == 400


def test_the_create_body_of_2019_makes_a_node_with_the_fields_of_that_time(start: Start) -> None:
    caller = Caller.of(start(legacy_create=True))
    token = caller.access_token()
    node = caller.nodes("POST", _OWN, token, json={"image": "btctestnet", "large": False, "jwt": True}).json()
    assert (node["chain"], node["network"], node["auth"]) == ("btc", "testnet", {"type": "jwt"})
    assert (node["image"], node["nodeUser"], node["nodePass"]) == ("btctestnet", "-", "-")
    assert {"version", "instance", "startedAt"} <= set(node)
    assert caller.nodes("POST", _OWN, token, json={"image": "doge"}).status_code == 404


def test_the_quota_is_answered_403_limit_exceeded_and_freed_by_a_delete(start: Start) -> None:
    caller = Caller.of(start(node_quota=1))
    token = caller.access_token()
    node = caller.create_node(token)
    body = {"serviceId": caller.bloq.service_id(), "authType": "jwt"}
    refused = caller.nodes("POST", _OWN, token, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "LimitExceeded")
    caller.nodes("DELETE", f"{_OWN}/{node['id']}", token)
    assert caller.nodes("POST", _OWN, token, json=body).status_code == 201


def test_creates_at_the_same_time_do_not_exceed_the_quota(start: Start) -> None:
    caller = Caller.of(start(node_quota=3))
    token, together = caller.access_token(), threading.Barrier(8)
    body = {"serviceId": caller.bloq.service_id(), "authType": "jwt"}

    def create(_: int) -> int:
        together.wait()
        return caller.nodes("POST", _OWN, token, json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(8)))
    assert sorted(statuses) == [201] * 3 + [403] * 5


def test_a_deleted_node_stays_in_the_list_as_stopped(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_node(token)['id']}"
    assert caller.nodes("DELETE", path, token).status_code == 204
    (listed,) = caller.nodes("GET", _OWN, token).json()
    assert listed["state"] == "stopped"
    assert listed["stoppedAt"] >= listed["createdAt"]
    assert caller.nodes("GET", path, token).json() == listed
    assert caller.nodes("DELETE", path, token).status_code == 404


def test_a_second_delete_can_be_answered_204(start: Start) -> None:
    caller = Caller.of(start(repeated_delete_status=204))
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_node(token)['id']}"
    assert [caller.nodes("DELETE", path, token).status_code for _ in range(2)] == [204, 204]


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("GET", "/logs")])
def test_another_accounts_node_is_answered_404(caller: Caller, method: str, suffix: str) -> None:
    node = caller.create_node(caller.access_token())
    other = Caller.of(caller.bloq, "eve@example.com")
    answer = other.nodes(method, f"{_OWN}/{node['id']}{suffix}", other.access_token())
    assert (answer.status_code, answer.json()["code"]) == (404, "NodeNotFound")
    assert other.nodes("GET", _OWN, other.access_token()).json() == []


def test_a_node_is_in_the_provisioning_state_until_the_clock_has_moved(start: Start) -> None:
    caller = Caller.of(start(provision_seconds=30, provisioning_state="booting"))
    token = caller.access_token()
    node = caller.create_node(token)
    assert node["state"] == "booting"
    caller.bloq.advance_clock(30)
    assert caller.nodes("GET", f"{_OWN}/{node['id']}", token).json()["state"] == "started"


def test_provisioning_can_be_finished_by_hand(start: Start) -> None:
    caller = Caller.of(start(provision_seconds=1_000))
    token = caller.access_token()
    one, two = caller.create_node(token), caller.create_node(token)
    assert caller.bloq.finish_provisioning(one["id"]) == 1
    states = {node["id"]: node["state"] for node in caller.nodes("GET", _OWN, token).json()}
    assert states == {one["id"]: "started", two["id"]: "starting"}
    assert caller.bloq.finish_provisioning() == 1


def test_logs_are_the_last_lines_as_many_as_asked_for(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_node(token)['id']}/logs"
    everything = caller.nodes("GET", path, token).json()
    assert len(everything) == 2
    assert caller.nodes("GET", path + "?lines=1", token).json() == everything[-1:]


def test_logs_can_be_one_text(start: Start) -> None:
    caller = Caller.of(start(logs_shape="text"))
    token = caller.access_token()
    logs = caller.nodes("GET", f"{_OWN}/{caller.create_node(token)['id']}/logs", token).json()
    assert logs["data"].endswith("\nstarted")


def test_logs_want_a_positive_whole_number(caller: Caller) -> None:
    for lines in ("0", "-1", "many", "1.5", ""):
        token = caller.access_token()
        path = f"{_OWN}/{caller.create_node(token)['id']}/logs?lines={lines}"
        assert caller.nodes("GET", path, token).status_code == 400


def test_administrators_see_all_nodes_and_others_are_forbidden(bloq: LocalBloq) -> None:
    ann, manager = Caller.of(bloq), Caller.of(bloq, "root@example.com", manager=True)
    node = ann.create_node(ann.access_token())
    refused = ann.nodes("GET", "/nodes", ann.log_in())
    assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden")
    assert manager.nodes("GET", "/nodes", manager.access_token()).status_code == 403
    assert manager.nodes("GET", "/nodes", manager.log_in()).json() == [node]


def test_nodes_of_chains_that_cannot_run_here_exist_all_the_same(caller: Caller) -> None:
    assert caller.create_node(caller.access_token(), chain="btc")["state"] == "started"
