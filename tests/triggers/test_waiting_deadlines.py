"""When a waiting trigger ends for want of time, and when it may not look yet."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_provider_bloq.connection import reading
from airflow_provider_bloq.exceptions import BloqWaitTimeout
from airflow_provider_bloq.polling import poll
from airflow_provider_bloq.polling.serialization import result_of
from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.triggers.wait import BloqWaitTrigger
from tests.support.looks import looks
from tests.support.virtual_time import in_virtual_time
from tests.triggers.waits import event_of, until_looked, until_seen, waiting_for


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


@pytest.mark.parametrize(
    ("not_before", "deadline", "allowed", "at"),
    [
        (None, None, True, 0.0),
        (30.0, None, True, 30.0),
        (30.0, 90.0, True, 30.0),
        (30.0, 20.0, False, 20.0),
        # Of both the triggerer learns too late.
        (-10.0, -20.0, True, 0.0),
        (10.0, -20.0, False, 0.0),
    ],
)
def test_it_looks_as_soon_as_the_service_may_be_asked_again(
    monkeypatch: pytest.MonkeyPatch,
    not_before: float | None,
    deadline: float | None,
    allowed: bool,
    at: float,
) -> None:
    async def main() -> tuple[bool, float]:
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
