"""Updates of clusters: what is asked for, what is waited for, and what a second try does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqUpdateNotDone,
    BloqWaitTimeout,
)
from airflow_provider_bloq.flow.effects import Send, Sleep
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.client import abort_update
from airflow_provider_bloq.operators.clusters import BloqAbortClusterUpdateOperator, BloqUpdateClusterOperator
from airflow_provider_bloq.polling.serialization import failed_event
from airflow_provider_bloq.testing.local import LocalBloq
from tests.operators.lives import Killed, Point, TaskLife


@pytest.fixture
def bloq(slow_service: LocalBloq) -> LocalBloq:
    return slow_service


@pytest.fixture
def services(bloq: LocalBloq) -> tuple[str, str]:
    """Two services of the same chain that a cluster can have."""
    offers = [offer for offer in BloqHook().clusters.services() if offer.chain == "eth"]
    return str(offers[0].id), str(offers[1].id)


@pytest.fixture
def cluster(bloq: LocalBloq, services: tuple[str, str]) -> dict[str, Any]:
    """A cluster of two members, as its create returned it."""
    cluster = BloqHook().clusters.create(services[0], capacity=2, alias="first")
    bloq.finish_provisioning(cluster.id)
    bloq.reset_counters()
    return {"id": cluster.id}


@pytest.fixture
def update(bloq: LocalBloq, cluster: dict[str, Any]) -> Callable[..., TaskLife]:
    """Make a task that updates the cluster; whatever it waits for is done after the first pause."""

    def made(**options: Any) -> TaskLife:
        arguments = {"task_id": "update", "cluster": cluster, **options}
        task = TaskLife(lambda: BloqUpdateClusterOperator(**arguments))
        task.time.in_pauses = bloq.finish_updates
        return task

    return made


def patches(bloq: LocalBloq) -> int:
    return bloq.counters().calls.get("nodes PATCH /users/me/clusters/{id}", 0)


def shown(cluster: dict[str, Any]) -> dict[str, Any]:
    return BloqHook().clusters.get(cluster["id"]).public()


def test_capacity_service_and_alias_are_brought_about(
    bloq: LocalBloq, cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    task = update(capacity=5, service_id=services[1], alias="second")
    result = task.attempt()
    assert (result["capacity"], result["service"], result["alias"]) == (5, services[1], "second")
    assert "updatingService" not in result
    assert result == shown(cluster)
    assert patches(bloq) == 1
    assert len(task.time.pauses) == 1


def test_what_is_as_wanted_is_not_asked_for(
    bloq: LocalBloq, services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    update(capacity=2, service_id=services[0], alias="first").attempt()
    assert patches(bloq) == 0
    assert "nodes POST /users/me/clusters/{id}/alias" not in bloq.counters().calls


def test_a_change_of_service_leaves_the_capacity(
    services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    update(capacity=4).attempt()
    assert update(service_id=services[1]).attempt()["capacity"] == 4


def test_an_alias_is_not_waited_for(
    bloq: LocalBloq, services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    update(service_id=services[1], wait_for_completion=False).attempt()
    task = update(alias="second")
    assert task.attempt()["alias"] == "second"
    assert task.time.pauses == []


@pytest.mark.parametrize(
    "point",
    [
        Point("before the request", Send, 3, counted_from_create=False),
        Point("after the request, before its answer", Send, 3, after=True, counted_from_create=False),
        Point("while waiting", Sleep, 1, counted_from_create=False),
    ],
    ids=lambda point: point.name,
)
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_second_try_goes_on_where_the_first_one_ended(
    bloq: LocalBloq,
    services: tuple[str, str],
    update: Callable[..., TaskLife],
    point: Point,
    deferrable: bool,
) -> None:
    task = update(service_id=services[1])
    with pytest.raises(Killed):
        task.attempt(point)
    if deferrable:
        task.make = update(service_id=services[1], deferrable=True).make
        with pytest.raises(TaskDeferred):
            task.attempt()
    else:
        assert task.attempt()["service"] == services[1]
    assert patches(bloq) == 1


def test_an_update_that_goes_away_is_told(
    cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    task = update(service_id=services[1])
    task.time.in_pauses = lambda: BloqHook().clusters.abort_update(cluster["id"])
    with pytest.raises(BloqUpdateNotDone, match="aborted") as gone:
        task.attempt()
    assert gone.value.cluster_id == cluster["id"]


def test_an_update_that_takes_too_long_is_told(
    cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    task = update(service_id=services[1], poll_interval=10.0, timeout=25.0)
    task.time.in_pauses = lambda: None
    with pytest.raises(BloqWaitTimeout, match=f"moving to {services[1]}"):
        task.attempt()
    assert task.time.pauses == [10.0, 10.0, 5.0]
    assert shown(cluster)["updatingService"] == services[1]


def test_a_cluster_that_was_deleted_is_not_updated(
    cluster: dict[str, Any], update: Callable[..., TaskLife]
) -> None:
    BloqHook().clusters.delete(cluster["id"])
    with pytest.raises(BloqUpdateNotDone, match="stopped"):
        update(capacity=2).attempt()


@pytest.mark.parametrize("options", [{}, {"capacity": 1}, {"capacity": 11}, {"capacity": "three"}], ids=str)
def test_a_wrong_order_is_refused_before_anything_is_sent(
    bloq: LocalBloq, update: Callable[..., TaskLife], options: dict[str, Any]
) -> None:
    with pytest.raises(BloqConfigurationError, match="^capacity:") as wrong:
        update(**options).attempt()
    assert isinstance(wrong.value, AirflowFailException)
    assert bloq.counters().calls == {}


async def test_deferred_it_returns_the_same(
    bloq: LocalBloq, cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    task = update(service_id=services[1], deferrable=True, poll_interval=0.1)
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    bloq.finish_updates(cluster["id"])
    (event,) = [event.payload async for event in deferral.value.trigger.run()]
    assert event["status"] == "met"
    assert task.resume(event, **(deferral.value.kwargs or {})) == shown(cluster)


@pytest.mark.parametrize("arrived", [False, True])
def test_bad_news_of_an_older_list_is_checked(
    bloq: LocalBloq,
    cluster: dict[str, Any],
    services: tuple[str, str],
    update: Callable[..., TaskLife],
    arrived: bool,
) -> None:
    task = update(service_id=services[1], deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    news = failed_event(BloqUpdateNotDone("it is over", cluster_id=cluster["id"]))
    if arrived:
        bloq.finish_updates(cluster["id"])
    with pytest.raises(TaskDeferred) as again:
        task.resume(news, **(deferral.value.kwargs or {}))
    assert again.value.kwargs == deferral.value.kwargs
    if not arrived:
        BloqHook().clusters.abort_update(cluster["id"])
        with pytest.raises(BloqUpdateNotDone):
            task.resume(news, **(deferral.value.kwargs or {}))


class Interrupted(BaseException):
    """What Airflow raises into a task to end it."""


@pytest.mark.parametrize("cancel_on_kill", [False, True])
@pytest.mark.parametrize("begun_by", ["itself", "another"])
def test_a_killed_task_aborts_only_what_it_has_begun(
    cluster: dict[str, Any],
    services: tuple[str, str],
    update: Callable[..., TaskLife],
    cancel_on_kill: bool,
    begun_by: str,
) -> None:
    if begun_by == "another":
        update(service_id=services[1], wait_for_completion=False).attempt()
    task = update(service_id=services[1], cancel_on_kill=cancel_on_kill)

    def kill() -> None:
        task.operator.on_kill()
        raise Interrupted

    task.time.in_pauses = kill
    with pytest.raises(Interrupted):
        task.attempt()
    aborted = cancel_on_kill and begun_by == "itself"
    assert ("updatingService" not in shown(cluster)) is aborted


@pytest.mark.parametrize("cancel_on_kill", [False, True])
@pytest.mark.parametrize("begun_by", ["itself", "another"])
async def test_a_trigger_aborts_only_what_its_task_has_begun(
    cluster: dict[str, Any],
    services: tuple[str, str],
    update: Callable[..., TaskLife],
    cancel_on_kill: bool,
    begun_by: str,
) -> None:
    if begun_by == "another":
        update(service_id=services[1], wait_for_completion=False).attempt()
    task = update(service_id=services[1], cancel_on_kill=cancel_on_kill, deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        task.attempt()
    await deferral.value.trigger.on_kill()
    aborted = cancel_on_kill and begun_by == "itself"
    assert ("updatingService" not in shown(cluster)) is aborted


def abort(cluster: dict[str, Any]) -> dict[str, Any]:
    return BloqAbortClusterUpdateOperator(task_id="abort", cluster=cluster).execute({})


def test_an_update_is_aborted_and_to_abort_none_is_no_error(
    cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    update(service_id=services[1], wait_for_completion=False).attempt()
    assert "updatingService" in shown(cluster)
    for _ in range(2):
        aborted = abort(cluster)
        assert aborted["service"] == services[0]
        assert "updatingService" not in aborted


def test_an_update_to_something_else_than_its_own_is_not_aborted(
    cluster: dict[str, Any], services: tuple[str, str], update: Callable[..., TaskLife]
) -> None:
    update(service_id=services[1], wait_for_completion=False).attempt()
    hook = BloqHook()
    # Somebody has asked for another service since then.
    left = hook.run(abort_update(hook.clusters, cluster["id"], only_to=services[0]))
    assert left.public() == shown(cluster)
    assert shown(cluster)["updatingService"] == services[1]


def test_to_abort_an_update_of_what_does_not_exist_is_an_error(bloq: LocalBloq) -> None:
    with pytest.raises(BloqNotFound):
        abort({"id": "cluster-0"})
