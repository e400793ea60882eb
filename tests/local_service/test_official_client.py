"""All that Bloq's official command-line client can do, it can do here."""

from __future__ import annotations

import pytest
import requests

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.official_client import ClientFailure, OfficialClient
from tests.local_service.service_caller import Caller, call


@pytest.fixture
def manager(bloq: LocalBloq) -> Caller:
    return Caller.of(bloq, "root@example.com", manager=True)


@pytest.fixture
def client(manager: Caller) -> OfficialClient:
    """The client after a login as an administrator."""
    client = OfficialClient(manager.bloq.accounts_url, manager.bloq.nodes_url)
    client.login(manager.account.email, manager.account.password)
    return client


def test_status_needs_no_login(bloq: LocalBloq) -> None:
    assert OfficialClient(bloq.accounts_url, bloq.nodes_url).status() == {"accounts": True, "nodes": True}


def test_login_profile_and_a_change_of_password(client: OfficialClient, manager: Caller) -> None:
    assert client.profile()[:2] == (manager.account.id, manager.account.email)
    client.update_password(manager.account.password, "a new password")
    client.login(manager.account.id, "a new password")
    with pytest.raises(ClientFailure) as caught:
        client.login(manager.account.id, manager.account.password)
    assert caught.value.status == 401


def test_its_sign_up_which_does_not_send_json_is_refused(client: OfficialClient) -> None:
    with pytest.raises(ClientFailure) as caught:
        client.signup()
    assert caught.value.status == 400


def test_an_account_is_verified_and_a_second_time_is_an_error(
    client: OfficialClient, manager: Caller
) -> None:
    body = {"email": "new@example.com", "displayName": "New", "password": "p"}
    call("POST", manager.bloq.accounts_url + "/users", json=body)
    (mail,) = manager.bloq.outbox()
    client.verify(mail.to, mail.token)
    with pytest.raises(ClientFailure) as again:
        client.verify(mail.to, mail.token)
    assert again.value.status not in (204, 404)
    with pytest.raises(ClientFailure) as unknown:
        client.verify("nobody@example.com", mail.token)
    assert unknown.value.status == 404


def test_client_keys_are_created_listed_used_and_removed(client: OfficialClient) -> None:
    client_id, client_secret = client.create_client_keys()
    assert client_id in client.list_client_keys()
    access, refresh = client.client_token(client_id, client_secret)
    assert access
    assert refresh
    client.remove_client_keys(client_id)
    assert client_id not in client.list_client_keys()
    with pytest.raises(ClientFailure) as caught:
        client.client_token(client_id, client_secret)
    assert caught.value.status in (401, 403)


def test_a_client_token_needs_no_login(client: OfficialClient) -> None:
    keys = client.create_client_keys()
    client.access_token = None
    assert all(client.client_token(*keys))


def test_events_are_filtered_by_service(client: OfficialClient) -> None:
    client.list_nodes()
    client.profile()
    assert client.events("nodes")
    assert client.events("accounts")
    assert client.events("connect") == []


@pytest.mark.parametrize("kind", ["nodes", "cluster"])
def test_chains_need_no_login_and_services_do(client: OfficialClient, kind: str) -> None:
    services = client.services(kind)
    client.access_token = None
    assert {(s["chain"], s["network"], s["software"]) for s in services} == set(client.chains(kind))
    with pytest.raises(ClientFailure) as caught:
        client.services(kind)
    assert caught.value.status == 401


@pytest.mark.parametrize("auth_type", ["basic", "jwt"])
def test_a_node_lives_from_create_to_remove(client: OfficialClient, auth_type: str) -> None:
    assert client.list_nodes() == []
    service = next(s for s in client.services("nodes") if s["chain"] == "eth")
    node = client.create_node(service["id"], auth_type)
    assert (node["state"], node["auth"], node["version"]) == ("started", auth_type, service["software"])
    assert client.show_node(node["id"]) == node
    assert [row["id"] for row in client.list_nodes()] == [node["id"]]
    assert [row["id"] for row in client.list_nodes(all_users=True)] == [node["id"]]
    assert client.node_logs(node["id"], lines=1) == "started"
    assert client.node_logs(node["id"]).count("\n") == 1
    client.remove_node(node["id"])
    assert client.list_nodes() == []
    assert [row["state"] for row in client.list_nodes(all_states=True)] == ["stopped"]


