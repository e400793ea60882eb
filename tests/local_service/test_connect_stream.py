"""Connect's stream as a client sees it that shares no code with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind, BitcoinPayment, pay
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.engine_io_client import PATIENCE, Transport, engine_client
from tests.local_service.service_caller import Caller
from tests.support.shared_chain import SharedChain

pytestmark = pytest.mark.bitcoind

Start = Callable[..., LocalBloq]
FEE = 2_000
TRANSPORTS: list[Transport] = ["websocket", "polling", "upgrade"]
EXPIRY = '42["disconnect", "jwt expired"]'


@pytest.fixture
def service(start: Start, regtest: Bitcoind) -> Callable[..., ConnectCaller]:
    """Start a service of the test's own on the shared node, whose clock may be moved."""

    def started(**options: Any) -> ConnectCaller:
        return ConnectCaller.of(start(connect_upstreams={"btc": lambda: SharedChain(regtest)}, **options))

    return started


def address_of(node: Bitcoind, payment: BitcoinPayment) -> str:
    address: str = node.rpc("decoderawtransaction", payment.raw)["vout"][0]["scriptPubKey"]["address"]
    return address


async def until(true: Callable[[], bool]) -> None:
    """Wait for what only the service itself can tell."""

    def wait() -> None:
        pause, end = threading.Event(), time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end
            pause.wait(0.01)

    await asyncio.to_thread(wait)


async def until_open(bloq: LocalBloq, count: int) -> None:
    await until(lambda: bloq.stream_connections() == count)


