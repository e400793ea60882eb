"""URLs of the services: names and URLs, environments, ports, path keys, and what is rejected."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import CONNECT_DOMAINS
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import Environment

pytestmark = pytest.mark.logic


def test_the_environment_sets_all_urls(parse: Any) -> None:
    for environment, *urls in (
        (
            None,
            "https://accounts.bloq.cloud",
            "https://nodes.bloq.cloud",
            "https://{chain}.connect.bloq.cloud",
        ),
        (
            "staging",
            "https://accounts.bloqclouddev.com",
            "https://nodes.bloqclouddev.com",
            "https://{chain}.connect.bloqclouddev.com",
        ),
        (" LOCAL ", "http://localhost:4000", "http://localhost:4002", "http://localhost:4006"),
    ):
        settings = parse(environment=environment)
        assert [settings.accounts_url, settings.nodes_url, settings.connect_url] == urls
    assert parse().environment is Environment.PROD


def test_an_explicit_url_overrides_the_environment_for_its_service_only(parse: Any) -> None:
    settings = parse(host="https://a.example", environment="staging", nodes_url="https://n.example/v1/")

    assert settings.accounts_url == "https://a.example"
    assert settings.nodes_url == "https://n.example/v1"
    assert settings.connect_url == "https://{chain}.connect.bloqclouddev.com"


def test_an_unknown_environment_is_rejected_with_the_known_ones(reject: Any) -> None:
    for environment in ("production", "Prod uction", "dev"):
        error = reject(environment=environment)
        assert error.fields == ("environment",)
        assert "prod, staging, local" in str(error)


def test_host_is_a_name_or_a_url(parse: Any) -> None:
    for host, url in (
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
    ):
        assert parse(host=host).accounts_url == url


def test_a_loopback_name_without_scheme_means_http_in_the_local_environment(parse: Any) -> None:
    for host, url in (
        ("localhost:4000", "http://localhost:4000"),
        ("127.0.0.1:4100", "http://127.0.0.1:4100"),
        ("::1", "http://[::1]"),
        ("accounts.example", "https://accounts.example"),
        ("https://localhost:4000", "https://localhost:4000"),
    ):
        assert parse(host=host, environment="local").accounts_url == url


def test_port_completes_the_host(parse: Any) -> None:
    for host, port, url in (
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
    ):
        assert parse(host=host, port=port).accounts_url == url


def test_port_must_not_contradict_the_host(reject: Any) -> None:
    for host, port, environment in (
        ("https://a.example:8443", 443, "prod"),
        ("a.example:8443", 8444, "prod"),
        ("https://a.example:443", 8443, "prod"),
        (None, 443, "local"),
    ):
        error = reject(host=host, port=port, environment=environment)
        assert error.fields == ("port",)
        assert "contradicts" in str(error)


def test_port_is_a_number_in_range(reject: Any) -> None:
    for port in (-1, 65536, "https", 44.3, True, False, "443x", [443], "nan", 10**400):
        assert reject(port=port).fields == ("port",)


@pytest.mark.parametrize("field", ["host", "nodes_url", "connect_url"])
def test_urls_that_cannot_be_trusted_or_used_are_rejected(reject: Any, field: str) -> None:
    for url in (
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
    ):
        assert reject(**{field: url}).fields == (field,)


def test_a_local_name_that_cannot_be_read_is_rejected(reject: Any) -> None:
    assert reject(host="local host", environment="local").fields == ("host",)


def test_user_names_and_passwords_are_rejected_and_not_quoted(reject: Any) -> None:
    for field in ("host", "nodes_url", "connect_url", "rpc_origins"):
        error = reject(**{field: "https://hunter2user:hunter2pass@accounts.example"})
        assert error.fields == (field,)
        assert "hunter2" not in str(error)


def test_the_remedy_for_plain_http_is_https(reject: Any) -> None:
    (problem,) = reject(nodes_url="http://nodes.example").problems

    assert "unencrypted" in problem.problem
    assert "https" in problem.remedy


def test_connect_url_may_contain_the_chain(parse: Any) -> None:
    for url, expected in (
        ("https://{chain}.rpc.example/", "https://{chain}.rpc.example"),
        ("{chain}-main.rpc.example", "https://{chain}-main.rpc.example"),
        ("https://rpc.example/{chain}/v1", "https://rpc.example/{chain}/v1"),
        ("https://rpc.example", "https://rpc.example"),
        ("http://{chain}.localhost:4006", "http://{chain}.localhost:4006"),
    ):
        assert parse(connect_url=url).connect_url == expected


def test_the_chain_must_not_choose_the_domain(reject: Any) -> None:
    for url in (
        "https://{chain}",
        "https://{chain}.example",
        "https://rpc.{chain}",
        "https://rpc.example.{chain}",
        "https://rpc.example:{chain}",
        "https://{network}.rpc.example",
        "{chain}://rpc.example",
        "https://{chain}@rpc.example",
    ):
        assert reject(connect_url=url).fields == ("connect_url",)


def test_only_connect_url_may_contain_the_chain(reject: Any) -> None:
    assert reject(nodes_url="https://{chain}.nodes.example").fields == ("nodes_url",)
    assert reject(host="https://{chain}.accounts.example").fields == ("host",)


def test_a_url_with_a_path_key_is_rejected_and_not_quoted(reject: Any) -> None:
    for field, url in (
        ("host", "https://eth.connect.bloq.cloud/v1/three-word-key"),
        ("nodes_url", "https://ETH.connect.bloqclouddev.com:8443/V1/three-word-key/"),
        ("nodes_url", "https://eth.connect.bloq.cloud/x/%76%31/three-word-key"),
        ("connect_url", "https://connect.bloq.cloud/v1/three-word-key"),
        ("connect_url", "eth.connect.bloq.cloud/v1/three-word-key"),
        ("connect_url", "https://{chain}.connect.bloq.cloud/v1/three-word-key"),
        ("rpc_origins", "https://eth.connect.bloq.cloud/v1/three-word-key"),
    ):
        error = reject(**{field: url})
        assert error.fields == (field,)
        assert "path key" in str(error)
        assert "three-word-key" not in str(error)


def test_other_urls_of_connect_are_accepted(parse: Any) -> None:
    for url in (
        "https://{chain}.connect.bloq.cloud",
        "https://btc.connect.bloq.cloud/v1",
        "https://connect.example/v1/base",
        "https://notconnect.bloq.cloud/v1/base",
    ):
        assert parse(connect_url=url).connect_url == url


def test_path_keys_are_recognised_on_the_hosts_of_the_environments() -> None:
    hosts = {
        Origin.of(environment.presets.connect_url.replace("{chain}", "eth")).host
        for environment in (Environment.PROD, Environment.STAGING)
    }

    assert hosts == {f"eth.{domain}" for domain in CONNECT_DOMAINS}


def test_rpc_origins_are_a_list_or_a_text(parse: Any) -> None:
    for value in (
        ["https://RPC.example:8545/", "http://127.0.0.1:8545"],
        ("https://rpc.example:8545", "http://127.0.0.1:8545"),
        "https://rpc.example:8545, http://127.0.0.1:8545",
        "https://rpc.example:8545\r\nhttp://127.0.0.1:8545\n",
        '["https://rpc.example:8545", "http://127.0.0.1:8545"]',
    ):
        assert parse(rpc_origins=value).rpc_origins == {
            Origin("https", "rpc.example", 8545),
            Origin("http", "127.0.0.1", 8545),
        }


def test_rpc_origins_may_be_empty(parse: Any) -> None:
    for value in (None, "", "  ", [], "[]", " , \n"):
        assert parse(rpc_origins=value).rpc_origins == frozenset()


def test_rpc_origins_must_be_origins(reject: Any) -> None:
    for value in (
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
    ):
        assert reject(rpc_origins=value).fields == ("rpc_origins",)


def test_each_wrong_rpc_origin_is_named_by_its_position(reject: Any) -> None:
    text = str(reject(rpc_origins=["https://ok.example", "rpc.example", "http://rpc.example"]))

    assert "entry 2" in text
    assert "entry 3" in text
    assert "entry 1" not in text
