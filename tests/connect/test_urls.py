"""The URL of a chain: a fixed one serves only the chain that its host names."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from tests.hooks.conftest import Connect

pytestmark = pytest.mark.logic

ACCOUNTS = "https://accounts.example"


def at(connect: Connect, connect_url: str, **extra: object) -> BloqHook:
    connect(ACCOUNTS, ACCOUNTS, extra={"environment": "prod", "connect_url": connect_url, **extra})
    return BloqHook()


def test_the_host_of_one_chain_is_not_used_for_another(connect: Connect) -> None:
    hook = at(connect, "https://btc.connect.example", connect_api_keys={"goerli": "a-key"})
    assert hook.connect("btc").url == "https://btc.connect.example/api/v1"
    for ask in (lambda: hook.connect("bch"), lambda: hook.connect_rpc("eth")):
        with pytest.raises(BloqConfigurationError, match="host of btc.*{chain}") as refused:
            ask()
        assert refused.value.fields == ("connect_url",)
    with pytest.raises(BloqConfigurationError, match="host of goerli"):
        at(connect, "https://goerli.example", connect_api_keys={"goerli": "a-key"}).connect("btc")


def test_a_url_with_a_placeholder_serves_all_chains(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("https://{chain}.connect.example", "https://proxy.example/{chain}"):
        hook = at(connect, url)
        for chain in ("btc", "bch"):
            assert hook.connect(chain).url == f"{url.replace('{chain}', chain)}/api/v1"
    assert caplog.records == []


def test_a_url_without_a_chain_is_used_with_a_warning(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    hook = at(connect, "https://proxy.example", connect_api_keys={"eth": "a-key"})
    hook.connect_rpc("eth")
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        assert hook.connect("bch").url == "https://proxy.example/api/v1"
    assert "connect_url of connection 'bloq_default'" in caplog.text
    assert "bch" in caplog.text


def test_a_local_service_has_one_url_for_all_chains(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    hook = at(connect, "http://localhost:4006", environment="local")
    assert {hook.connect(chain).url for chain in ("btc", "bch")} == {"http://localhost:4006/api/v1"}
    assert caplog.records == []
