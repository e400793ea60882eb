"""Waiting triggers for a node, run as the triggerer does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from airflow_provider_bloq.nodes.conditions import NodeState
from airflow_provider_bloq.polling.serialization import condition_to_json
from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.triggers.wait import BloqWaitTrigger
from tests.support.looks import once_looked

__all__ = ["event_of", "until_looked", "until_seen", "waiting_for"]


def waiting_for(node_id: str, state: str = "started", **arguments: Any) -> BloqWaitTrigger:
    condition = condition_to_json(NodeState(node_id, state))
    return BloqWaitTrigger("bloq_default", condition, **{"poll_interval": 0.2, **arguments})


async def event_of(trigger: BloqWaitTrigger) -> Any:
    """Run a trigger as the triggerer does, to its end; gives its one event."""
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))


async def until_looked(service: LocalBloq, times: int) -> None:
    """Wait until the list of nodes was asked for so often."""
    await asyncio.wrap_future(once_looked(service, times))


async def until_seen() -> None:
    """Wait until the only poll has seen something; what changes after that is not part of it."""
    (shared,) = shared_polls()._running.values()
    if shared.poll.latest is None:
        await shared.poll.results.wait()