def test_every_service_makes_a_node_or_a_cluster(client: OfficialClient, manager: Caller) -> None:
    for service in client.services("nodes"):
        client.remove_node(client.create_node(service["id"], "basic")["id"])
    for service in client.services("cluster"):
        client.remove_cluster(client.create_cluster(service["id"], "basic", 2)["id"])


def test_a_cluster_lives_from_create_to_remove(client: OfficialClient) -> None:
    assert client.list_clusters() == []
    first, second = (s["id"] for s in client.services("cluster") if s["chain"] == "eth")
    cluster = client.create_cluster(first, "none", 3, alias="mine")
    assert (cluster["alias"], cluster["capacity"], cluster["auth"]) == ("mine", 3, "none")
    client.set_alias(cluster["id"], "main")
    client.update_cluster(cluster["id"], 4)
    assert client.show_cluster(cluster["id"])["capacity"] == 4
    client.update_cluster(cluster["id"], 4, second)
    (listed,) = client.list_clusters()
    assert (listed["state"], listed["name"], listed["health"]) == ("updating", "main", 75)
    client.abort_update(cluster["id"])
    assert client.show_cluster(cluster["id"])["state"] == "started"
    (listed,) = client.list_clusters(all_users=True)
    assert (listed["user"], listed["health"]) == ("root@example.com", 100)
    client.remove_cluster(cluster["id"])
    assert client.show_cluster(cluster["id"])["state"] == "stopped"


def test_an_administrator_removes_the_cluster_of_another_and_disables_its_service(
    client: OfficialClient, manager: Caller
) -> None:
    ann = Caller.of(manager.bloq)
    cluster = ann.create_cluster(ann.access_token())
    client.remove_cluster(cluster["id"], as_admin=True)
    client.disable_service(cluster["service"])
    assert cluster["service"] not in [service["id"] for service in client.services("cluster")]


def test_what_does_not_exist_is_404(client: OfficialClient) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for act in (
        lambda: client.show_node(f"node-{unknown}"),
        lambda: client.remove_node(f"node-{unknown}"),
        lambda: client.node_logs(f"node-{unknown}"),
        lambda: client.show_cluster(f"cluster-{unknown}"),
        lambda: client.remove_cluster(f"cluster-{unknown}"),
        lambda: client.create_node(f"service-{unknown}", "jwt"),
        lambda: client.remove_client_keys("0" * 40),
    ):
        with pytest.raises(ClientFailure) as caught:
            act()
        assert caught.value.status == 404


def test_an_expired_session_is_401_or_403(client: OfficialClient, manager: Caller) -> None:
    manager.bloq.advance_clock(12 * 3_600 + 1)
    with pytest.raises(ClientFailure) as caught:
        client.list_nodes()
    assert caught.value.status in (401, 403)


def test_the_old_javascript_sdk_gets_its_token_and_mints_anew_after_jwt_expired(caller: Caller) -> None:
    # It knows but one call, compares the body of a 401 with the bare text, and repeats its request once.
    def sdk_token() -> str:
        return caller.access_token()

    def sdk_request(token: str) -> requests.Response:
        headers = {"Accept": "application/json, text/plain, */*", "User-Agent": "axios/0.18.0"}
        return caller.nodes("GET", "/users/me/nodes", token, headers=headers)

    token = sdk_token()
    assert sdk_request(token).status_code == 200
    caller.bloq.advance_clock(3_601)
    expired = sdk_request(token)
    assert (expired.status_code, expired.text) == (401, "jwt expired")
    assert sdk_request(sdk_token()).status_code == 200
