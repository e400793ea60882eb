"""Many watchers, failing nodes, several assets: each goes on by itself, and none is ended by a failure."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

import pytest
from airflow.triggers.shared_stream import AckTimeout

from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.testing.local import LocalBloq
from airflow_provider_bloq.testing.local.faults import Fault, FaultKind
from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger, BloqBlockTrigger, BloqLogsTrigger
from tests.conditions.evm_chain import EvmChain
from tests.triggers.events.conftest import Begin
from tests.triggers.events.contracts import word
from tests.triggers.events.triggerer_model import Database

pytestmark = pytest.mark.anvil

EAGER: dict[str, Any] = {"poll_interval": 0.1, "confirmations": 1}
#: The first look is made at once, and this test ends before the second.
ONE_LOOK: dict[str, Any] = {"poll_interval": 3600.0, "confirmations": 1}


class Heard(logging.Handler):
    """Waits on the running event loop for a message that contains something."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part
        self.message: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def emit(self, record: logging.LogRecord) -> None:
        if self._part in record.getMessage() and not self.message.done():
            self.message.set_result(record.getMessage())


async def test_watchers_of_all_kinds_share_looks_and_readings(
    watched: LocalBloq, evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    start = evm.height - 3
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, start=start, **ONE_LOOK))
    await database.until(lambda: len(database.events) >= 1)
    alone = watched.counters().calls["rpc POST /"]
    await triggerer.kill()
    watched.reset_counters()
    triggerer = begin()
    for number in range(10, 40):
        triggerer.start(number, BloqBlockTrigger(node=node, start=start, **ONE_LOOK), f"asset {number}")
    triggerer.start(50, BloqLogsTrigger(node=node, topics=[word(1)], start=start, **ONE_LOOK), "logs")
    triggerer.start(
        51, BloqAddressTrigger(node=node, addresses=word(1)[:42], start=start, **ONE_LOOK), "address"
    )
    await database.until(lambda: all(database.of(number) for number in range(10, 40)))
    await database.until(lambda: len(database.state) == 33)
    for number in (50, 51):
        await triggerer.stop(number)
    # What the logs and the transfers take: each a search with a look at the last block, and the payments.
    assert watched.counters().calls["rpc POST /"] <= alone + 2 + 1 + 2 * 2
    assert watched.counters().mints <= 1
    assert watched.counters().calls["nodes GET /users/me/nodes/{id}"] == 1


async def test_a_watcher_that_is_held_up_holds_up_no_other(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    triggerer = begin()
    triggerer.holds_up = 1
    for number in (1, 2):
        triggerer.start(number, BloqBlockTrigger(node=node, max_range=1, **EAGER), f"asset {number}")
    await database.until(lambda: len(database.state) == 2)
    await asyncio.to_thread(evm.mine, 2)
    await database.until(lambda: len(database.of(2)) == 2)
    await asyncio.to_thread(evm.mine, 2)
    await database.until(lambda: len(database.of(2)) == 4)
    assert database.of(1) == []
    triggerer.holds_up = None
    triggerer.advance()
    await database.until(lambda: len(database.of(1)) == 4)


async def test_one_that_is_added_later_begins_at_its_own_start(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, **EAGER))
    await database.until(lambda: len(database.state) == 1)
    first = evm.height + 1
    await asyncio.to_thread(evm.mine, 3)
    await database.until(lambda: bool(database.of(1)) and database.of(1)[-1]["last"] == evm.height)
    triggerer.start(2, BloqBlockTrigger(node=node, **EAGER), "later")
    triggerer.start(3, BloqBlockTrigger(node=node, start=first - 2, **EAGER), "from before")
    await database.until(lambda: len(database.state) == 3)
    await asyncio.to_thread(evm.mine, 1)
    await database.until(
        lambda: all(database.of(n) and database.of(n)[-1]["last"] == evm.height for n in (1, 2, 3))
    )
    assert [database.of(number)[0]["first"] for number in (1, 2, 3)] == [first, first + 3, first - 2]


async def test_a_node_that_is_down_is_waited_for(
    watched: LocalBloq, evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, **EAGER))
    await database.until(lambda: len(database.state) == 1)
    fault = watched.add_fault(Fault(kind=FaultKind.STATUS, service="rpc", status=500, times=2))
    start = evm.height
    await asyncio.to_thread(evm.mine, 3)
    await database.until(lambda: bool(database.events) and database.events[-1][1]["last"] == start + 3)
    assert watched.faults_struck()[fault] == 2
    assert database.of(1)[0]["first"] == start + 1


