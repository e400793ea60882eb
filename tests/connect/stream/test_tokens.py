"""The token of the stream: replaced when it expires or is refused, a limited number of times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from airflow_provider_bloq.connect.stream import LONG_PAUSE, STABLE_AFTER, ChainUpdates, ConnectionFailures
from airflow_provider_bloq.exceptions import BloqUnsafeAddress
from airflow_provider_bloq.hooks._connect import HookConnectClient
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.connect.stream.conftest import Serve, eager
from tests.connect.stream.scripted_stream import serving
from tests.connect.stream.waiting import (
    FEE,
    NEVER,
    PATIENCE,
    coins,
    new,
    paid_address,
    until,
    until_joined,
)

pytestmark = pytest.mark.bitcoind

AN_HOUR = 3_601
OPENED = "stream GET /socket.io/open"


class Naps:
    """Pauses that never end."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await asyncio.Event().wait()


async def next_update(updates: ChainUpdates) -> None:
    assert await updates.wait(PATIENCE)


@pytest.mark.parametrize("refusal", ["packet", "status"])
async def test_an_expired_token_is_replaced(serve: Serve, bitcoin: Bitcoind, refusal: str) -> None:
    bloq = serve(connect_stream_refusal=refusal)
    before, after = (pay([coin], fee=FEE) for coin in coins(bitcoin, 2))
    async with BloqAsyncHook() as hook, eager(hook).payments(paid_address(bitcoin), interval=NEVER) as feed:
        await until_joined(bloq)
        await asyncio.to_thread(bitcoin.send, before)
        assert (await new(feed)).txid == before.txid
        await asyncio.to_thread(bloq.advance_clock, AN_HOUR)
        await until(lambda: bloq.counters().calls.get(OPENED, 0) > 1)
        await until_joined(bloq)
        await asyncio.to_thread(bitcoin.send, after)
        assert (await new(feed)).txid == after.txid
    assert bloq.counters().mints + bloq.counters().refreshes == 2


@pytest.mark.parametrize("refusal", ["packet", "status"])
async def test_a_refused_token_is_replaced(serve: Serve, bitcoin: Bitcoind, refusal: str) -> None:
    bloq = serve(connect_stream_refusal=refusal)
    async with BloqAsyncHook() as hook:
        stale = await hook.get_access_token()
        await asyncio.to_thread(bloq.advance_clock, AN_HOUR)
        async with eager(hook).updates() as updates:
            await next_update(updates)
        assert await hook.get_access_token() != stale
    assert bloq.counters().calls[OPENED] == 2


async def test_a_long_pause_follows_if_every_token_is_refused(
    client: HookConnectClient, bloq: LocalBloq
) -> None:
    bloq.add_fault(Fault(kind=FaultKind.UNAUTHORIZED, service="stream", path="/socket.io/open", times=None))
    naps = Naps()
    client.stream = replace(client.stream, sleep=naps)
    async with client.updates() as updates:
        async with asyncio.timeout(PATIENCE):
            assert await naps.asked.get() == LONG_PAUSE
        # As many new tokens as for any request.
        assert bloq.counters().calls[OPENED] == 4
        assert not await updates.wait(0)


async def test_a_long_pause_follows_if_there_is_no_stream(client: HookConnectClient, bloq: LocalBloq) -> None:
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=404, times=None)
    )
    naps = Naps()
    client.stream = replace(client.stream, sleep=naps)
    async with client.updates(), asyncio.timeout(PATIENCE):
        assert await naps.asked.get() == LONG_PAUSE
    assert bloq.counters().calls[OPENED] == 1


async def test_pauses_grow_while_it_cannot_connect(client: HookConnectClient, bloq: LocalBloq) -> None:
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=503, times=None)
    )
    pauses: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await asyncio.sleep(0)

    client.stream = replace(client.stream, sleep=sleep, random=lambda: 1.0)
    async with client.updates(), asyncio.timeout(PATIENCE):
        told = [await pauses.get() for _ in range(4)]
    assert told == [0.01, 0.02, 0.04, 0.05]


@asynccontextmanager
async def elsewhere(arrived: list[str]) -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.Response:
        arrived.append(str(request.rel_url))
        return web.Response()

    async with serving(serve) as url:
        yield url


async def test_the_token_is_sent_to_no_other_origin(client: HookConnectClient) -> None:
    arrived: list[str] = []
    async with elsewhere(arrived) as url:
        stream = client.stream
        client.stream = replace(stream, endpoint=replace(stream.endpoint, url=url))
        with pytest.raises(BloqUnsafeAddress):
            async with client.updates():
                raise AssertionError("it must not connect there")
    assert arrived == []


def test_how_often_another_token_is_tried_at_once() -> None:
    cases: list[tuple[list[tuple[float, bool]], bool]] = [
        ([(0.0, True)], True),
        ([(0.0, True)] * 3, True),
        ([(0.0, True)] * 4, False),
        # A short connection is no better than a refused one ...
        ([(STABLE_AFTER - 1, True)] * 4, False),
        # ... but a long one makes up for earlier failures.
        ([(0.0, True)] * 3 + [(STABLE_AFTER, True)] * 2, True),
        ([(0.0, False)], False),
    ]
    for ends, at_once in cases:
        failures = ConnectionFailures()
        for lasted, is_about_token in ends:
            failures = failures.after(lasted=lasted, is_about_token=is_about_token)
        assert failures.may_retry_at_once is at_once


def test_failures_are_counted_until_a_connection_lasts() -> None:
    record = ConnectionFailures()
    for count in range(1, 4):
        record = record.after(lasted=1.0, is_about_token=False)
        assert record.others == count
    assert record.after(lasted=STABLE_AFTER, is_about_token=False).others == 1
