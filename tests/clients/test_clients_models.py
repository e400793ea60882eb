"""Nodes, clusters and offers as values: read tolerantly, and nothing secret comes out of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.nodes.models import Cluster, Deployment, Node, NodeAuth, Offer

pytestmark = pytest.mark.logic

SECRETS = (
    "the-user",
    "the-pass",
    "old-user",
    "old-pass",
    "in-instance",
    "in-vendor",
    "in-plan",
    "in-new-field",
)
#: Everything that Bloq has ever put into a node, and a field of tomorrow.
FULL = {
    "id": "node-1",
    "user": "user-1",
    "chain": "ETH",
    "network": "Mainnet",
    "state": "started",
    "ip": "192.0.2.7",
    "service": "service-1",
    "serviceData": {"software": "geth-1.8", "performance": "standard", "amiPrefix": "eth"},
    "auth": {"type": "Basic", "user": "the-user", "pass": "the-pass", "salt": "in-new-field"},
    "createdAt": "2026-11-24T05:00:00.000Z",
    "updatedAt": "2026-11-24T05:00:00.000Z",
    "ttl": None,
    "nodeUser": "old-user",
    "nodePass": "old-pass",
    "instance": {"id": "in-instance"},
    "vendor": {"key": "in-vendor"},
    "userPlanData": {"x": "in-plan"},
    "futureField": "in-new-field",
}


def dumps(machine: Deployment) -> dict[str, str]:
    """Give all ways in which a value leaves a task by accident."""
    return {
        "repr": repr(machine),
        "str": str(machine),
        "format": f"{machine}",
        "public": json.dumps(machine.public()),
        "asdict": repr(dataclasses.asdict(machine)),
        "asdict as json": json.dumps(dataclasses.asdict(machine)),
        "pickle": repr(pickle.dumps(machine)),
        "vars": repr([getattr(machine, one.name) for one in dataclasses.fields(machine)]),
    }


@pytest.mark.parametrize("kind", [Node, Cluster])
def test_no_way_out_shows_user_or_password(kind: type[Deployment]) -> None:
    machine = kind.from_json(FULL)
    shown = dumps(machine)
    assert {(way, secret) for way, text in shown.items() for secret in SECRETS if secret in text} == set()
    assert machine.auth is not None
    assert machine.auth.password is not None
    assert machine.auth.password.reveal() == "the-pass"


def test_public_gives_the_fields_as_the_api_names_them() -> None:
    public = Node.from_json(FULL).public()
    left_out = {"nodeUser", "nodePass", "instance", "vendor", "userPlanData", "futureField"}
    assert set(public) == set(FULL) - left_out
    assert public["auth"] == {"type": "basic"}
    assert public["serviceData"] == FULL["serviceData"]


def test_public_of_a_cluster_shows_of_its_owner_only_id_and_address() -> None:
    owner = {"id": "user-1", "email": "a@example.com", "hash": "in-vendor"}
    cluster = Cluster.from_json(
        {
            "id": "cluster-1",
            "user": owner,
            "domain": "c.example",
            "alias": None,
            "capacity": 3,
            "ip": "192.0.2.7",
        }
    )
    assert cluster.public() == {
        "id": "cluster-1",
        "user": {"id": "user-1", "email": "a@example.com"},
        "domain": "c.example",
        "alias": None,
        "capacity": 3,
    }


def test_public_can_be_changed_without_changing_the_node() -> None:
    node = Node.from_json(FULL)
    node.public()["serviceData"]["software"] = "mine"
    assert node.public()["serviceData"]["software"] == "geth-1.8"


def test_missing_and_strange_fields_are_no_error() -> None:
    bare = Node.from_json({"id": "node-1"})
    assert (bare.chain, bare.network, bare.state, bare.service, bare.auth, bare.address) == (
        "",
        "",
        "",
        None,
        None,
        None,
    )
    strange = Node.from_json(
        {"id": "node-1", "chain": 7, "state": None, "ip": ["x"], "auth": "basic", "createdAt": {}}
    )
    assert strange == dataclasses.replace(bare, shown=strange.shown)


def test_chains_are_compared_in_lower_case_and_states_as_they_are() -> None:
    node = Node.from_json(FULL)
    assert (node.chain, node.network, node.state) == ("eth", "mainnet", "started")
    assert node.auth == NodeAuth("basic", Secret("the-user"), Secret("the-pass"))


def test_a_node_can_be_copied_compared_and_put_into_a_set() -> None:
    node = Node.from_json(FULL)
    assert copy.deepcopy(node) == node
    assert len({node, Node.from_json(FULL)}) == 1


@pytest.mark.parametrize("fields", [None, [], "node-1", {}, {"id": None}, {"id": ["x"]}])
def test_an_object_without_an_id_is_refused(fields: Any) -> None:
    with pytest.raises(BloqUnavailable, match="a node without an id"):
        Node.from_json(fields)


@pytest.mark.parametrize(
    ("user", "password", "header"),
    [
        ("u", "p", "Basic dTpw"),
        ("ü", "ö:x", "Basic w7w6w7Y6eA=="),
        (None, None, "Basic Og=="),
    ],
)
def test_user_and_password_become_a_header(user: str | None, password: str | None, header: str) -> None:
    auth = NodeAuth("basic", Secret(user) if user else None, Secret(password) if password else None)
    assert auth.basic_header() == header


def test_offers_are_read_tolerantly() -> None:
    assert Offer.from_json({"chain": "ETH", "software": "geth"}) == Offer(None, "eth", "", "geth")
    assert Offer.from_json({"id": "s", "metadata": "x", "vendor": None, "disabled": "no"}) == Offer(
        "s", "", "", None
    )
    assert Offer.from_json(None) == Offer(None, "", "", None)
