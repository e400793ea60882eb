"""Connect's path keys beside the client keys in a real Vault."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.key_source import VaultPathKeys
from tests.vault.conftest import CONN_ID


def path_keys(vault: LocalVault, stored: Any, connect: Any) -> VaultPathKeys:
    role = vault.approle("path-keys", [stored.policy])
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    return VaultPathKeys(VaultLocation(CONN_ID, stored.path), VaultClient(CONN_ID, timeout=10))


def test_each_chain_has_a_field_which_is_read_anew_each_time(
    vault: LocalVault, stored: Any, connect: Any
) -> None:
    keys = path_keys(vault, stored, connect)
    fields = {"clientId": stored.client_id, "clientSecret": stored.client_secret}
    for key in ("amber-acorn-arrow", "brisk-badge-beacon"):
        vault.put(stored.path, {**fields, "connect_eth": f"{key}\n", "connect_etc": "another"})
        assert keys.load("eth").reveal() == key
    assert keys.load("etc").reveal() == "another"


def test_a_missing_field_is_named_without_any_value(vault: LocalVault, stored: Any, connect: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="connect_eth") as missing:
        path_keys(vault, stored, connect).load("eth")
    assert missing.value.fields == ("vault_path",)
    assert stored.client_secret not in str(missing.value)


def test_a_malformed_path_key_is_refused_and_not_shown(vault: LocalVault, stored: Any, connect: Any) -> None:
    keys = path_keys(vault, stored, connect)
    for value in ("abc/DEF+ghi=jkl", "schlüssel wort", "..", "***", "a?b", "a%2Fb", "x" * 201):
        vault.put(stored.path, {"clientId": "i", "clientSecret": "s", "connect_eth": value})
        with pytest.raises(BloqConfigurationError, match="connect_eth does not hold a path key") as refused:
            keys.load("eth")
        assert refused.value.fields == ("vault_path",)
        assert value not in str(refused.value)
