"""Connect's stream against who does not keep to its protocols: other namespaces, nonsense, other versions."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from airflow_provider_bloq.testing.bitcoind import Bitcoind
from tests.local_service.connect_caller import ConnectCaller
from tests.local_service.engine_io_client import PATIENCE, engine_client

pytestmark = pytest.mark.bitcoind


async def test_another_namespace_is_an_error_and_the_root_goes_on(connect: ConnectCaller) -> None:
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.send("40/api/v1?token=x,")
        await client.emit("subscribe", "inv")
        assert [await client.packet() for _ in range(2)] == ["40", '44/api/v1,"Invalid namespace"']


async def test_what_is_said_in_another_namespace_is_not_said_at_the_root(
    connect: ConnectCaller, regtest: Bitcoind
) -> None:
    async with engine_client(connect.bloq.connect_url, connect.token) as client:
        await client.send('42/api/v1,7["subscribe","inv"]')
        await client.send('42/api/v1?token=x,8["subscribe","inv"]')
        await client.send("41/api/v1,")
        await client.emit("subscribe", "another-room")
        regtest.mine()
        connect.get("/sync")
        await client.send("2")
        assert [await client.packet() for _ in range(2)] == ["40", "3"]


async def test_nonsense_ends_the_connection(connect: ConnectCaller) -> None:
    for nonsense in ("4", "49[]", "42{", "42[", "4251-[]", "42" + "[" * 200_000):
        async with engine_client(connect.bloq.connect_url, connect.token) as client:
            await client.send(nonsense)
            assert await client.end() == ["40"]


async def test_what_is_not_engine_io_3_is_refused(connect: ConnectCaller) -> None:
    for query, code in (
        ("EIO=4&transport=polling", 5),
        ("EIO=3&transport=carrier-pigeon", 0),
        ("EIO=3&transport=polling&j=0", 0),
        ("EIO=3&transport=polling&sid=unknown", 1),
        ("EIO=3&transport=websocket", 3),
    ):
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{connect.bloq.connect_url}/socket.io/?{query}") as answer:
                assert (answer.status, json.loads(await answer.text())["code"]) == (400, code)


async def test_a_second_poll_at_the_same_time_ends_the_connection(connect: ConnectCaller) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{connect.bloq.connect_url}/socket.io/?EIO=3&transport=polling"
        async with session.get(url, params={"token": connect.token}) as opened:
            body = await opened.text()
        sid = json.loads(body[body.index("{") : body.index("}") + 1])["sid"]

        async def poll() -> tuple[int, str]:
            async with session.get(url, params={"sid": sid}) as answer:
                return answer.status, await answer.text()

        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(poll(), poll())
        assert sorted(status for status, _ in answers) == [200, 400]
        assert (200, "1:1") in answers


async def test_a_client_may_frame_its_packets_as_bytes(connect: ConnectCaller) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{connect.bloq.connect_url}/socket.io/?EIO=3&transport=polling"
        async with session.get(url, params={"token": connect.token}) as opened:
            body = await opened.text()
        sid = json.loads(body[body.index("{") : body.index("}") + 1])["sid"]
        packet = b'420["subscribe","inv"]'
        framed = bytes([0, 2, 2, 255]) + packet
        assert len(packet) == 22
        async with session.post(url, params={"sid": sid}, data=framed) as posted:
            assert posted.status == 200
        async with session.get(url, params={"sid": sid}) as polled:
            assert await polled.text() == "5:430[]"