async def test_transactions_and_blocks_come_in_their_order_and_once(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    for transport in TRANSPORTS:
        coin = regtest.coin()
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            assert client.handshake["pingInterval"] == 25_000
            await client.emit("subscribe", "inv")
            payment = pay([coin], fee=FEE, outputs=2)
            regtest.send(payment)
            name, told = await client.event()
            address = address_of(regtest, payment)
            each = payment.coins[0].satoshi
            assert (name, told["txid"], told["isRBF"]) == ("tx", payment.txid, True)
            assert told["vout"] == [{address: each}, {address: each}]
            assert round(told["valueOut"] * 100_000_000) == 2 * each
            (block,) = regtest.mine()
            coinbase = regtest.rpc("getblock", block, 1)["tx"][0]
            assert (await client.event())[1]["txid"] == coinbase
            assert await client.event() == ["block", block]


async def test_events_of_an_address_bear_its_name(connect: ConnectCaller, regtest: Bitcoind) -> None:
    for transport in TRANSPORTS:
        payment = pay([regtest.coin()], fee=FEE)
        address = address_of(regtest, payment)
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            await client.emit("subscribe", "bitcoind/addresstxid", [address])
            regtest.send(payment)
            assert await client.event() == [address, payment.txid]
            # Not in the mempool before, and no more than once when it is mined.
            unannounced = pay(payment.coins, fee=FEE)
            regtest.mine_only(payment, unannounced)
            assert await client.event() == [address, unannounced.txid]
            await client.emit("unsubscribe", "bitcoind/addresstxid", [address])
            await client.emit("subscribe", "inv")
            regtest.send(pay(unannounced.coins, fee=FEE))
            assert (await client.event())[0] == "tx"


async def test_an_events_address_can_come_as_an_object(
    service: Callable[..., ConnectCaller], regtest: Bitcoind
) -> None:
    connect = service(connect_address_event="object")
    payment = pay([regtest.coin()], fee=FEE)
    address = address_of(regtest, payment)
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.emit("subscribe", address)
        regtest.send(payment)
        assert await client.event() == [address, {"address": address, "txid": payment.txid}]


async def test_after_a_reorganisation_the_new_blocks_come_and_no_transaction_twice(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    payment = pay([regtest.coin()], fee=FEE)
    regtest.mine_only(payment)
    for _ in range(2):
        regtest.mine_only()
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.emit("subscribe", "inv")
        connect.bloq.hold_stream_events()
        new = regtest.fork(3)
        connect.get("/sync")
        connect.bloq.release_stream_events()
        events = []
        while ["block", new[-1]] not in events:
            events.append(await client.event())
        assert [event[1] for event in events if event[0] == "block"] == new
        assert payment.txid not in {event[1]["txid"] for event in events if event[0] == "tx"}


async def test_events_that_are_held_are_sent_when_they_are_released(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    for transport in TRANSPORTS:
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            connect.bloq.hold_stream_events()
            hashes = regtest.mine(2)
            connect.get("/sync")
            # They go to those who are subscribed when they are let go.
            await client.emit("subscribe", "inv")
            connect.bloq.release_stream_events()
            blocks = [event[1] for event in [await client.event() for _ in range(4)] if event[0] == "block"]
            assert blocks == hashes


async def test_the_end_of_the_token_ends_the_connection(service: Callable[..., ConnectCaller]) -> None:
    for transport in TRANSPORTS:
        connect = service()
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            await client.emit("subscribe", "inv")
            connect.bloq.advance_clock(3_601)
            assert (await client.end())[-2:] == [EXPIRY, "41"]
        await until_open(connect.bloq, 0)


async def test_an_expired_token_is_refused_by_an_error(service: Callable[..., ConnectCaller]) -> None:
    for transport in ("websocket", "polling"):
        connect = service()
        connect.bloq.advance_clock(3_601)
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            assert client.handshake["upgrades"] == []
            assert await client.end() == ['44"jwt expired"']
        assert connect.bloq.stream_connections() == 0


async def test_a_token_can_be_refused_by_a_status_instead(service: Callable[..., ConnectCaller]) -> None:
    for token, status in ((None, 401), ("a.b.c", 403), ("expired", 401)):
        connect = service(connect_stream_refusal="status")
        connect.bloq.advance_clock(3_601)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with engine_client(
                connect.bloq.connect_url, connect.token if token == "expired" else token
            ):
                raise AssertionError("it was let in")
        assert refused.value.status == status


async def test_who_subscribes_to_nothing_is_sent_away(service: Callable[..., ConnectCaller]) -> None:
    for transport in TRANSPORTS:
        connect = service(connect_idle_seconds=600)
        url = connect.bloq.connect_url
        async with (
            engine_client(url, connect.token, transport) as idle,
            engine_client(url, connect.token) as busy,
        ):
            await busy.emit("subscribe", "inv")
            connect.bloq.advance_clock(601)
            assert (await idle.end())[-1] == "41"
            await until_open(connect.bloq, 1)
            await busy.emit("subscribe", "inv")


async def test_all_connections_can_be_cut_at_once(connect: ConnectCaller) -> None:
    for transport in TRANSPORTS:
        url = connect.bloq.connect_url
        async with (
            engine_client(url, connect.token, transport) as one,
            engine_client(url, connect.token) as other,
        ):
            for client in (one, other):
                await client.emit("subscribe", "inv")
            assert await asyncio.to_thread(connect.bloq.drop_streams) == 2
            assert [await client.end() for client in (one, other)] == [["40"], ["40"]]
        assert connect.bloq.stream_connections() == 0


async def test_who_does_not_ping_is_given_up(service: Callable[..., ConnectCaller]) -> None:
    for transport in ("websocket", "polling"):
        connect = service(connect_ping_seconds=0.2, connect_ping_timeout_seconds=0.2)
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            assert client.handshake["pingInterval"] == 200
            assert await client.end() == ["40"]


async def test_a_ping_is_answered(connect: ConnectCaller) -> None:
    for transport in TRANSPORTS:
        async with engine_client(connect.bloq.connect_url, connect.token, transport) as client:
            await client.send("2")
            assert "3" in [await client.packet() for _ in range(2)]


async def test_a_websocket_can_be_reset_while_it_opens(connect: ConnectCaller) -> None:
    for kind in (FaultKind.RESET, FaultKind.TRUNCATED_JSON, FaultKind.LOST_RESPONSE):
        connect.bloq.add_fault(Fault(kind=kind, service="stream", path="/socket.io/open", times=None))
        with pytest.raises(aiohttp.ClientError):
            async with engine_client(connect.bloq.connect_url, connect.token):
                raise AssertionError("it was let in")


async def test_connections_can_be_refused_while_others_go_on(connect: ConnectCaller) -> None:
    url = connect.bloq.connect_url
    async with engine_client(url, connect.token, "polling") as client:
        connect.bloq.add_fault(
            Fault(kind=FaultKind.STATUS, service="stream", path="/socket.io/open", status=503, times=None)
        )
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with engine_client(url, connect.token):
                raise AssertionError("it was let in")
        assert refused.value.status == 503
        await client.emit("subscribe", "inv")


async def test_opening_can_take_its_time(connect: ConnectCaller) -> None:
    fault = connect.bloq.add_fault(
        Fault(kind=FaultKind.DELAY, service="stream", path="/socket.io/open", seconds=3_600)
    )

    async def come_in() -> None:
        async with engine_client(connect.bloq.connect_url, connect.token) as client:
            await client.emit("subscribe", "inv")

    coming = asyncio.create_task(come_in())
    await until(lambda: connect.bloq.faults_struck()[fault] == 1)
    assert not coming.done()
    await asyncio.to_thread(connect.bloq.clear_faults, fault)
    await asyncio.wait_for(coming, PATIENCE)


async def test_what_happened_is_counted_and_where_the_token_was_seen(connect: ConnectCaller) -> None:
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.emit("subscribe", "inv")
        assert connect.bloq.stream_connections() == 1
    assert connect.bloq.counters().calls["stream GET /socket.io/open"] == 1
    assert connect.bloq.counters().statuses["stream 101"] == 1
    assert "stream" in connect.bloq.where_seen(connect.token)
    await until_open(connect.bloq, 0)


async def test_without_a_chain_no_connection_is_accepted(start: Start) -> None:
    bloq = start(connect_upstreams={})
    token = Caller.of(bloq).access_token()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with engine_client(bloq.connect_url, token, host="bch.connect.example"):
            raise AssertionError("it was let in")
    assert refused.value.status == 503


async def test_a_service_that_stops_ends_its_connections(service: Callable[..., ConnectCaller]) -> None:
    connect = service()
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.emit("subscribe", "inv")
        stopping = asyncio.create_task(asyncio.to_thread(connect.bloq.stop))
        assert await client.end() in ([], ["40"])
        await stopping
