"""Clusters: their state, their healthy members, and whether an update has arrived."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqNotStarted,
    BloqUpdateNotDone,
)
from airflow_provider_bloq.nodes.conditions import ClusterHealth, ClusterState, ClusterUpdated
from airflow_provider_bloq.nodes.models import Cluster
from airflow_provider_bloq.polling.conditions import Condition, Failed, Met, Verdict, Waiting
from airflow_provider_bloq.testing.local import LocalBloq
from tests.clients.both_ways import BothWays
from tests.conditions.looking import AccountReader, Looking, failure_of, reason_of, result_of

ID = "cluster-1"


def listed(**fields: Any) -> dict[str, Cluster]:
    told = {"id": ID, "state": "started", "service": "old", "capacity": 3, "healthCount": 3} | fields
    return {ID: Cluster.from_json({name: value for name, value in told.items() if value is not None})}


def kind_of(verdict: Verdict) -> str:
    """Return what it is, or the class of the error."""
    return type(verdict.error if isinstance(verdict, Failed) else verdict).__name__


@pytest.mark.parametrize(
    ("state", "wanted", "kind"),
    [
        ("started", "started", "Met"),
        ("starting", "started", "Waiting"),
        ("stopped", "started", "BloqNotStarted"),
        ("stopped", "stopped", "Met"),
        ("started", "stopped", "Waiting"),
        ("stopped", "odd", "BloqNotStarted"),
    ],
)
def test_the_state(state: str, wanted: str, kind: str) -> None:
    assert kind_of(ClusterState(ID, wanted).judge(listed(state=state), None)) == kind


@pytest.mark.parametrize(
    "condition", [ClusterState(ID), ClusterHealth(ID, 1), ClusterUpdated(ID)], ids=lambda it: it.kind
)
def test_what_is_gone_will_not_come(condition: Condition) -> None:
    assert isinstance(failure_of(condition.judge({}, None)), BloqNotFound)
    stopped = failure_of(condition.judge(listed(state="stopped"), None))
    assert isinstance(stopped, BloqNotStarted)
    assert stopped.node_id == ID


@pytest.mark.parametrize("at_least", [1, 3])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_healthy_members(at_least: int, off: int) -> None:
    verdict = ClusterHealth(ID, at_least).judge(listed(healthCount=at_least + off), None)
    if off < 0:
        assert f"{at_least + off} are healthy" in reason_of(verdict)
    else:
        assert result_of(verdict)["healthCount"] == at_least + off


def test_members_count_only_in_a_cluster_that_is_started_and_tells_of_them() -> None:
    assert "'starting'" in reason_of(ClusterHealth(ID, 1).judge(listed(state="starting"), None))
    assert "healthy count unknown" in reason_of(ClusterHealth(ID, 1).judge(listed(healthCount=None), None))


MOVING = {"moving_to": "new"}


@pytest.mark.parametrize(
    ("wanted", "cluster", "memory", "kind"),
    [
        # Asked for a service.
        ({"service_id": "new"}, {"updatingService": "new"}, None, "Waiting"),
        ({"service_id": "new"}, {"service": "new"}, MOVING, "Met"),
        ({"service_id": "new"}, {"service": "new"}, None, "Met"),
        ({"service_id": "new"}, {}, MOVING, "BloqUpdateNotDone"),
        ({"service_id": "new"}, {}, None, "Waiting"),
        ({"service_id": "new"}, {}, {"unseen": True}, "BloqUpdateNotDone"),
        ({"service_id": "new"}, {"updatingService": "third"}, MOVING, "Waiting"),
        # Asked for a capacity.
        ({"capacity": 3}, {}, None, "Met"),
        ({"capacity": 4}, {}, None, "Waiting"),
        ({"capacity": 4}, {}, {"unseen": True}, "Waiting"),
        ({"capacity": 4}, {"updatingService": "new", "capacity": 4}, None, "Waiting"),
        ({"capacity": 4}, {"service": "new"}, MOVING, "BloqUpdateNotDone"),
        # Asked for both.
        ({"service_id": "new", "capacity": 4}, {"service": "new", "capacity": 4}, MOVING, "Met"),
        ({"service_id": "new", "capacity": 4}, {"service": "new"}, MOVING, "BloqUpdateNotDone"),
        ({"service_id": "new", "capacity": 4}, {"service": "new"}, {"unseen": True}, "Waiting"),
        ({"service_id": "new", "capacity": 4}, {"capacity": 4}, MOVING, "BloqUpdateNotDone"),
        # Asked for nothing by name.
        ({}, {}, None, "Met"),
        ({}, {"updatingService": "new"}, None, "Waiting"),
        ({}, {"service": "new"}, MOVING, "Met"),
        ({}, {}, MOVING, "BloqUpdateNotDone"),
    ],
)
def test_an_update(
    wanted: dict[str, Any], cluster: dict[str, Any], memory: dict[str, Any] | None, kind: str
) -> None:
    verdict = ClusterUpdated(ID, **wanted).judge(listed(**cluster), memory)
    assert kind_of(verdict) == kind
    if isinstance(verdict, Waiting) and "updatingService" in cluster:
        assert verdict.memory == {"moving_to": cluster["updatingService"]}
    if isinstance(verdict, Failed):
        assert isinstance(verdict.error, BloqUpdateNotDone)
        assert verdict.error.cluster_id == ID


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (partial(ClusterHealth, ID, 0), "at_least"),
        (partial(ClusterHealth, ID, -1), "at_least"),
        (partial(ClusterUpdated, ID, capacity=1), "capacity"),
        (partial(ClusterUpdated, ID, capacity=11), "capacity"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Condition], field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        make()
    assert wrong.value.fields == (field,)


@pytest.fixture
def services(bloq: BothWays) -> tuple[str, str]:
    """Two services of one chain."""
    first, second, *_ = [offer.id for offer in bloq.clusters.services() if offer.chain == "eth"]
    return first, second


def test_an_update_of_a_real_cluster_that_is_done(
    bloq_service: LocalBloq, bloq: BothWays, services: tuple[str, str]
) -> None:
    cluster = bloq.clusters.create(services[0], "basic", capacity=2)
    healthy, updated = ClusterHealth(cluster.id, 3), ClusterUpdated(cluster.id, services[1], 3)
    health, update = Looking(bloq, healthy), Looking(bloq, updated)
    assert "2 are healthy" in reason_of(health.look())
    bloq.clusters.update(cluster.id, capacity=3, service_id=services[1])
    assert "moving" in reason_of(update.look())
    bloq_service.finish_updates(cluster.id)
    assert result_of(health.look())["healthCount"] == 3
    result = result_of(update.look())
    assert (result["service"], result["capacity"]) == (services[1], 3)
    assert result["auth"] == {"type": "basic"}


def test_an_update_of_a_real_cluster_that_is_aborted(bloq: BothWays, services: tuple[str, str]) -> None:
    cluster = bloq.clusters.create(services[0])
    looking = Looking(bloq, ClusterUpdated(cluster.id, services[1]))
    bloq.clusters.update(cluster.id, capacity=2, service_id=services[1])
    assert "moving" in reason_of(looking.look())
    bloq.clusters.abort_update(cluster.id)
    assert isinstance(failure_of(looking.look()), BloqUpdateNotDone)


def test_one_list_serves_all_that_wait_for_clusters(bloq_service: LocalBloq, bloq: BothWays) -> None:
    clusters = [bloq.clusters.create(bloq_service.service_id("eth", kind="cluster")) for _ in range(3)]
    conditions: list[Condition] = [
        *(ClusterState(cluster.id) for cluster in clusters),
        ClusterHealth(clusters[0].id, 1),
        ClusterUpdated(clusters[0].id),
    ]
    assert len({condition.target for condition in conditions}) == 1
    bloq_service.reset_counters()
    seen = bloq.run(conditions[0].target.poll_with(AccountReader(bloq))(frozenset()))
    assert all(isinstance(condition.judge(seen, None), Met) for condition in conditions)
    assert bloq_service.counters().calls["nodes GET /users/me/clusters"] == 1
