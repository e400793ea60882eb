"""What a hook builds from a connection's settings."""

from __future__ import annotations

import json

import pytest

from airflow_provider_bloq.connection.reading import read_settings
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.hooks._account import Account

pytestmark = pytest.mark.logic

KEYS_IN_VAULT = {"vault_conn_id": "vault_keys", "vault_path": "bloq/keys"}
SHARED = {"sharing": "vault", "shared_vault_path": "bloq/shared"}


def account_of(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], **keys: str) -> Account:
    connection = {"conn_type": "bloq", **keys, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_BLOQ_DEFAULT", json.dumps(connection))
    return Account.of(read_settings("bloq_default"), lambda _: None, RetryPolicy())


@pytest.mark.parametrize(
    ("extra", "keys", "vault", "has_keys", "is_shared"),
    [
        ({}, {"login": "id", "password": "secret"}, None, True, False),
        (KEYS_IN_VAULT, {}, "vault_keys", True, False),
        ({**SHARED, "vault_conn_id": "vault_shared"}, {}, "vault_shared", False, True),
        (
            {**SHARED, "shared_vault_conn_id": "vault_shared"},
            {"login": "id", "password": "secret"},
            "vault_shared",
            True,
            True,
        ),
        ({**SHARED, **KEYS_IN_VAULT}, {}, "vault_keys", True, True),
    ],
)
def test_an_account_has_a_vault_client_only_if_keys_or_token_are_in_vault(
    extra: dict[str, str],
    keys: dict[str, str],
    vault: str | None,
    has_keys: bool,
    is_shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = account_of(monkeypatch, extra, **keys)
    assert (account.vault.vault_conn_id if account.vault else None) == vault
    assert (account.source is not None) == has_keys
    assert (account.store is not None) == is_shared
    assert (account.vault_path_keys is not None) == ("vault_path" in extra)
