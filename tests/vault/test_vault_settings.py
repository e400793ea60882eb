"""The settings of a Vault connection: read as VaultHook reads them; the identity of a key source."""

from __future__ import annotations

import itertools
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


def test_the_url_that_is_checked_is_the_one_that_the_hook_calls(connect: Any) -> None:
    tls = (None, True, False, "true", "True", "yes", "1", "no", "false", " ON ")
    for conn_type, use_tls, port in itertools.product(
        ("vault", "vaults", "http", "https"), tls, (None, 8200)
    ):
        extra = {} if use_tls is None else {"use_tls": use_tls}
        connect(conn_type=conn_type, host="localhost", port=port, password="token", extra=extra)
        login = VaultLogin.open("vault_under_test", timeout=1)
        # With a token, the login sends nothing.
        login.log_in(lambda _: None)
        assert login.client.url == login.settings.url, (conn_type, use_tls, port)


def test_the_timeout_reaches_every_request(connect: Any) -> None:
    connect(password="token", extra={"client_kwargs": {"timeout": 999}})
    login = VaultLogin.open("vault_under_test", timeout=7.5)
    login.log_in(lambda _: None)
    assert login.client.adapter._kwargs["timeout"] == 7.5


def test_the_defaults_are_those_of_the_hook(connect: Any) -> None:
    settings = settings_of(connect)
    assert (settings.mount, settings.kv_version, settings.auth_type, settings.namespace) == (
        "secret",
        2,
        "token",
        "",
    )


def test_plain_http_is_allowed_to_loopback_only(connect: Any) -> None:
    for host in ("localhost", "vault.localhost", "127.0.0.1", "127.8.9.1", "[::1]"):
        assert settings_of(connect, host=host, port=8200).url == f"http://{host}:8200"
    for host in ("vault", "10.0.0.7", "localhost.example.com", "0.0.0.0", "[::2]"):
        with pytest.raises(BloqConfigurationError, match="plain http"):
            settings_of(connect, host=host)
        assert settings_of(connect, host=host, extra={"use_tls": True}).url.startswith("https://")


def test_a_host_that_is_not_a_bare_name_is_refused_and_not_quoted(connect: Any) -> None:
    for host in ("", None, "http://127.0.0.1", "user:canary@127.0.0.1", "127.0.0.1@evil.example", "a b"):
        with pytest.raises(BloqConfigurationError, match="not usable") as caught:
            settings_of(connect, host=host)
        assert "canary" not in str(caught.value)


def test_identity_needs_no_request(vault: LocalVault, connect: Any, source_of: Any, watch: Any) -> None:
    role = vault.approle("identity", [])
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    with watch() as seen:
        assert source_of("bloq").identity == source_of("bloq").identity
    assert seen == []


def test_everything_that_may_lead_to_other_keys_changes_the_identity(connect: Any, source_of: Any) -> None:
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {}),
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
    ]
    identities = set()
    for connection, location in cases:
        connect(**({"password": "token-a"} | connection))
        identities.add(source_of(**({"path": "bloq"} | location)).identity)
    assert len(identities) == len(cases)


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
