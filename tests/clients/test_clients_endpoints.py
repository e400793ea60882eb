"""Every endpoint of nodes and clusters, against the real service."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, OpenClients


def cluster_of(service: LocalBloq, bloq: BothWays, **options: Any) -> Any:
    return bloq.clusters.create(service.service_id("eth", kind="cluster"), **options)


def test_chains_of_nodes_and_of_clusters(bloq: BothWays) -> None:
    nodes = {(offer.chain, offer.network, offer.software) for offer in bloq.nodes.chains()}
    clusters = {(offer.chain, offer.network) for offer in bloq.clusters.chains()}
    assert ("eth", "mainnet", "geth-1.8") in nodes
    assert ("btc", "testnet", "core-0.17") in nodes
    assert ("polygon", "mainnet") in clusters


def test_services_tell_what_can_be_created_and_where(bloq: BothWays) -> None:
    for things in (bloq.nodes, bloq.clusters):
        eth = [offer for offer in things.services() if offer.chain == "eth"]
        assert {offer.region for offer in eth} == {"us-east-1", "us-east-2"}
        assert all(offer.id and offer.performance == "standard" and not offer.disabled for offer in eth)


def test_a_service_off_the_market_is_marked(open_clients: OpenClients) -> None:
    with LocalBloq(LocalBloqOptions(upstreams={})) as service:
        bloq = open_clients(service)
        off = service.service_id("btc")
        service.disable_service(off)
        assert [offer.id for offer in bloq.nodes.services() if offer.disabled] == [off]
        with pytest.raises(BloqNotFound, match="disabled"):
            bloq.nodes.create(off)


@pytest.mark.parametrize("status", [200, 201])
def test_both_success_statuses_of_a_create_are_one(open_clients: OpenClients, status: Any) -> None:
    with LocalBloq(LocalBloqOptions(upstreams={}, create_status=status)) as service:
        bloq = open_clients(service)
        assert bloq.nodes.create(service.service_id("btc")).chain == "btc"


def test_the_log_of_a_node_is_cut_to_the_lines_asked_for(service: LocalBloq, bloq: BothWays) -> None:
    node = bloq.nodes.create(service.service_id("btc"))
    assert bloq.nodes.logs(node.id)[-1] == "started"
    assert bloq.nodes.logs(node.id, lines=1) == ["started"]
    with pytest.raises(BloqNotFound):
        bloq.nodes.logs("node-0")


def test_a_cluster_has_its_capacity_and_alias(service: LocalBloq, bloq: BothWays) -> None:
    made = cluster_of(service, bloq, capacity=3, alias="main")
    assert (made.public()["capacity"], made.public()["alias"]) == (3, "main")
    assert cluster_of(service, bloq).public()["capacity"] == 2


def test_a_cluster_changes_its_capacity_and_alias(service: LocalBloq, bloq: BothWays) -> None:
    made = cluster_of(service, bloq)
    assert bloq.clusters.update(made.id, capacity=5) is None
    assert bloq.clusters.set_alias(made.id, "other") is None
    shown = bloq.clusters.get(made.id).public()
    assert (shown["capacity"], shown["alias"]) == (5, "other")


def test_a_cluster_moves_to_another_service_and_can_be_stopped_from_it(
    service: LocalBloq, bloq: BothWays
) -> None:
    made = cluster_of(service, bloq)
    other = next(
        offer.id for offer in bloq.clusters.services() if offer.chain == "eth" and offer.id != made.service
    )
    bloq.clusters.update(made.id, capacity=2, service_id=other)
    assert bloq.clusters.get(made.id).public()["updatingService"] == other
    assert bloq.clusters.abort_update(made.id) is None
    assert "updatingService" not in bloq.clusters.get(made.id).public()
    bloq.clusters.update(made.id, capacity=2, service_id=other)
    service.finish_updates(made.id)
    assert bloq.clusters.get(made.id).service == other
    with pytest.raises(BloqNotFound, match="NoUpdateRunning"):
        bloq.clusters.abort_update(made.id)


@pytest.mark.parametrize("auth_type", ["basic", "jwt", "none"])
def test_clusters_know_three_kinds_of_callers(service: LocalBloq, bloq: BothWays, auth_type: str) -> None:
    assert cluster_of(service, bloq, auth_type=auth_type).auth.type == auth_type


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda bloq: bloq.nodes.create("s", "none"), "auth_type"),
        (lambda bloq: bloq.nodes.create("s", None), "auth_type"),
        (lambda bloq: bloq.nodes.logs("n", lines=0), "lines"),
        (lambda bloq: bloq.nodes.logs("n", lines="10"), "lines"),
        (lambda bloq: bloq.clusters.create("s", "oauth"), "auth_type"),
        (lambda bloq: bloq.clusters.create("s", capacity=1), "capacity"),
        (lambda bloq: bloq.clusters.create("s", capacity=11), "capacity"),
        (lambda bloq: bloq.clusters.create("s", capacity=True), "capacity"),
        (lambda bloq: bloq.clusters.update("c", capacity=2.5), "capacity"),
        (lambda bloq: bloq.clusters.set_alias("", "x"), "id"),
        (lambda bloq: bloq.clusters.set_alias("c", {1, 2}), "body"),
        (lambda bloq: bloq.clusters.set_alias("c", float("nan")), "body"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_sent(
    service: LocalBloq, bloq: BothWays, call: Any, field: str
) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        call(bloq)
    assert wrong.value.fields == (field,)
    assert service.counters().calls == {}


@pytest.mark.parametrize(
    "read",
    [lambda bloq, made: bloq.nodes.get(made.id), lambda bloq, made: bloq.nodes.list()],
    ids=["get", "list"],
)
def test_passwords_are_masked_before_they_are_handed_out(
    service: LocalBloq, account: ClientKeys, open_clients: OpenClients, bloq: BothWays, read: Any
) -> None:
    made = bloq.nodes.create(service.service_id("btc"), "basic")
    assert made.auth.password.reveal() in bloq.masked

    # Another process has to mask it for itself.
    other = open_clients(service, keys=account)
    read(other, made)
    assert made.auth.password.reveal() in other.masked
