"""Addresses of the services: names and URLs, environments, ports, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import Environment


def test_an_empty_connection_means_the_production_of_bloq(parse: Any) -> None:
    settings = parse()

    assert settings.environment is Environment.PROD
    assert settings.accounts_url == "https://accounts.bloq.cloud"
    assert settings.nodes_url == "https://nodes.bloq.cloud"
    assert settings.connect_url == "https://{chain}.connect.bloq.cloud"


@pytest.mark.parametrize(
    ("environment", "accounts", "nodes", "connect"),
    [
        (
            "staging",
            "https://accounts.bloqclouddev.com",
            "https://nodes.bloqclouddev.com",
            "https://{chain}.connect.bloqclouddev.com",
        ),
        (" LOCAL ", "http://localhost:4000", "http://localhost:4002", "http://localhost:4006"),
    ],
)
def test_an_environment_sets_all_addresses(
    parse: Any, environment: str, accounts: str, nodes: str, connect: str
) -> None:
    settings = parse(environment=environment)

    assert (settings.accounts_url, settings.nodes_url, settings.connect_url) == (accounts, nodes, connect)


def test_an_explicit_address_beats_the_environment_and_leaves_the_others(parse: Any) -> None:
    settings = parse(host="https://a.example", environment="staging", nodes_url="https://n.example/v1/")

    assert settings.accounts_url == "https://a.example"
    assert settings.nodes_url == "https://n.example/v1"
    assert settings.connect_url == "https://{chain}.connect.bloqclouddev.com"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("accounts.bloq.cloud", "https://accounts.bloq.cloud"),
        ("  Accounts.Bloq.Cloud/ ", "https://accounts.bloq.cloud"),
        ("accounts.bloq.cloud:8443", "https://accounts.bloq.cloud:8443"),
        ("HTTPS://ACCOUNTS.bloq.cloud/", "https://accounts.bloq.cloud"),
        ("https://accounts.bloq.cloud:443//", "https://accounts.bloq.cloud"),
        ("https://api.bloq.cloud/accounts/v1", "https://api.bloq.cloud/accounts/v1"),
        ("api.bloq.cloud/Accounts/v1/", "https://api.bloq.cloud/Accounts/v1"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://bloq.localhost", "http://bloq.localhost"),
        ("localhost:4000", "https://localhost:4000"),
        ("http://[::1]:4000", "http://[::1]:4000"),
        ("[2001:db8::1]:4000", "https://[2001:db8::1]:4000"),
        ("2001:db8::1", "https://[2001:db8::1]"),
        ("bücher.example", "https://xn--bcher-kva.example"),
        ("", "https://accounts.bloq.cloud"),
        ("   ", "https://accounts.bloq.cloud"),
        (None, "https://accounts.bloq.cloud"),
    ],
)
def test_host_is_a_name_or_a_url(parse: Any, host: str | None, url: str) -> None:
    assert parse(host=host).accounts_url == url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost:4000", "http://localhost:4000"),
        ("127.0.0.1:4100", "http://127.0.0.1:4100"),
        ("::1", "http://[::1]"),
        ("accounts.example", "https://accounts.example"),
        ("https://localhost:4000", "https://localhost:4000"),
    ],
)
def test_a_bare_loopback_name_means_http_in_the_local_environment(parse: Any, host: str, url: str) -> None:
    assert parse(host=host, environment="local").accounts_url == url


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        (None, 443, "https://accounts.bloq.cloud"),
        (None, "443", "https://accounts.bloq.cloud"),
        (None, 0, "https://accounts.bloq.cloud"),
        ("https://a.example", 443, "https://a.example"),
        ("https://a.example:443", 443, "https://a.example"),
        ("a.example", 8443, "https://a.example:8443"),
        ("https://a.example/v1", 8443, "https://a.example:8443/v1"),
        ("a.example:8443", 8443, "https://a.example:8443"),
        ("a.example:8443", 0, "https://a.example:8443"),
        ("::1", 8443, "https://[::1]:8443"),
        ("http://127.0.0.1", 4000, "http://127.0.0.1:4000"),
    ],
)
def test_port_completes_the_host(parse: Any, host: str | None, port: Any, url: str) -> None:
    assert parse(host=host, port=port).accounts_url == url


@pytest.mark.parametrize(
    ("host", "port", "environment"),
    [
        ("https://a.example:8443", 443, "prod"),
        ("a.example:8443", 8444, "prod"),
        ("https://a.example:443", 8443, "prod"),
        (None, 443, "local"),
    ],
)
def test_port_may_not_contradict_the_host(refuse: Any, host: str | None, port: int, environment: str) -> None:
    error = refuse(host=host, port=port, environment=environment)

    assert error.fields == ("port",)
    assert "contradicts" in str(error)


@pytest.mark.parametrize("port", [-1, 65536, "https", 44.3, True, False, "443x", [443], "nan", 10**400])
def test_port_is_a_number_in_range(refuse: Any, port: Any) -> None:
    assert refuse(port=port).fields == ("port",)


WRONG_URLS = [
    "http://accounts.example",
    "http://10.0.0.1:4000",
    "http://localhost.evil.example",
    "ftp://accounts.example",
    "https://accounts.example?x=1",
    "https://accounts.example#x",
    "https://accounts.example/a/../b",
    "https://accounts.example/./b",
    "https://accounts.example/a//b",
    "https://accounts.example/a b",
    "https://accounts.example/{x}",
    "https://good.example\\@evil.example",
    "https://accounts.example:99999",
    "https://",
    "a..example",
    "acc\nounts.example",
]


@pytest.mark.parametrize("field", ["host", "nodes_url", "connect_url"])
@pytest.mark.parametrize("url", WRONG_URLS, ids=repr)
def test_refuses_addresses_that_cannot_be_trusted_or_used(refuse: Any, field: str, url: str) -> None:
    assert refuse(**{field: url}).fields == (field,)


@pytest.mark.parametrize("field", ["host", "nodes_url", "connect_url", "rpc_origins"])
def test_userinfo_is_refused_and_not_repeated(refuse: Any, field: str) -> None:
    error = refuse(**{field: "https://hunter2user:hunter2pass@accounts.example"})

    assert error.fields == (field,)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("field", ["host", "nodes_url", "connect_url", "environment", "vault_path"])
@pytest.mark.parametrize("value", [7, True, ["https://a.example"], {"a": 1}], ids=repr)
def test_refuses_what_is_no_text(refuse: Any, field: str, value: Any) -> None:
    assert field in refuse(**{field: value}).fields


def test_the_remedy_for_plain_http_is_https(refuse: Any) -> None:
    (problem,) = refuse(nodes_url="http://nodes.example").problems

    assert "unencrypted" in problem.problem
    assert "https" in problem.remedy


@pytest.mark.parametrize("environment", ["production", "Prod uction", "dev"])
def test_an_unknown_environment_is_refused_with_the_known_ones(refuse: Any, environment: str) -> None:
    error = refuse(environment=environment)

    assert error.fields == ("environment",)
    assert "prod, staging, local" in str(error)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://{chain}.rpc.example/", "https://{chain}.rpc.example"),
        ("{chain}-main.rpc.example", "https://{chain}-main.rpc.example"),
        ("https://rpc.example/{chain}/v1", "https://rpc.example/{chain}/v1"),
        ("https://rpc.example", "https://rpc.example"),
        ("http://{chain}.localhost:4006", "http://{chain}.localhost:4006"),
    ],
)
def test_connect_url_may_name_the_chain(parse: Any, url: str, expected: str) -> None:
    assert parse(connect_url=url).connect_url == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://{chain}",
        "https://{chain}.example",
        "https://rpc.{chain}",
        "https://rpc.example.{chain}",
        "https://rpc.example:{chain}",
        "https://{network}.rpc.example",
        "{chain}://rpc.example",
        "https://{chain}@rpc.example",
    ],
)
def test_the_chain_may_not_choose_whose_host_it_is(refuse: Any, url: str) -> None:
    assert refuse(connect_url=url).fields == ("connect_url",)


def test_only_connect_url_may_name_the_chain(refuse: Any) -> None:
    assert refuse(nodes_url="https://{chain}.nodes.example").fields == ("nodes_url",)
    assert refuse(host="https://{chain}.accounts.example").fields == ("host",)


@pytest.mark.parametrize(
    "value",
    [
        ["https://RPC.example:8545/", "http://127.0.0.1:8545"],
        ("https://rpc.example:8545", "http://127.0.0.1:8545"),
        "https://rpc.example:8545, http://127.0.0.1:8545",
        "https://rpc.example:8545\r\nhttp://127.0.0.1:8545\n",
        '["https://rpc.example:8545", "http://127.0.0.1:8545"]',
    ],
    ids=repr,
)
def test_rpc_origins_come_as_list_or_text(parse: Any, value: Any) -> None:
    assert parse(rpc_origins=value).rpc_origins == {
        Origin("https", "rpc.example", 8545),
        Origin("http", "127.0.0.1", 8545),
    }


@pytest.mark.parametrize("value", [None, "", "  ", [], "[]", " , \n"], ids=repr)
def test_rpc_origins_may_be_empty(parse: Any, value: Any) -> None:
    assert parse(rpc_origins=value).rpc_origins == frozenset()


@pytest.mark.parametrize(
    "value",
    [
        "rpc.example",
        "https://rpc.example/v1/key",
        "https://rpc.example?x",
        "http://rpc.example",
        ["https://ok.example", "https://a@rpc.example"],
        ["https://*.example"],
        [7],
        7,
        {"https://rpc.example": True},
        '["https://rpc.example"',
        '{"a": 1}',
        "[" * 100_000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_rpc_origins_are_origins_only(refuse: Any, value: Any) -> None:
    assert refuse(rpc_origins=value).fields == ("rpc_origins",)


def test_each_wrong_rpc_origin_is_told_by_its_place(refuse: Any) -> None:
    text = str(refuse(rpc_origins=["https://ok.example", "rpc.example", "http://rpc.example"]))

    assert "entry 2" in text
    assert "entry 3" in text
    assert "entry 1" not in text
