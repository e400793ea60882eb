"""Which node is meant, which certificate it may show, and what a node leaves in Airflow's database."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from airflow.sdk.serde import serialize

from airflow_provider_bloq.exceptions import BloqCertificateError, BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.models import Node
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from tests.hooks.conftest import Connect

CHAIN_ID = "0x7a69"


@pytest.fixture
def node(connected_chains: LocalBloq) -> Node:
    return BloqHook().nodes.create(connected_chains.service_id("eth"))


@pytest.mark.anvil
def test_what_the_create_operator_returns_is_all_that_a_call_needs(
    connected_chains: LocalBloq, node: Node
) -> None:
    created = {**node.public(), "tls_fingerprint": connected_chains.node_fingerprint(node.id)}
    rpc = BloqHook().rpc(json.loads(json.dumps(created)))
    assert rpc.call("eth_chainId") == CHAIN_ID
    assert rpc.batch(["eth_chainId", ["eth_getBalance", [f"0x{0:040x}", "latest"]]]) == [CHAIN_ID, "0x0"]


@pytest.mark.anvil
@pytest.mark.parametrize("spelling", ["upper", "colons", "list", "padded"])
def test_fingerprints_may_be_spelled_in_any_usual_way(
    connected_chains: LocalBloq, node: Node, spelling: str
) -> None:
    pin = connected_chains.node_fingerprint(node.id)
    spelled: Any = {
        "upper": pin.upper(),
        "colons": ":".join(pin[index : index + 2] for index in range(0, 64, 2)),
        "list": ["0" * 64, pin],
        "padded": f" {pin}\n",
    }[spelling]
    assert BloqHook().rpc(node.id, tls_fingerprint=spelled).call("eth_chainId") == CHAIN_ID


@pytest.mark.anvil
def test_fingerprints_of_the_connection_are_found(
    connected_chains: LocalBloq, node: Node, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(os.environ["AIRFLOW_CONN_BLOQ_DEFAULT"])
    pin = connected_chains.node_fingerprint(node.id)
    for fingerprints, works in (({node.id: [pin]}, True), ({node.id: ["0" * 64]}, False)):
        connection["extra"]["node_fingerprints"] = fingerprints
        monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
        rpc = BloqHook().rpc(node.id)
        if works:
            assert rpc.call("eth_chainId") == CHAIN_ID
        else:
            with pytest.raises(BloqCertificateError, match="not the pinned one"):
                rpc.call("eth_chainId")


@pytest.mark.parametrize("pin", ["", "abc", "None", "g" * 64, ["0" * 64, ""], [None], 7 * [0]])
def test_what_is_no_fingerprint_is_refused(keys: IssuedKeys, pin: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="not a SHA-256 fingerprint") as wrong:
        BloqHook().rpc("node-1", tls_fingerprint=pin)
    assert wrong.value.fields == ("tls_fingerprint",)


@pytest.mark.parametrize("node", [{}, {"id": None}, {"id": 7}, "", "  "])
def test_what_names_no_node_is_refused(keys: IssuedKeys, node: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="it has no id"):
        BloqHook().rpc(node)


def test_the_text_of_a_dict_is_told_from_an_id(keys: IssuedKeys) -> None:
    # What Jinja makes of "{{ ti.xcom_pull('create') }}".
    with pytest.raises(BloqConfigurationError, match=r"create.output") as wrong:
        BloqHook().rpc(str({"id": "node-1", "tls_fingerprint": "0" * 64}))
    assert wrong.value.fields == ("node",)


def test_nothing_is_sent_before_a_client_is_used(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    hook.rpc("node-1")
    hook.get_conn()
    for part in (hook.nodes, hook.clusters, hook.auth, hook.bearer):
        assert part is not None
    assert service.counters().calls == {}


@pytest.mark.parametrize("things", ["nodes", "clusters"])
def test_what_a_task_returns_by_mistake_holds_no_password(
    service: LocalBloq, keys: IssuedKeys, things: str
) -> None:
    # Airflow writes every field of a dataclass into its database.
    service_id = service.service_id("btc") if things == "nodes" else service.service_id("eth", kind="cluster")
    machine = getattr(BloqHook(), things).create(service_id, "basic")
    written = json.dumps(serialize(machine)) + json.dumps(serialize(machine.public())) + repr(machine)
    assert machine.id in written
    assert machine.auth.password.reveal() not in written
    assert machine.auth.user.reveal() not in written
