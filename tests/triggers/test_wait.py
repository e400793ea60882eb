"""The waiting trigger against the local service: how it ends, its deadline, and what many of them cost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.connection import reading
from airflow_provider_bloq.exceptions import BloqNotFound, BloqUnavailable, BloqWaitTimeout
from airflow_provider_bloq.hooks._failures import BloqClientKeysRejectedFailure, BloqConfigurationFailure
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.nodes.conditions import NodeState
from airflow_provider_bloq.polling import poll
from airflow_provider_bloq.polling.serialization import condition_to_json, result_of
from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack
from airflow_provider_bloq.triggers.wait import BloqWaitTrigger
from tests.hooks.conftest import Connect, new_keys
from tests.support.looks import LISTS, looks
from tests.support.virtual_time import in_virtual_time
from tests.triggers.waits import event_of, until_looked, until_seen, waiting_for


async def test_it_ends_with_the_result_when_the_condition_holds(
    provisioning: LocalBloq, node_id: str
) -> None:
    waiting = asyncio.create_task(event_of(waiting_for(node_id)))
    await until_looked(provisioning, 3)
    assert not waiting.done()
    provisioning.finish_provisioning(node_id)
    node = result_of(await waiting)
    assert (node["id"], node["state"]) == (node_id, "started")
    assert shared_polls().is_idle


async def test_it_ends_with_the_error_when_the_condition_cannot_hold_any_more(
    provisioning: LocalBloq,
) -> None:
    event = await event_of(waiting_for("node-that-nobody-made"))
    assert (event["status"], event["error"]["type"]) == ("failed", "BloqNotFound")
    with pytest.raises(BloqNotFound, match="node-that-nobody-made"):
        result_of(event)


@pytest.mark.parametrize(("borne", "status"), [(2, "met"), (1, "failed"), (0, "failed")])
async def test_it_bears_as_many_failed_looks_in_a_row_as_it_is_told_to(
    provisioning: LocalBloq, node_id: str, borne: int, status: str
) -> None:
    provisioning.finish_provisioning(node_id)
    # The Retry-After, longer than the client itself waits, has each request be one look.
    provisioning.add_fault(
        Fault(kind=FaultKind.STATUS, service="nodes", path="/users/me/nodes", times=2, retry_after=3600)
    )
    event = await event_of(waiting_for(node_id, max_consecutive_failures=borne))
    assert event["status"] == status
    if status == "failed":
        with pytest.raises(BloqUnavailable) as failure:
            result_of(event)
        assert failure.value.status == 503
    assert looks(provisioning) == borne + 1


async def test_refused_keys_end_the_wait_of_all_at_once(provisioning: LocalBloq, connect: Connect) -> None:
    keys = new_keys(provisioning)
    connect(provisioning.accounts_url, provisioning.nodes_url, keys)
    node_id = BloqHook().nodes.create(provisioning.service_id("btc")).id
    provisioning.reset_counters()
    tasks = [asyncio.create_task(event_of(waiting_for(node_id))) for _ in range(30)]
    await until_looked(provisioning, 2)
    provisioning.delete_client_keys(keys.client_id)
    provisioning.revoke_access_tokens(keys.client_id)
    for event in await asyncio.gather(*tasks):
        with pytest.raises(BloqClientKeysRejectedFailure):
            result_of(event)
    assert shared_polls().is_idle


async def test_a_condition_of_another_version_ends_it_at_once(provisioning: LocalBloq) -> None:
    event = await event_of(BloqWaitTrigger("bloq_default", {"kind": "moon_is_full"}))
    with pytest.raises(BloqConfigurationFailure, match="moon_is_full"):
        result_of(event)
    assert provisioning.counters().calls == {}


async def test_a_missing_connection_may_be_airflows_and_is_not_believed_at_once() -> None:
    event = await event_of(
        BloqWaitTrigger("bloq_missing", condition_to_json(NodeState("node-1")), max_consecutive_failures=1)
    )
    with pytest.raises(BloqUnavailable, match="bloq_missing"):
        result_of(event)


async def test_a_cancelled_one_leaves_the_others_alone_and_nothing_behind(
    provisioning: LocalBloq, node_id: str
) -> None:
    tasks = [asyncio.create_task(event_of(waiting_for(node_id))) for _ in range(5)]
    await until_looked(provisioning, 1)
    for task in tasks[:2]:
        task.cancel()
    provisioning.finish_provisioning(node_id)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[:2]] == [asyncio.CancelledError] * 2
    assert {result["status"] for result in results[2:] if isinstance(result, dict)} == {"met"}
    assert shared_polls().is_idle
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_neither_what_it_is_made_of_nor_its_event_holds_a_secret(provisioning: LocalBloq) -> None:
    hook = BloqHook()
    node_id = hook.nodes.create(provisioning.service_id("btc"), "basic").id
    provisioning.finish_provisioning(node_id)
    auth = hook.nodes.get(node_id).auth
    assert auth is not None
    assert auth.password is not None
    trigger = waiting_for(node_id)
    written = json.dumps(trigger.serialize()) + repr(trigger) + json.dumps(await event_of(trigger))
    keys = hook.settings.client_keys
    assert keys is not None
    for secret in (keys.client_secret.reveal(), hook.get_access_token(), auth.password.reveal()):
        assert secret not in written


def test_it_is_made_anew_from_what_is_stored() -> None:
    trigger = waiting_for(
        "node-1",
        deadline=12.5,
        memory={"looks": 3},
        max_consecutive_failures=7,
        poll_interval=3.0,
        not_before=8.5,
    )
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_bloq.triggers.wait.BloqWaitTrigger"
    again = BloqWaitTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert vars(again).keys() == vars(trigger).keys()


def test_what_a_former_version_does_not_know_is_stored_only_where_it_says_something() -> None:
    _, arguments = waiting_for("node-1").serialize()
    assert arguments.keys() == {
        "bloq_conn_id",
        "condition",
        "poll_interval",
        "deadline",
        "memory",
        "max_consecutive_failures",
    }


def test_a_subclass_is_stored_under_its_own_name() -> None:
    path, _ = _Subclass("bloq_default", {}).serialize()
    assert path == f"{__name__}._Subclass"


class _Subclass(BloqWaitTrigger):
    pass


@pytest.fixture
def vaulted(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A service whose client keys are in a real Vault, with ``bloq_default`` leading to both."""
    options = LocalBloqOptions(upstreams={}, node_quota=None, provision_seconds=1e6)
    with LocalStack(options) as stack:
        for conn_id, fields in stack.connections().items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        yield stack


