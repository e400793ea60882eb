"""What is read from a Vault connection: as VaultHook reads it, and what tells two sources apart."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.client import VaultLogin


def settings_of(connect: Any, **fields: Any) -> Any:
    connect(**({"password": "token"} | fields))
    return VaultLogin.open("vault_under_test", timeout=1).settings


@pytest.mark.parametrize("conn_type", ["vault", "vaults", "http", "https"])
@pytest.mark.parametrize("use_tls", [None, True, False, "true", "True", "yes", "1", "no", "false", " ON "])
@pytest.mark.parametrize("port", [None, 8200])
def test_the_url_that_is_checked_is_the_one_that_the_hook_asks(
    connect: Any, conn_type: str, use_tls: Any, port: int | None
) -> None:
    extra = {} if use_tls is None else {"use_tls": use_tls}
    connect(conn_type=conn_type, host="localhost", port=port, password="token", extra=extra)
    session = VaultLogin.open("vault_under_test", timeout=1)
    # Auth by token: the login sends nothing.
    session.log_in(lambda _: None)
    assert session.client.url == session.settings.url


def test_the_timeout_reaches_every_request(connect: Any) -> None:
    connect(password="token", extra={"client_kwargs": {"timeout": 999}})
    session = VaultLogin.open("vault_under_test", timeout=7.5)
    session.log_in(lambda _: None)
    assert session.client.adapter._kwargs["timeout"] == 7.5


def test_the_defaults_are_those_of_the_hook(connect: Any) -> None:
    settings = settings_of(connect)
    assert (settings.mount, settings.kv_version, settings.auth_type, settings.namespace) == (
        "secret",
        2,
        "token",
        "",
    )


@pytest.mark.parametrize("host", ["localhost", "vault.localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_plain_http_is_allowed_to_loopback(connect: Any, host: str) -> None:
    assert settings_of(connect, host=host, port=8200).url == f"http://{host}:8200"


@pytest.mark.parametrize("host", ["vault", "10.0.0.7", "localhost.example.com", "0.0.0.0", "[::2]"])
def test_plain_http_to_elsewhere_is_refused(connect: Any, host: str) -> None:
    with pytest.raises(BloqConfigurationError, match="plain http"):
        settings_of(connect, host=host)
    assert settings_of(connect, host=host, extra={"use_tls": True}).url.startswith("https://")


@pytest.mark.parametrize(
    "host", ["", None, "http://127.0.0.1", "user:canary@127.0.0.1", "127.0.0.1@evil.example", "a b"]
)
def test_a_host_that_is_no_bare_name_is_refused_and_not_quoted(connect: Any, host: str | None) -> None:
    with pytest.raises(BloqConfigurationError, match="not usable") as caught:
        settings_of(connect, host=host)
    assert "canary" not in str(caught.value)


def test_identity_needs_no_request(vault: LocalVault, connect: Any, source_of: Any, watch: Any) -> None:
    role = vault.approle("identity", [])
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    with watch() as seen:
        assert source_of("bloq").identity == source_of("bloq").identity
    assert seen == []


BASE: dict[str, Any] = {"password": "token-a"}


@pytest.mark.parametrize(
    ("connection", "location"),
    [
        ({"port": 8201}, {}),
        ({"host": "localhost"}, {}),
        ({"schema": "other"}, {}),
        ({"password": "token-b"}, {}),
        ({"login": "somebody"}, {}),
        ({"extra": {"auth_type": "approle"}, "login": "role"}, {}),
        ({"extra": {"client_kwargs": {"namespace": "team"}}}, {}),
        ({"extra": {"kv_engine_version": 1}}, {}),
        ({}, {"path": "other"}),
        ({}, {"id_field": "id"}),
        ({}, {"key_field": "id"}),
    ],
)
def test_identity_differs_with_whatever_may_lead_to_other_keys(
    connect: Any, source_of: Any, connection: dict[str, Any], location: dict[str, str]
) -> None:
    connect(**BASE)
    original = source_of("bloq").identity
    connect(**(BASE | connection))
    assert source_of(**({"path": "bloq"} | location)).identity != original


def test_identity_differs_with_the_token_of_the_environment(
    connect: Any, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()
    identities = set()
    for token in ("one", "two"):
        monkeypatch.setenv("VAULT_TOKEN", token)
        identities.add(source_of("bloq").identity)
    assert len(identities) == 2


def test_the_modules_load_nothing_heavy() -> None:
    code = """
import json, sys
import airflow_provider_bloq.vault.key_source, airflow_provider_bloq.connection.settings
heavy = {"airflow", "hvac", "requests", "aiohttp", "urllib3", "jwt", "cryptography"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(output) == []
