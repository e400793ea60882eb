"""Blocking calls beside an event loop reach that loop, which the triggerer of Airflow 3.1 needs."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync

from airflow_provider_bloq.flow.threads import in_thread

pytestmark = pytest.mark.compat


async def loop_of_caller() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_what_blocks_is_sent_from_the_event_loop_and_runs_elsewhere() -> None:
    assert await in_thread(lambda: async_to_sync(loop_of_caller)()) is asyncio.get_running_loop()
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_a_failure_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_a_caller_that_is_cancelled_does_not_wait_for_the_call() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_end.wait()

    waiting = asyncio.create_task(in_thread(slow))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await waiting
    finally:
        may_end.set()