async def test_a_thousand_cost_one_request_per_interval_one_reading_of_keys_and_connection_and_one_mint(
    vaulted: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    bloq = vaulted.bloq
    nodes = BloqHook().nodes
    ids = [(await asyncio.to_thread(nodes.create, bloq.service_id("btc"))).id for _ in range(5)]
    shared_providers.forget()
    bloq.reset_counters()
    key_reads = vaulted.key_reads()
    readings = _counted_readings(monkeypatch)

    interval = 0.2
    started = time.monotonic()
    tasks = []
    for number in range(1000):
        trigger = waiting_for(ids[number % len(ids)], poll_interval=interval)
        tasks.append(asyncio.create_task(event_of(trigger)))
        # So does the triggerer between two of them.
        await asyncio.sleep(0)
    await until_looked(bloq, 5)
    bloq.finish_provisioning()
    events = await asyncio.gather(*tasks)
    intervals = (time.monotonic() - started) / interval

    assert [result_of(event)["id"] for event in events] == ids * 200
    counters = bloq.counters()
    # Each look begins an interval after the one before has ended; the first one at once.
    assert counters.calls.keys() == {LISTS, "accounts POST /auth/token"}
    assert 5 <= counters.calls[LISTS] <= intervals + 1
    assert (counters.mints, counters.refreshes) == (1, 0)
    assert vaulted.key_reads() - key_reads == 1
    assert readings == ["bloq_default"]
    assert shared_polls().is_idle


def _counted_readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each reading of a connection on the event loop; nothing else is changed."""
    readings: list[str] = []
    read = reading.aread_settings

    async def noted(conn_id: str) -> Any:
        readings.append(conn_id)
        return await read(conn_id)

    monkeypatch.setattr(reading, "aread_settings", noted)
    return readings


async def test_it_ends_at_its_deadline_with_what_was_missing(node_id: str) -> None:
    event = await event_of(waiting_for(node_id, deadline=time.time() + 1.0))
    # A machine that is slow enough has seen nothing by then.
    assert event["reason"] in (f"{node_id} is 'starting'", "not polled yet")
    with pytest.raises(BloqWaitTimeout):
        result_of(event)
    assert shared_polls().is_idle


async def test_its_deadline_also_ends_a_look_that_hangs(
    provisioning: LocalBloq, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BloqWaitTrigger, "final_poll_timeout", 0.5)
    provisioning.add_fault(
        Fault(kind=FaultKind.STALL_HEADERS, service="nodes", path="/users/me/nodes", times=None)
    )
    event = await event_of(waiting_for(node_id, deadline=time.time() + 1.0))
    assert event == {"status": "timeout", "reason": "not polled yet"}
    assert shared_polls().is_idle


async def test_it_looks_though_its_deadline_came_while_no_triggerer_ran(
    provisioning: LocalBloq, node_id: str
) -> None:
    provisioning.finish_provisioning(node_id)
    event = await event_of(waiting_for(node_id, deadline=time.time() - 60.0))
    assert result_of(event)["id"] == node_id
    assert looks(provisioning) == 1
    assert shared_polls().is_idle


async def test_after_its_deadline_it_looks_once(provisioning: LocalBloq, node_id: str) -> None:
    event = await event_of(waiting_for(node_id, deadline=time.time() - 60.0))
    assert event == {"status": "timeout", "reason": f"{node_id} is 'starting'"}
    assert looks(provisioning) == 1


async def test_after_its_deadline_it_does_not_believe_what_others_saw_before(
    provisioning: LocalBloq, node_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "MIN_INTERVAL", 0.0)
    patient = asyncio.create_task(event_of(waiting_for(node_id, poll_interval=3600.0)))
    await until_looked(provisioning, 1)
    await until_seen()
    provisioning.finish_provisioning(node_id)
    event = await event_of(waiting_for(node_id, poll_interval=3600.0, deadline=time.time() - 60.0))
    assert event["status"] == "met"
    assert (await patient)["status"] == "met"


async def test_it_looks_at_its_deadline_however_long_the_interval_is(
    provisioning: LocalBloq, node_id: str
) -> None:
    # A machine that needs longer for its first look has that at the deadline.
    trigger = waiting_for(node_id, poll_interval=3600.0, deadline=time.time() + 2.0)
    waiting = asyncio.create_task(event_of(trigger))
    await until_looked(provisioning, 1)
    await until_seen()
    provisioning.finish_provisioning(node_id)
    assert result_of(await waiting)["id"] == node_id
    assert looks(provisioning) == 2


def test_it_looks_as_soon_as_the_service_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for not_before, deadline, allowed, at in [
        (None, None, True, 0.0),
        (30.0, None, True, 30.0),
        (30.0, 90.0, True, 30.0),
        (30.0, 20.0, False, 20.0),
        # Of both the triggerer learns too late.
        (-10.0, -20.0, True, 0.0),
        (10.0, -20.0, False, 0.0),
    ]:

        async def main(
            not_before: float | None = not_before, deadline: float | None = deadline
        ) -> tuple[bool, float]:
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(time, "time", loop.time)
            trigger = waiting_for("node-1", not_before=not_before, deadline=deadline)
            return await trigger._until_allowed(), loop.time()

        assert in_virtual_time(main) == (allowed, at)


async def test_it_leaves_a_service_alone_that_asks_for_longer_than_there_is_time(
    provisioning: LocalBloq, node_id: str
) -> None:
    provisioning.finish_provisioning(node_id)
    now = time.time()
    event = await event_of(waiting_for(node_id, not_before=now + 3600.0, deadline=now + 0.2))
    assert event == {"status": "timeout", "reason": "the service asked for a pause"}
    assert looks(provisioning) == 0


async def test_somebody_elses_timeout_is_not_taken_for_the_deadline(
    provisioning: LocalBloq, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(_: str) -> Any:
        raise TimeoutError("Airflow does not answer")

    monkeypatch.setattr(reading, "aread_settings", late)
    with pytest.raises(TimeoutError, match="Airflow does not answer"):
        await event_of(waiting_for("node-1", deadline=time.time() + 3600.0))
    assert shared_polls().is_idle
