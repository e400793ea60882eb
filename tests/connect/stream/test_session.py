"""One connection of the stream, with scripted servers over real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.connect.stream import StreamEnded, StreamEndpoint
from airflow_provider_bloq.connect.stream_packets import subscriptions
from airflow_provider_bloq.exceptions import BloqApiError, BloqNotFound, BloqRateLimited, BloqUnavailable
from tests.connect.stream.scripted_stream import (
    HANDSHAKE,
    WELCOME,
    Conversation,
    Script,
    scripted_stream,
    serving,
    welcomed,
)
from tests.connect.stream.waiting import PATIENCE
from tests.support.drivers import PATIENT, awaiting_driver

TOKEN = Secret("a-token-that-nobody-may-see")
EXPIRED = '42["disconnect","jwt expired"]'


async def ended(script: Script) -> StreamEnded:
    """Join if the script allows it, and return how the connection ended."""
    async with asyncio.timeout(PATIENCE), scripted_stream(script) as endpoint:
        with pytest.raises(StreamEnded) as end:
            await read_to_the_end(endpoint)
        return end.value


async def read_to_the_end(endpoint: StreamEndpoint) -> None:
    async with endpoint.session(TOKEN, subscriptions([])) as session:
        async for _ in session.events():
            pass


async def test_it_joins_its_rooms_and_keeps_early_events() -> None:
    asked: list[str] = []

    async def script(conversation: Conversation) -> None:
        asked.append(str(conversation.request.query.get("EIO")))
        asked.append(str(conversation.request.query.get("token")))
        await conversation.say(HANDSHAKE, WELCOME)
        while await conversation.hear() != "2":
            await conversation.say('42["tx",{}]')
        await conversation.say("3", '42["block","a"]', "6", '42/elsewhere,["block","b"]', '42["block","c"]')
        asked.extend(conversation.heard)
        await conversation.until_gone()

    heard = []
    async with asyncio.timeout(PATIENCE), scripted_stream(script) as endpoint:
        async with endpoint.session(TOKEN, subscriptions(["one", "two"])) as session:
            async for event in session.events():
                heard.append((event.name, event.arguments))
                if event.arguments == ("c",):
                    break
    assert asked == [
        "3",
        TOKEN.reveal(),
        '42["subscribe","inv"]',
        '42["subscribe","bitcoind/addresstxid",["one","two"]]',
        "2",
    ]
    assert heard == [("tx", ({},)), ("tx", ({},)), ("block", ("a",)), ("block", ("c",))]


async def test_it_pings_at_the_interval_of_the_server() -> None:
    pings = asyncio.Queue[float]()

    async def sleep(seconds: float) -> None:
        pings.put_nowait(seconds)
        await asyncio.sleep(0)

    async def script(conversation: Conversation) -> None:
        await welcomed(conversation, HANDSHAKE.replace("25000", "7000"))
        for _ in range(3):
            assert await conversation.hear() == "2"
            await conversation.say("3")
        await conversation.say('42["block","after three pings"]')
        await conversation.until_gone()

    async with asyncio.timeout(PATIENCE), scripted_stream(script, sleep=sleep) as endpoint:
        async with endpoint.session(TOKEN, subscriptions([])) as session:
            assert (await anext(session.events())).arguments == ("after three pings",)
    assert {pings.get_nowait() for _ in range(pings.qsize())} == {7.0}


async def test_a_server_that_does_not_answer_a_ping_is_given_up() -> None:
    handshake = '0{"sid":"s","pingInterval":50,"pingTimeout":50}'

    async def script(conversation: Conversation) -> None:
        await welcomed(conversation, handshake)
        await conversation.until_gone()

    assert not (await ended(script)).is_about_token


async def test_other_packets_do_not_answer_a_ping() -> None:
    handshake = '0{"sid":"s","pingInterval":50,"pingTimeout":50}'

    async def script(conversation: Conversation) -> None:
        await welcomed(conversation, handshake)
        await conversation.hear()
        await conversation.say('42["block","a"]', "6")
        await conversation.until_gone()

    assert not (await ended(script)).is_about_token


async def test_the_end_says_whether_the_token_is_the_reason() -> None:
    ends: list[tuple[list[str], bool]] = [
        ([HANDSHAKE, '44"jwt expired"'], True),
        ([HANDSHAKE, '44"invalid signature of the token"'], True),
        ([HANDSHAKE, '44{"message":"Authentication error"}'], True),
        ([HANDSHAKE, '44"too many clients"'], False),
        ([HANDSHAKE, "44"], False),
        ([HANDSHAKE, EXPIRED, "41"], True),
        ([HANDSHAKE, WELCOME, EXPIRED], True),
        ([HANDSHAKE, WELCOME, '42["disconnect","io server disconnect"]', "41"], False),
        ([HANDSHAKE, "41"], False),
        ([HANDSHAKE, "1"], False),
        ([HANDSHAKE], False),
        ([], False),
        (["40"], False),
        (["hello"], False),
        (["0{"], False),
        (["0[]"], False),
        ([HANDSHAKE, WELCOME, "42{"], False),
        ([HANDSHAKE, WELCOME, "42[]"], False),
        ([HANDSHAKE, WELCOME, "49"], False),
        ([HANDSHAKE, WELCOME, "42" + "[" * 100_000], False),
    ]
    for packets, is_about_token in ends:

        async def script(conversation: Conversation, packets: list[str] = packets) -> None:
            await conversation.say(*packets)

        end = await ended(script)
        assert (end.is_about_token, end.retryable) == (is_about_token, True), packets
        assert TOKEN.reveal() not in repr((end, vars(end)))


async def test_sending_on_a_closed_connection_ends_it() -> None:
    async with asyncio.timeout(PATIENCE), scripted_stream(welcomed) as endpoint:
        async with endpoint.session(TOKEN, subscriptions([])) as session:
            await session.close()
            with pytest.raises(StreamEnded) as end:
                await session._send("2")
    assert not end.value.is_about_token


async def test_a_token_that_expires_during_the_connection() -> None:
    async def script(conversation: Conversation) -> None:
        await welcomed(conversation)
        await conversation.say('42["block","a"]', EXPIRED, "41")

    assert (await ended(script)).is_about_token


async def test_a_server_that_does_not_complete_the_handshake_in_time() -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.say(HANDSHAKE)
        await conversation.until_gone()

    async with asyncio.timeout(PATIENCE), scripted_stream(script, timeout=0.2) as endpoint:
        with pytest.raises(StreamEnded, match="in time"):
            async with endpoint.session(TOKEN, subscriptions([])):
                raise AssertionError("the connection was accepted")


async def test_another_answer_than_a_stream_is_an_error_by_its_status() -> None:
    for status, kind in (
        (404, BloqNotFound),
        (429, BloqRateLimited),
        (503, BloqUnavailable),
        (400, BloqApiError),
        (401, StreamEnded),
    ):

        async def serve(_: web.Request, status: int = status) -> web.Response:
            return web.json_response({"message": "no"}, status=status, headers={"Retry-After": "7"})

        async with serving(serve) as url:
            error = await refused(url)
        assert type(error) is kind
        assert TOKEN.reveal() not in repr((error, vars(error), error.__context__))
        if isinstance(error, BloqRateLimited):
            assert error.retry_after == 7.0
        if isinstance(error, StreamEnded):
            assert error.is_about_token


async def test_a_server_that_does_not_answer_in_time() -> None:
    released = asyncio.Event()

    async def serve(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with serving(serve) as url:
        error = await refused(url, timeout=0.2)
        released.set()
    assert isinstance(error, StreamEnded)
    assert "in time" in str(error)


async def test_redirects_are_not_followed() -> None:
    arrived: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        arrived.append(str(request.rel_url))
        return web.Response()

    async with serving(elsewhere) as other:

        async def serve(request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{other}?{request.query_string}")

        async with serving(serve) as url:
            error = await refused(url)
    assert isinstance(error, BloqUnavailable)
    assert arrived == []
    assert TOKEN.reveal() not in repr((error, vars(error), error.__context__))


async def test_a_closed_port_is_unavailable() -> None:
    async def serve(_: web.Request) -> web.Response:
        raise AssertionError("the server is closed")

    async with serving(serve) as url:
        pass
    error = await refused(url)
    assert isinstance(error, BloqUnavailable)
    assert TOKEN.reveal() not in repr((error, vars(error), error.__context__))


async def refused(url: str, timeout: float = PATIENCE) -> BloqApiError:
    driver = awaiting_driver(PATIENT)
    try:
        with pytest.raises(BloqApiError) as error:
            async with StreamEndpoint(driver, url, None, timeout).session(TOKEN, subscriptions([])):
                raise AssertionError("the connection was accepted")
        return error.value
    finally:
        await driver.close()


def test_the_packets_that_join_rooms_have_the_form_of_insight() -> None:
    assert [json.loads(one.removeprefix("42")) for one in subscriptions(["a", "b"])] == [
        ["subscribe", "inv"],
        ["subscribe", "bitcoind/addresstxid", ["a", "b"]],
    ]
