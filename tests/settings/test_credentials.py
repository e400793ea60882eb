"""Client keys: in the connection or in Vault, exactly one of the two, and never in a message."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import BloqSettings, VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError


@pytest.mark.parametrize("password", ["s3cret-value", " s3cret-value\n", Secret("s3cret-value")], ids=repr)
def test_keys_in_the_connection(parse: Any, password: str) -> None:
    settings = parse(login=" an-id ", password=password)

    assert settings.client_keys == ClientKeys("an-id", Secret("s3cret-value"))
    assert settings.vault is None


def test_a_vault_path_is_enough(parse: Any) -> None:
    settings = parse(login=None, password="", vault_path=" /bloq/client/ ")

    assert settings.vault == VaultLocation("vault_default", "bloq/client", None, None)
    assert settings.client_keys is None


def test_all_of_vault(parse: Any) -> None:
    settings = parse(
        login="",
        password=None,
        vault_conn_id="my_vault",
        vault_path="bloq/client",
        vault_id_field="id",
        vault_key_field="key",
    )

    assert settings.vault == VaultLocation("my_vault", "bloq/client", "id", "key")


def test_empty_vault_fields_of_a_form_count_as_not_given(parse: Any) -> None:
    settings = parse(vault_conn_id="", vault_path=None, vault_id_field=" ", vault_key_field="")

    assert settings.vault is None


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ({"login": None, "password": None}, "login", "no client keys"),
        ({"login": " ", "password": ""}, "login", "no client keys"),
        ({"password": None}, "password", "no client secret"),
        ({"password": Secret("")}, "password", "no client secret"),
        ({"login": ""}, "login", "no client ID"),
        ({"vault_path": "bloq/client"}, "vault_path", "in the connection (login, password) and by Vault"),
        ({"login": None, "vault_path": "bloq/client"}, "vault_path", "and by Vault"),
        ({"password": None, "vault_path": "bloq/client"}, "vault_path", "and by Vault"),
        ({"vault_conn_id": "my_vault"}, "vault_conn_id", "and by Vault"),
        ({"login": None, "password": None, "vault_conn_id": "my_vault"}, "vault_path", "missing"),
        ({"login": None, "password": None, "vault_key_field": "key"}, "vault_path", "missing"),
        ({"login": None, "password": None, "vault_path": "/"}, "vault_path", "empty part"),
        ({"login": None, "password": None, "vault_path": "bloq/../other"}, "vault_path", "dots"),
        ({"login": None, "password": None, "vault_path": "bloq//client"}, "vault_path", "empty part"),
        ({"login": None, "password": None, "vault_path": "bloq/cli\nent"}, "vault_path", "line break"),
        (
            {"login": None, "password": None, "vault_path": "bloq", "vault_conn_id": "bloq_default"},
            "vault_conn_id",
            "this very connection",
        ),
        ({"login": 7}, "login", "no text"),
        ({"password": b"bytes"}, "password", "no text"),
    ],
    ids=repr,
)
def test_refuses_too_few_keys_and_too_many(
    refuse: Any, parts: dict[str, Any], field: str, words: str
) -> None:
    error = refuse(**parts)

    assert error.fields == (field,)
    assert words in str(error)


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("client_secret", "password"),
        ("clientSecret", "password"),
        ("CLIENT-SECRET", "password"),
        ("extra__bloq__client_secret", "password"),
        ("client_id", "login"),
        ("clientId", "login"),
        ("accounts_url", "host"),
    ],
)
def test_keys_that_went_astray_into_extra_are_sent_to_their_field(
    refuse: Any, name: str, standard: str
) -> None:
    (problem,) = refuse(**{name: "s3cret-value"}).problems

    assert problem.field == name
    assert standard in problem.remedy
    assert "s3cret-value" not in str(problem)


def test_an_extra_named_like_a_standard_field_is_not_taken_for_it() -> None:
    with pytest.raises(BloqConfigurationError) as caught:
        BloqSettings.parse("c", None, None, "id", "s3cret-value", {"password": "other-s3cret", "host": "x"})

    assert caught.value.fields == ("extra.password", "extra.host")
    assert "s3cret" not in str(caught.value)


def test_no_message_repeats_the_client_secret_wherever_it_was_entered_again(refuse: Any) -> None:
    secret = "5ecret" * 5
    error = refuse(
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
