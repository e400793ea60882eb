"""Client keys in the connection or in Vault, and the shared token: exactly one source, and no secret in messages."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import BloqSettings, SharedLocation, VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError

pytestmark = pytest.mark.logic

NO_KEYS = {"login": None, "password": None}
SHARES = {"sharing": "vault", "shared_vault_path": "bloq/shared"}


def test_client_keys_in_the_connection(parse: Any) -> None:
    for password in ("s3cret-value", " s3cret-value\n", Secret("s3cret-value")):
        settings = parse(login=" an-id ", password=password)
        assert settings.client_keys == ClientKeys("an-id", Secret("s3cret-value"))
        assert settings.vault is None


def test_a_vault_path_is_enough(parse: Any) -> None:
    settings = parse(login=None, password="", vault_path=" /bloq/client/ ")

    assert settings.vault == VaultLocation("vault_default", "bloq/client")
    assert settings.vault.id_fields == ("clientId", "client_id")
    assert settings.vault.key_fields == ("clientSecret", "client_secret")
    assert settings.client_keys is None


def test_all_vault_fields(parse: Any) -> None:
    settings = parse(
        **NO_KEYS,
        vault_conn_id="my_vault",
        vault_path="bloq/client",
        vault_id_field="id",
        vault_key_field="key",
    )

    assert settings.vault == VaultLocation("my_vault", "bloq/client", "id", "key")
    assert (settings.vault.id_fields, settings.vault.key_fields) == (("id",), ("key",))


def test_empty_vault_fields_of_a_form_count_as_missing(parse: Any) -> None:
    assert parse(vault_conn_id="", vault_path=None, vault_id_field=" ", vault_key_field="").vault is None


def test_too_few_and_too_many_client_keys_are_rejected(reject: Any) -> None:
    for parts, field, words in (
        (NO_KEYS, "login", "no client keys"),
        ({"login": " ", "password": ""}, "login", "no client keys"),
        ({"password": None}, "password", "no client secret"),
        ({"password": Secret("")}, "password", "no client secret"),
        ({"login": ""}, "login", "no client ID"),
        ({"vault_path": "bloq/client"}, "vault_path", "in the connection (login, password) and by Vault"),
        ({"login": None, "vault_path": "bloq/client"}, "vault_path", "and by Vault"),
        ({"password": None, "vault_path": "bloq/client"}, "vault_path", "and by Vault"),
        ({"vault_conn_id": "my_vault"}, "vault_conn_id", "and by Vault"),
        ({**NO_KEYS, "vault_conn_id": "my_vault"}, "vault_path", "missing"),
        ({**NO_KEYS, "vault_key_field": "key"}, "vault_path", "missing"),
        ({**NO_KEYS, "vault_path": "/"}, "vault_path", "empty part"),
        ({**NO_KEYS, "vault_path": "bloq/../other"}, "vault_path", "dots"),
        ({**NO_KEYS, "vault_path": "bloq//client"}, "vault_path", "empty part"),
        ({**NO_KEYS, "vault_path": "bloq/cli\nent"}, "vault_path", "line break"),
        (
            {**NO_KEYS, "vault_path": "bloq", "vault_conn_id": "bloq_default"},
            "vault_conn_id",
            "this connection itself",
        ),
        ({"login": 7}, "login", "not a text"),
        ({"password": b"bytes"}, "password", "not a text"),
    ):
        error = reject(**parts)
        assert error.fields == (field,)
        assert words in str(error)


def test_keys_misplaced_in_extra_are_assigned_to_their_field(reject: Any) -> None:
    for name, standard in (
        ("client_secret", "password"),
        ("clientSecret", "password"),
        ("CLIENT-SECRET", "password"),
        ("extra__bloq__client_secret", "password"),
        ("client_id", "login"),
        ("clientId", "login"),
        ("accounts_url", "host"),
    ):
        (problem,) = reject(**{name: "s3cret-value"}).problems
        assert problem.field == name
        assert standard in problem.remedy
        assert "s3cret-value" not in str(problem)


def test_an_extra_with_the_name_of_a_standard_field_is_not_taken_for_it() -> None:
    with pytest.raises(BloqConfigurationError) as caught:
        BloqSettings.parse("c", None, None, "id", "s3cret-value", {"password": "other-s3cret", "host": "x"})

    assert caught.value.fields == ("extra.password", "extra.host")
    assert "s3cret" not in str(caught.value)


def test_no_message_quotes_the_client_secret_even_if_another_field_repeats_it(reject: Any) -> None:
    secret = "5ecret" * 5
    error = reject(
        host=f"https://{secret}@accounts.example",
        password=secret,
        environment=secret,
        timeout=secret,
        ca_bundle=f"/{secret}",
        node_tls=f"x{secret}",
        node_fingerprints={secret: secret},
        rpc_origins=[secret],
        nodes_url=f"http://x.example/{secret}",
    )

    assert len(error.fields) == 8
    assert secret not in str(error)
    assert secret not in repr(error.problems)


def test_by_default_each_task_has_its_own_token(parse: Any) -> None:
    assert parse().shared is None
    assert parse(sharing="task").shared is None
    assert parse(sharing=None, shared_vault_path="", shared_vault_conn_id=" ").shared is None


def test_a_member_has_client_keys(parse: Any) -> None:
    settings = parse(**SHARES)
    assert settings.client_keys is not None
    assert settings.shared == SharedLocation("vault_default", "bloq/shared")
    assert settings.shared.lease_path == "bloq/shared/lease"

    settings = parse(**NO_KEYS, **SHARES, vault_path="bloq/keys", vault_conn_id="vault_bloq")
    assert settings.vault == VaultLocation("vault_bloq", "bloq/keys")
    assert settings.shared == SharedLocation("vault_bloq", "bloq/shared")


def test_a_reader_has_none(parse: Any) -> None:
    for fields, vault_conn_id in (
        ({}, "vault_default"),
        ({"vault_conn_id": "vault_reader"}, "vault_reader"),
        ({"shared_vault_conn_id": "vault_reader"}, "vault_reader"),
    ):
        settings = parse(**NO_KEYS, **SHARES, **fields)
        assert (settings.client_keys, settings.vault) == (None, None)
        assert settings.shared == SharedLocation(vault_conn_id, "bloq/shared")


def test_the_vault_connection_of_the_shared_token_takes_precedence(parse: Any) -> None:
    settings = parse(
        **NO_KEYS, **SHARES, vault_path="bloq/keys", vault_conn_id="v1", shared_vault_conn_id="v2"
    )
    assert (settings.vault.vault_conn_id, settings.shared.vault_conn_id) == ("v1", "v2")


def test_contradictory_sharing_fields_are_rejected(reject: Any) -> None:
    for parts, field in (
        ({"sharing": "vault"}, "shared_vault_path"),
        ({"sharing": "vault", **NO_KEYS}, "shared_vault_path"),
        ({"sharing": "all"}, "sharing"),
        ({"sharing": "all", "shared_vault_path": "bloq/shared"}, "sharing"),
        ({"shared_vault_path": "bloq/shared"}, "shared_vault_path"),
        ({"shared_vault_conn_id": "vault_bloq"}, "shared_vault_conn_id"),
        ({**SHARES, "shared_vault_path": "../shared"}, "shared_vault_path"),
        ({**SHARES, "shared_vault_conn_id": "bloq_default"}, "shared_vault_conn_id"),
        ({**SHARES, "vault_conn_id": "vault_bloq"}, "vault_conn_id"),
        ({**SHARES, **NO_KEYS, "vault_id_field": "id"}, "vault_path"),
        ({**SHARES, "login": None}, "login"),
        ({**SHARES, "password": None}, "password"),
        ({**SHARES, **NO_KEYS, "vault_path": "bloq/shared"}, "shared_vault_path"),
        ({**SHARES, **NO_KEYS, "vault_path": "bloq/shared/lease"}, "shared_vault_path"),
        ({"shared_path": "bloq/shared", "shared_vault_paths": "x"}, "shared_vault_paths"),
    ):
        assert reject(**parts).fields == (field,)
