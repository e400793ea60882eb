"""Connect's JSON-RPC: the key in the path is the credential, and shown nowhere else."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqAuthError, BloqConfigurationError, BloqError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Request
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import connected
from tests.hooks.conftest import Connect
from tests.support.raw_server import RawConnection, SeenRequest, Serve

KEY = "amber-acorn-arrow"


def chain_id(chain: str = "eth") -> Any:
    return BloqHook().connect_rpc(chain).call("eth_chainId")


async def chain_id_async() -> Any:
    async with BloqAsyncHook() as hook:
        return await hook.connect_rpc("eth").call("eth_chainId")


def hides_key(error: BaseException, key: str = KEY) -> bool:
    whole = "".join(traceback.format_exception(error)) + repr(vars(error))
    return key not in whole


@pytest.mark.anvil
def test_the_path_key_is_the_only_credential(running_evm: LocalBloq, connect: Connect) -> None:
    key = running_evm.create_connect_key("eth")
    connected(connect, running_evm, connect_api_keys={"ETH": key})
    assert chain_id() == asyncio.run(chain_id_async()) == "0x7a69"
    token = BloqHook().get_access_token()
    assert "connect-rpc" not in running_evm.where_seen(token)
    running_evm.delete_connect_key(key)
    for call in (chain_id, lambda: asyncio.run(chain_id_async())):
        with pytest.raises(BloqAuthError, match="path key") as refused:
            call()
        assert hides_key(refused.value, key)


def test_no_token_is_sent_and_no_error_contains_the_key(
    connect: Connect, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([500, 200, 400])

    def answer(connection: RawConnection, request: SeenRequest) -> None:
        connection.reply(next(answers), b"<html>no JSON</html>")

    server = serve(answer)
    extra = {"connect_url": server.url, "connect_api_keys": {"eth": KEY}}
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra=extra)
    for _ in range(3):
        with pytest.raises(BloqError) as failed:
            chain_id()
        assert hides_key(failed.value)
        assert "/v1/***" in str(failed.value)
    assert [request.target for request in server.requests] == [f"/v1/{KEY}"] * 3
    assert {request.authorization for request in server.requests} == {None}
    assert KEY not in caplog.text


def test_an_unreachable_server_does_not_reveal_the_key(connect: Connect, serve: Serve) -> None:
    server = serve(lambda connection, _: connection.reset())
    extra = {"connect_url": server.url, "connect_api_keys": {"eth": KEY}}
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra=extra)
    with pytest.raises(BloqUnavailable) as away:
        BloqHook().connect_rpc("eth").call("eth_sendRawTransaction", ["0x"])
    assert hides_key(away.value)


def test_the_error_for_a_missing_key_says_where_to_put_it(connect: Connect) -> None:
    connect("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(BloqConfigurationError, match="connect_etc") as missing:
        chain_id("etc")
    assert missing.value.fields == ("connect_api_keys",)
    with pytest.raises(BloqConfigurationError, match="eth, etc"):
        chain_id("doge")
    with pytest.raises(BloqConfigurationError, match="REST"):
        chain_id("btc")


def test_a_request_hides_the_key(connect: Connect) -> None:
    request = Request("POST", "https://eth.example/v1/***", path_key=Secret(KEY))
    assert request.revealed_url == f"https://eth.example/v1/{KEY}"
    assert KEY not in repr(request)
    assert KEY.encode() not in pickle.dumps(request)
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra={"connect_api_keys": {"eth": KEY}})
    settings = BloqHook().settings
    assert KEY not in repr(settings)
    assert settings.connect_api_keys["eth"].reveal() == KEY


def test_wrong_keys_are_refused_without_being_quoted(connect: Connect) -> None:
    wrong: list[Any] = [
        "not-an-object-but-secret",
        ["a-secret"],
        {"eth": "a secret/../x"},
        {"": "secret"},
        {"eth": 7},
    ]
    for keys in wrong:
        connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra={"connect_api_keys": keys})
        with pytest.raises(BloqConfigurationError) as refused:
            _ = BloqHook().settings
        assert refused.value.fields == ("connect_api_keys",)
        assert "secret" not in str(refused.value)


def test_a_url_with_a_path_key_is_refused_as_a_node_and_not_quoted(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {"environment": "prod", "connect_url": "https://{chain}.proxy.example/base"}
    connect("https://accounts.example", "https://nodes.example", extra=extra)
    for url in (
        f"https://eth.connect.bloq.cloud/v1/{KEY}",
        f"http://ETH.connect.bloq.cloud:8080/v1/{KEY}/",
        f"https://goerli.connect.bloqclouddev.com//v1/{KEY}",
        f"https://etc.proxy.example/base/%76%31/{KEY}",
    ):
        with pytest.raises(BloqConfigurationError, match="connect:<chain>") as refused:
            BloqHook().rpc(url).call("eth_chainId")
        assert refused.value.fields == ("node",)
        assert hides_key(refused.value)
    assert KEY not in caplog.text


def test_a_url_of_a_node_may_have_any_path(connect: Connect, serve: Serve) -> None:
    node = serve(lambda connection, _: connection.reply(200, b'{"jsonrpc": "2.0", "id": 1, "result": "0x1"}'))
    connect("http://127.0.0.1:9", "http://127.0.0.1:9", extra={"connect_url": "http://127.0.0.1:9"})
    assert BloqHook().rpc(f"{node.url}/v1/of-its-own").call("eth_chainId") == "0x1"
