"""Path keys that stand where URLs of services belong."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import CONNECT_DOMAINS
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection.fields import Environment


@pytest.mark.parametrize("field", ["host", "nodes_url", "connect_url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://eth.connect.bloq.cloud/v1/three-word-key",
        "https://ETH.connect.bloqclouddev.com:8443/V1/three-word-key/",
        "https://eth.connect.bloq.cloud/x/%76%31/three-word-key",
        "https://connect.bloq.cloud/v1/three-word-key",
        "eth.connect.bloq.cloud/v1/three-word-key",
    ],
)
def test_a_url_with_a_path_key_is_refused_and_not_quoted(refuse: Any, field: str, url: str) -> None:
    error = refuse(**{field: url})

    assert error.fields == (field,)
    assert "path key" in str(error)
    assert "three-word-key" not in str(error)


def test_a_url_with_a_path_key_is_refused_for_any_chain(refuse: Any) -> None:
    error = refuse(connect_url="https://{chain}.connect.bloq.cloud/v1/three-word-key")

    assert error.fields == ("connect_url",)
    assert "three-word-key" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "https://{chain}.connect.bloq.cloud",
        "https://btc.connect.bloq.cloud/v1",
        "https://connect.example/v1/base",
        "https://notconnect.bloq.cloud/v1/base",
    ],
)
def test_other_urls_of_connect_are_taken(parse: Any, url: str) -> None:
    assert parse(connect_url=url).connect_url == url


def test_the_hosts_where_path_keys_are_looked_for_are_those_of_the_environments() -> None:
    hosts = {
        Origin.of(environment.presets.connect_url.replace("{chain}", "eth")).host
        for environment in (Environment.PROD, Environment.STAGING)
    }

    assert hosts == {f"eth.{domain}" for domain in CONNECT_DOMAINS}
