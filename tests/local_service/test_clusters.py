"""Clusters: create, list, update, alias, delete, and what administrators may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller

Start = Callable[..., LocalBloq]

_OWN = "/users/me/clusters"


def _other_service(caller: Caller, token: str, cluster: dict[str, Any]) -> str:
    offers = caller.nodes("GET", "/services/cluster", token).json()
    return next(str(o["id"]) for o in offers if o["chain"] == "eth" and o["id"] != cluster["service"])


def test_a_new_cluster_has_the_fields_that_the_official_client_reads(caller: Caller) -> None:
    token = caller.access_token()
    cluster = caller.create_cluster(token, capacity=4)
    assert {
        "id", "name", "alias", "chain", "network", "service", "serviceData", "domain", "capacity",
        "healthCount", "region", "state", "auth", "createdAt", "user",
    } <= set(cluster)  # fmt: skip
    assert "updatingService" not in cluster
    assert "stoppedAt" not in cluster
    assert cluster["id"].startswith("cluster-")
    assert (cluster["capacity"], cluster["healthCount"], cluster["auth"]) == (4, 4, {"type": "none"})
    assert caller.nodes("GET", _OWN, token).json() == [cluster]
    assert caller.nodes("GET", f"{_OWN}/{cluster['id']}", token).json() == cluster


def test_a_cluster_takes_all_three_kinds_of_authentication(caller: Caller) -> None:
    for auth_type in ("basic", "jwt", "none"):
        cluster = caller.create_cluster(caller.access_token(), auth_type=auth_type)
        assert cluster["auth"]["type"] == auth_type


def test_a_capacity_outside_2_to_10_is_answered_400(caller: Caller) -> None:
    for capacity in (1, 11, 0, None, 2.5, "x", True):
        token = caller.access_token()
        body = {"serviceId": caller.bloq.service_id(kind="cluster"), "authType": "none", "capacity": capacity}
        answer = caller.nodes("POST", _OWN, token, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidCapacity")
        cluster = caller.create_cluster(token)
        path = f"{_OWN}/{cluster['id']}"
        assert caller.nodes("PATCH", path, token, json={"capacity": capacity}).status_code == 400
        assert caller.nodes("GET", path, token).json()["capacity"] == cluster["capacity"]


def test_a_service_of_nodes_makes_no_cluster(caller: Caller) -> None:
    body = {"serviceId": caller.bloq.service_id(), "authType": "none", "capacity": 2}
    assert caller.nodes("POST", _OWN, caller.access_token(), json=body).status_code == 404


def test_a_change_of_capacity_alone_starts_no_update(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_cluster(token)['id']}"
    assert caller.nodes("PATCH", path, token, json={"capacity": 5}).status_code == 200
    shown = caller.nodes("GET", path, token).json()
    assert (shown["capacity"], shown["healthCount"]) == (5, 5)
    assert "updatingService" not in shown


def test_a_change_of_service_runs_until_the_clock_has_moved(start: Start) -> None:
    caller = Caller.of(start(update_seconds=60))
    token = caller.access_token()
    cluster = caller.create_cluster(token)
    wanted, path = _other_service(caller, token, cluster), f"{_OWN}/{cluster['id']}"
    caller.nodes("PATCH", path, token, json={"capacity": 2, "serviceId": wanted})
    during = caller.nodes("GET", path, token).json()
    assert (during["updatingService"], during["service"]) == (wanted, cluster["service"])
    assert during["healthCount"] < during["capacity"]
    caller.bloq.advance_clock(60)
    done = caller.nodes("GET", path, token).json()
    assert done["service"] == wanted
    assert "updatingService" not in done
    assert done["healthCount"] == done["capacity"]


def test_a_service_update_can_be_cancelled_while_it_runs(caller: Caller) -> None:
    token = caller.access_token()
    cluster = caller.create_cluster(token)
    path = f"{_OWN}/{cluster['id']}"
    wanted = _other_service(caller, token, cluster)
    caller.nodes("PATCH", path, token, json={"capacity": 2, "serviceId": wanted})
    assert caller.nodes("DELETE", path + "/updatingService", token).status_code == 204
    shown = caller.nodes("GET", path, token).json()
    assert shown["service"] == cluster["service"]
    assert "updatingService" not in shown
    assert caller.nodes("DELETE", path + "/updatingService", token).status_code == 404


def test_a_service_update_can_be_left_to_be_finished_by_hand(start: Start) -> None:
    caller = Caller.of(start(update_seconds=None))
    token = caller.access_token()
    cluster = caller.create_cluster(token)
    wanted, path = _other_service(caller, token, cluster), f"{_OWN}/{cluster['id']}"
    caller.nodes("PATCH", path, token, json={"capacity": 2, "serviceId": wanted})
    caller.bloq.advance_clock(10**6)
    fresh = caller.access_token()
    assert caller.nodes("GET", path, fresh).json()["updatingService"] == wanted
    assert caller.bloq.finish_updates(cluster["id"]) == 1
    assert caller.nodes("GET", path, fresh).json()["service"] == wanted


def test_a_cluster_cannot_move_to_another_chain_or_to_an_unknown_service(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_cluster(token)['id']}"
    foreign = caller.bloq.service_id("polygon", kind="cluster")
    assert caller.nodes("PATCH", path, token, json={"capacity": 2, "serviceId": foreign}).status_code == 400
    assert caller.nodes("PATCH", path, token, json={"serviceId": "service-unknown"}).status_code == 404


def test_an_alias_is_set_and_shown(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_cluster(token)['id']}"
    assert caller.nodes("POST", path + "/alias", token, json={"alias": "main"}).status_code == 200
    assert caller.nodes("GET", path, token).json()["alias"] == "main"


def test_a_deleted_cluster_stays_in_the_list_as_stopped(caller: Caller) -> None:
    token = caller.access_token()
    path = f"{_OWN}/{caller.create_cluster(token)['id']}"
    assert caller.nodes("DELETE", path, token).status_code == 204
    (listed,) = caller.nodes("GET", _OWN, token).json()
    assert (listed["state"], listed["healthCount"]) == ("stopped", 0)
    assert listed["stoppedAt"]
    assert caller.nodes("DELETE", path, token).status_code == 404
    assert caller.nodes("PATCH", path, token, json={"capacity": 2}).status_code == 404


def test_another_accounts_cluster_is_answered_404(caller: Caller) -> None:
    cluster = caller.create_cluster(caller.access_token())
    other = Caller.of(caller.bloq, "eve@example.com")
    path, token = f"{_OWN}/{cluster['id']}", other.access_token()
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"capacity": 2}),
        ("POST", "/alias", {"alias": "mine"}),
        ("DELETE", "/updatingService", None),
        ("GET", "/logs", None),
        ("DELETE", "", None),
    ):
        assert other.nodes(method, path + suffix, token, json=body).status_code == 404


def test_administrators_see_and_stop_all_clusters_and_disable_services(bloq: LocalBloq) -> None:
    ann, manager = Caller.of(bloq), Caller.of(bloq, "root@example.com", manager=True)
    cluster = ann.create_cluster(ann.access_token())
    admin, ordinary = manager.log_in(), ann.log_in()
    service = f"/services/cluster/{cluster['service']}"
    for method, path in (("GET", "/clusters"), ("DELETE", f"/clusters/{cluster['id']}"), ("DELETE", service)):
        refused = ann.nodes(method, path, ordinary)
        assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden")
    (listed,) = manager.nodes("GET", "/clusters", admin).json()
    assert listed["user"]["email"] == "ann@example.com"
    assert manager.nodes("DELETE", service, admin).status_code == 204
    assert manager.nodes("DELETE", "/services/cluster/service-unknown", admin).status_code == 404
    body = {"serviceId": cluster["service"], "authType": "none", "capacity": 2}
    assert ann.nodes("POST", _OWN, ordinary, json=body).status_code == 404
    assert manager.nodes("DELETE", f"/clusters/{cluster['id']}", admin).status_code == 204
    assert ann.nodes("GET", f"{_OWN}/{cluster['id']}", ordinary).json()["state"] == "stopped"


def test_the_quota_of_clusters_is_answered_403_limit_exceeded(start: Start) -> None:
    caller = Caller.of(start(cluster_quota=1))
    token = caller.access_token()
    caller.create_cluster(token)
    body = {"serviceId": caller.bloq.service_id(kind="cluster"), "authType": "none", "capacity": 2}
    refused = caller.nodes("POST", _OWN, token, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "LimitExceeded")