async def test_a_connection_that_is_mended_sets_the_watcher_going(
    evm: EvmChain,
    node: dict[str, Any],
    database: Database,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = json.loads(os.environ["AIRFLOW_CONN_BLOQ_DEFAULT"])
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps({**right, "extra": {"timeout": -1}}))
    triggerer = begin()
    heard = Heard("A watcher pauses")
    logger = logging.getLogger("airflow_provider_bloq")
    logger.addHandler(heard)
    try:
        triggerer.start(1, BloqBlockTrigger(node=node, start=evm.height, **EAGER))
        assert "timeout" in await asyncio.wait_for(heard.message, 60)
    finally:
        logger.removeHandler(heard)
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(right))
    await database.until(lambda: bool(database.events))


async def test_a_state_store_that_fails_is_waited_for(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, **EAGER))
    await database.until(lambda: len(database.state) == 1)
    triggerer.store_works = False
    start = evm.height
    await asyncio.to_thread(evm.mine, 2)
    await database.until(lambda: triggerer.refused > 0)
    assert database.events == []
    triggerer.store_works = True
    await database.until(lambda: bool(database.events) and database.events[-1][1]["last"] == start + 2)
    assert database.of(1)[0]["first"] == start + 1


async def test_a_trigger_that_airflow_gives_up_goes_on_when_it_is_started_anew(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    trigger = BloqBlockTrigger(node=node, **EAGER)
    triggerer = begin(ack_timeout=0.5)
    triggerer.start(1, trigger)
    await database.until(lambda: database.writes > 0)
    triggerer.stores = False
    start = evm.height
    await asyncio.to_thread(evm.mine, 2)
    assert isinstance(await triggerer.failure(1), AckTimeout)
    triggerer.fired.clear()
    triggerer.stores = True
    triggerer.start(1, trigger)
    await asyncio.to_thread(evm.mine, 1)
    await database.until(lambda: bool(database.events) and database.events[-1][1]["last"] == start + 3)
    first, *_ = database.of(1)
    assert (first["first"], first["redelivered"]) == (start + 1, True)


async def test_one_trigger_of_several_assets_keeps_its_place_with_each(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    trigger = BloqBlockTrigger(node=node, **EAGER)
    triggerer = begin()
    triggerer.start(1, trigger, "first", "second")
    await database.until(lambda: len(database.state) == 2)
    await asyncio.to_thread(evm.mine, 1)
    await database.until(lambda: len(database.events) == 1)
    await database.until(lambda: all('"sent"' not in value for value in database.state.values()))
    await triggerer.kill()
    # It is the only one's from now on, or one that was left behind has come in front.
    database.state = {key: value for key, value in database.state.items() if key[0] == "second"}
    await asyncio.to_thread(evm.mine, 1)
    triggerer = begin()
    triggerer.start(1, trigger, "a new one", "second")
    await database.until(lambda: len(database.events) == 2)
    first, second = database.of(1)
    assert (second["first"], second["redelivered"]) == (first["last"] + 1, False)


async def test_with_the_last_watcher_all_ends(
    evm: EvmChain, node: dict[str, Any], database: Database, begin: Begin
) -> None:
    before = asyncio.all_tasks()
    triggerer = begin()
    triggerer.start(1, BloqBlockTrigger(node=node, **EAGER))
    triggerer.start(2, BloqLogsTrigger(node=node, topics=[word(1)], **EAGER), "logs")
    await database.until(lambda: len(database.state) == 2)
    await triggerer.stop(1)
    await triggerer.stop(2)
    assert shared_polls().is_idle
    assert asyncio.all_tasks() == before


async def test_without_state_store_and_streams_events_come_all_the_same(
    evm: EvmChain, node: dict[str, Any]
) -> None:
    start = evm.height
    events = BloqBlockTrigger(node=node, start=start, max_range=1, **EAGER).run()
    try:
        payloads = [(await anext(events)).payload]
        await asyncio.to_thread(evm.mine, 2)
        payloads += [(await anext(events)).payload for _ in range(2)]
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    assert [payload["first"] for payload in payloads] == [start, start + 1, start + 2]
    assert shared_polls().is_idle
