"""A sensor in its three modes: when it looks, how it ends, and what it remembers in between."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_bloq.exceptions import BloqForeignEvent, BloqNotFound, BloqNotStarted, BloqUnavailable
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.conditions import NodeList
from airflow_provider_bloq.polling.conditions import Condition, Memory, Met, Target, Verdict, Waiting
from airflow_provider_bloq.polling.serialization import failed_event, met_event, timeout_event
from airflow_provider_bloq.sensors._base import TRIGGER_GRACE, BloqSensor
from airflow_provider_bloq.sensors.nodes import BloqNodeSensor
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from tests.sensors.conftest import Store, context_of
from tests.support.looks import looks, once_looked

MODES: list[dict[str, Any]] = [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}]
EVERY_MODE = pytest.mark.parametrize("mode", MODES, ids=["poke", "reschedule", "deferrable"])


def sensor_for(node: Any, **arguments: Any) -> BloqNodeSensor:
    return BloqNodeSensor(task_id="wait", node=node, **{"poke_interval": 0, **arguments})


def fault(kind: FaultKind, **fields: Any) -> Fault:
    # The Retry-After, longer than the client itself waits, has each request be one look.
    return Fault(kind=kind, service="nodes", path="/users/me/nodes", **{"retry_after": 3600.0, **fields})


def deferral_of(sensor: BloqSensor, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context)
    return deferral.value


def resumed(sensor: BloqSensor, event: Any) -> Any:
    """Go on as Airflow does when the trigger has given its event."""
    context: Any = context_of()
    return sensor.resume_execution("execute_complete", {"event": event}, context)


@EVERY_MODE
def test_what_holds_already_is_found_at_the_first_look(
    provisioning: LocalBloq, node_id: str, mode: dict[str, Any]
) -> None:
    provisioning.finish_provisioning(node_id)
    node = sensor_for(node_id, **mode).execute(context_of(Store()))
    assert (node["id"], node["state"], node["auth"]) == (node_id, "started", {"type": "jwt"})
    assert looks(provisioning) == 1


def test_in_poke_mode_it_looks_until_the_condition_holds(provisioning: LocalBloq, node_id: str) -> None:
    started = once_looked(provisioning, 3, lambda: provisioning.finish_provisioning(node_id))
    node = sensor_for({"id": node_id}).execute(context_of())
    started.result()
    assert node["state"] == "started"
    assert looks(provisioning) >= 3


def test_in_reschedule_mode_it_looks_once_in_each_process(
    provisioning: LocalBloq, node_id: str, store: Store
) -> None:
    for number in range(1, 4):
        with pytest.raises(AirflowRescheduleException):
            sensor_for(node_id, mode="reschedule").execute(context_of(store))
        assert looks(provisioning) == number
    provisioning.finish_provisioning(node_id)
    assert sensor_for(node_id, mode="reschedule").execute(context_of(store))["state"] == "started"
    assert store.values == {}


def test_the_next_process_begins_when_airflow_knows_of_the_end_of_the_one_before() -> None:
    for arguments, seconds in [
        ({"mode": "reschedule", "poke_interval": 1}, 10),
        ({"mode": "reschedule", "poke_interval": timedelta(seconds=60)}, 60),
        ({"mode": "poke", "poke_interval": 1}, 1),
        ({"mode": "reschedule", "deferrable": True, "poke_interval": 1}, 1),
    ]:
        assert sensor_for("node-1", **arguments).poke_interval == seconds


def test_deferred_it_goes_on_in_the_triggerer(provisioning: LocalBloq, node_id: str) -> None:
    sensor = sensor_for(node_id, deferrable=True, poke_interval=0.1)
    deferral = deferral_of(sensor, context_of())
    assert looks(provisioning) == 1
    provisioning.finish_provisioning(node_id)

    async def events() -> list[Any]:
        return [event.payload async for event in deferral.trigger.run()]

    (event,) = asyncio.run(events())
    assert deferral.method_name == "execute_complete"
    assert resumed(sensor, json.loads(json.dumps(event)))["state"] == "started"


@EVERY_MODE
def test_what_cannot_come_any_more_fails_it(provisioning: LocalBloq, mode: dict[str, Any]) -> None:
    with pytest.raises(BloqNotFound):
        sensor_for("node-that-nobody-made", **mode).execute(context_of(Store()))


@EVERY_MODE
def test_what_no_retry_can_help_fails_it_for_good(node_id: str, mode: dict[str, Any]) -> None:
    BloqHook().nodes.delete(node_id)
    with pytest.raises(BloqNotStarted) as failure:
        sensor_for(node_id, **mode).execute(context_of(Store()))
    assert isinstance(failure.value, AirflowFailException)


@EVERY_MODE
def test_it_is_skipped_instead_if_it_is_told_so(provisioning: LocalBloq, mode: dict[str, Any]) -> None:
    for skip in ["soft_fail", "never_fail"]:
        with pytest.raises(AirflowSkipException):
            sensor_for("node-that-nobody-made", **mode, **{skip: True}).execute(context_of(Store()))


@EVERY_MODE
def test_it_is_skipped_though_it_would_fail_for_good(node_id: str, mode: dict[str, Any]) -> None:
    for skip in ["soft_fail", "never_fail"]:
        BloqHook().nodes.delete(node_id)
        with pytest.raises(AirflowSkipException):
            sensor_for(node_id, **mode, **{skip: True}).execute(context_of(Store()))


@EVERY_MODE
def test_what_names_nothing_is_skipped_too(mode: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException):
        sensor_for("", soft_fail=True, **mode).execute(context_of(Store()))


@EVERY_MODE
def test_an_outage_is_no_soft_failure(provisioning: LocalBloq, node_id: str, mode: dict[str, Any]) -> None:
    for skip, error in [("soft_fail", BloqUnavailable), ("never_fail", AirflowSkipException)]:
        provisioning.add_fault(fault(FaultKind.STATUS, times=None))
        sensor = sensor_for(node_id, max_consecutive_failures=0, **mode, **{skip: True})
        with pytest.raises(error):
            sensor.execute(context_of(Store()))


def test_its_time_is_limited(node_id: str, store: Store) -> None:
    for mode in ["poke", "reschedule"]:
        for soft, error in [(False, AirflowSensorTimeout), (True, AirflowSkipException)]:
            with pytest.raises(error):
                sensor_for(node_id, mode=mode, timeout=0, soft_fail=soft).execute(context_of(store))
            assert store.values == {}


def test_it_is_not_deferred_when_its_time_is_up_already(node_id: str) -> None:
    for soft, error in [(False, AirflowSensorTimeout), (True, AirflowSkipException)]:
        with pytest.raises(error):
            sensor_for(node_id, deferrable=True, timeout=0, soft_fail=soft).execute(context_of())


@pytest.mark.parametrize(("borne", "ends_well"), [(2, True), (1, False)])
def test_in_poke_mode_it_bears_so_many_failed_looks_in_a_row(
    provisioning: LocalBloq, node_id: str, borne: int, *, ends_well: bool
) -> None:
    provisioning.finish_provisioning(node_id)
    provisioning.add_fault(fault(FaultKind.STATUS, times=2))
    sensor = sensor_for(node_id, max_consecutive_failures=borne)
    if ends_well:
        assert sensor.execute(context_of())["id"] == node_id
    else:
        with pytest.raises(BloqUnavailable):
            sensor.execute(context_of())
    assert looks(provisioning) == borne + 1


@pytest.mark.parametrize(("borne", "error"), [(2, AirflowRescheduleException), (1, BloqUnavailable)])
def test_in_reschedule_mode_they_are_counted_across_processes(
    provisioning: LocalBloq, node_id: str, store: Store, borne: int, error: type[Exception]
) -> None:
    provisioning.add_fault(fault(FaultKind.STATUS, times=None))
    arguments = {"mode": "reschedule", "max_consecutive_failures": borne}
    with pytest.raises(AirflowRescheduleException):
        sensor_for(node_id, **arguments).execute(context_of(store))
    with pytest.raises(error):
        sensor_for(node_id, **arguments).execute(context_of(store))
    assert bool(store.values) is (error is AirflowRescheduleException)


def test_deferred_it_bears_a_failed_first_look(provisioning: LocalBloq, node_id: str) -> None:
    provisioning.add_fault(fault(FaultKind.STATUS, times=1))
    deferral_of(sensor_for(node_id, deferrable=True), context_of())


def test_a_service_that_asks_for_it_is_left_alone_between_processes_too(
    provisioning: LocalBloq, node_id: str, store: Store
) -> None:
    provisioning.finish_provisioning(node_id)
    provisioning.add_fault(fault(FaultKind.RATE_LIMIT))
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            sensor_for(node_id, mode="reschedule").execute(context_of(store))
    assert looks(provisioning) == 1


def test_it_is_left_alone_by_the_trigger_too(provisioning: LocalBloq, node_id: str) -> None:
    provisioning.add_fault(fault(FaultKind.RATE_LIMIT, retry_after=300.0))
    before = time.time()
    deferral = deferral_of(sensor_for(node_id, deferrable=True), context_of())
    _, arguments = deferral.trigger.serialize()
    assert before + 300.0 <= arguments["not_before"] <= time.time() + 330.0


def test_a_trigger_is_told_of_no_pause_where_there_is_none(node_id: str) -> None:
    _, arguments = deferral_of(sensor_for(node_id, deferrable=True), context_of()).trigger.serialize()
    assert "not_before" not in arguments


@pytest.mark.parametrize("mode", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
def test_a_pause_that_is_longer_than_its_time_is_not_waited_for(
    provisioning: LocalBloq, node_id: str, mode: dict[str, Any]
) -> None:
    # The client itself would wait that long, and try again.
    provisioning.add_fault(fault(FaultKind.RATE_LIMIT, retry_after=30.0))
    with pytest.raises((AirflowSensorTimeout, TaskDeferred)):
        sensor_for(node_id, timeout=0.5, poke_interval=0.1, **mode).execute(context_of())
    assert looks(provisioning) == 1


@dataclass(frozen=True)
class Counted(Condition):
    """Holds at the look of that number."""

    kind: ClassVar[str] = "counted"

    wanted: int

    @property
    def target(self) -> Target:
        return NodeList()

    def judge(self, seen: Any, memory: Memory | None) -> Verdict:
        count = (memory or {"looks": 0})["looks"] + 1
        return Met(count) if count >= self.wanted else Waiting(f"look {count}", {"looks": count})


class CountingSensor(BloqSensor):
    """Waits for the look of a number."""

    def __init__(self, *, wanted: int, **arguments: Any) -> None:
        super().__init__(task_id="count", poke_interval=0, **arguments)
        self.wanted = wanted

    def condition(self) -> Condition:
        return Counted(self.wanted)


def test_in_poke_mode_each_look_knows_of_those_before(provisioning: LocalBloq) -> None:
    assert CountingSensor(wanted=4).execute(context_of()) == 4


def test_in_reschedule_mode_too_where_airflow_has_a_store(provisioning: LocalBloq, store: Store) -> None:
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            CountingSensor(wanted=4, mode="reschedule").execute(context_of(store))
    assert CountingSensor(wanted=4, mode="reschedule").execute(context_of(store)) == 4
    assert store.values == {}


def test_without_a_store_each_process_begins_anew(provisioning: LocalBloq) -> None:
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            CountingSensor(wanted=2, mode="reschedule").execute(context_of())


@pytest.mark.parametrize(("wanted", "try_number"), [(3, 2), (9, 1)], ids=["another try", "another condition"])
def test_what_was_remembered_for_something_else_is_not_believed(
    provisioning: LocalBloq, store: Store, wanted: int, try_number: int
) -> None:
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            CountingSensor(wanted=3, mode="reschedule").execute(context_of(store))
    with pytest.raises(AirflowRescheduleException):
        CountingSensor(wanted=wanted, mode="reschedule").execute(context_of(store, try_number))
    assert store.values["bloq_sensor"]["noted"]["memory"] == {"looks": 1}


def test_the_trigger_is_told_what_the_first_look_must_have_remembered(provisioning: LocalBloq) -> None:
    deferral = deferral_of(CountingSensor(wanted=4, deferrable=True), context_of())
    _, arguments = deferral.trigger.serialize()
    assert arguments["memory"] == {"looks": 1}
    assert arguments["condition"] == {"kind": "counted", "wanted": 4}


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"timeout": 500}, 500.0),
        ({"timeout": 500, "execution_timeout": timedelta(seconds=300)}, 300.0),
        ({"timeout": 200, "execution_timeout": timedelta(seconds=300)}, 200.0),
    ],
)
def test_the_trigger_ends_at_the_earlier_limit_and_airflow_a_little_later(
    node_id: str, limits: dict[str, Any], seconds: float
) -> None:
    before = time.time()
    sensor = sensor_for(node_id, deferrable=True, poke_interval=7, max_consecutive_failures=3, **limits)
    deferral = deferral_of(sensor, context_of())
    after = time.time()
    _, arguments = deferral.trigger.serialize()
    assert before + seconds <= arguments["deadline"] <= after + seconds
    assert (arguments["poll_interval"], arguments["max_consecutive_failures"]) == (7, 3)
    assert isinstance(deferral.timeout, timedelta)
    ends = deferral.timeout.total_seconds() - TRIGGER_GRACE
    assert arguments["deadline"] - after <= ends <= arguments["deadline"] - before


def test_an_event_of_another_version_is_refused() -> None:
    for event in [None, {"status": "done"}]:
        with pytest.raises(BloqForeignEvent):
            resumed(sensor_for("node-1", deferrable=True), event)


def test_the_deadline_ends_it_as_the_time_limit_of_a_sensor() -> None:
    for arguments, error in [
        ({}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
        ({"never_fail": True}, AirflowSkipException),
    ]:
        with pytest.raises(error):
            resumed(sensor_for("node-1", deferrable=True, **arguments), timeout_event("node-1 is 'starting'"))


def test_a_trigger_that_airflow_had_to_end_is_the_same_to_it() -> None:
    context: Any = context_of()
    with pytest.raises(AirflowSensorTimeout):
        sensor_for("node-1", deferrable=True).resume_execution(
            "__fail__", {"error": "Trigger timeout"}, context
        )


def test_deferred_it_fails_as_in_the_other_modes() -> None:
    for failure, arguments, error in [
        (BloqNotFound("gone"), {}, BloqNotFound),
        (BloqNotFound("gone"), {"soft_fail": True}, AirflowSkipException),
        (BloqNotStarted("stopped", node_id="node-1"), {}, AirflowFailException),
        (BloqNotStarted("stopped", node_id="node-1"), {"soft_fail": True}, AirflowSkipException),
        (BloqUnavailable("away"), {}, BloqUnavailable),
        (BloqUnavailable("away"), {"soft_fail": True}, BloqUnavailable),
        (BloqUnavailable("away"), {"never_fail": True}, AirflowSkipException),
    ]:
        with pytest.raises(error):
            resumed(sensor_for("node-1", deferrable=True, **arguments), failed_event(failure))


def test_the_result_of_the_trigger_is_its_own() -> None:
    assert resumed(sensor_for("node-1", deferrable=True), met_event({"id": "node-1"})) == {"id": "node-1"}


def test_airflow_may_be_configured_to_defer_whatever_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for configured, deferrable in [("True", True), ("False", False)]:
        monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", configured)
        assert sensor_for("node-1").deferrable is deferrable
        assert sensor_for("node-1", deferrable=not deferrable).deferrable is not deferrable


def test_a_wrong_setting_fails_it_before_anything_is_sent(
    provisioning: LocalBloq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", '{"conn_type": "bloq", "extra": {"timeout": -1}}')
    with pytest.raises(AirflowFailException, match="timeout"):
        sensor_for("node-1").execute(context_of())
    assert provisioning.counters().calls == {}
