"""The two fields of the secret: their names, and what their values must be."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.kv import pick_client_keys

DEFAULTS = VaultLocation("vault_default", "bloq")
CUSTOM = VaultLocation("vault_default", "bloq", id_field="user", key_field="pass.word")


@pytest.mark.parametrize(
    ("data", "location"),
    [
        ({"clientId": "i", "clientSecret": "s"}, DEFAULTS),
        ({"client_id": "i", "client_secret": "s"}, DEFAULTS),
        ({"clientId": "i", "client_secret": "s"}, DEFAULTS),
        ({"clientId": "i", "client_id": "x", "clientSecret": "s", "client_secret": "x"}, DEFAULTS),
        ({"user": "i", "pass.word": "s", "clientId": "x", "clientSecret": "x"}, CUSTOM),
        ({"clientId": " i\n", "clientSecret": "s\n"}, DEFAULTS),
    ],
)
def test_the_pair_is_found(data: dict[str, str], location: VaultLocation) -> None:
    keys = pick_client_keys(data, location, "here")
    assert (keys.client_id, keys.client_secret.reveal()) == ("i", "s")


def failure(data: dict[str, Any], location: VaultLocation = DEFAULTS) -> BloqConfigurationError:
    with pytest.raises(BloqConfigurationError) as caught:
        pick_client_keys(data, location, "here")
    return caught.value


def test_missing_fields_are_reported_together_with_the_names_that_are_there() -> None:
    error = failure({"b": "canary", "a": "canary"})
    assert error.fields == ("vault_id_field", "vault_key_field")
    assert "no field 'clientId' or 'client_id'; it has 'a', 'b'" in str(error)
    assert "canary" not in str(error)


def test_a_named_field_has_no_fallback() -> None:
    error = failure({"clientId": "i", "clientSecret": "s"}, CUSTOM)
    assert error.fields == ("vault_id_field", "vault_key_field")


def test_a_secret_without_any_field() -> None:
    assert "it has no fields" in str(failure({}))


def test_a_secret_with_many_fields_is_not_listed_whole() -> None:
    text = str(failure({f"{number:03}-{'x' * 100}": "" for number in range(100)}))
    assert "and 80 more" in text
    assert "x" * 41 not in text


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_value(value: str) -> None:
    error = failure({"clientId": "i", "clientSecret": value})
    assert error.fields == ("vault_key_field",)
    assert "'clientSecret' is empty" in str(error)


@pytest.mark.parametrize("value", [None, 71, 7.5, True, ["canary"], {"canary": "canary"}])
def test_a_value_that_is_no_text(value: Any) -> None:
    error = failure({"clientId": value, "clientSecret": "s"})
    assert error.fields == ("vault_id_field",)
    assert "'clientId' is no text" in str(error)
    assert "canary" not in str(error)
