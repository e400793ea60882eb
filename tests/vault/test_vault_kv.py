"""KV secrets: the fields of the client keys, and check-and-set writes on a real server."""

from __future__ import annotations

import secrets
from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidRequest

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.kv import WriteConflict, pick_client_keys, read_kv2, write_kv2
from tests.support.raw_server import RawServer, answering

DEFAULTS = VaultLocation("vault_default", "bloq")
CUSTOM = VaultLocation("vault_default", "bloq", id_field="user", key_field="pass.word")


def test_the_client_keys_are_found_under_each_name() -> None:
    for data, location in (
        ({"clientId": "i", "clientSecret": "s"}, DEFAULTS),
        ({"client_id": "i", "client_secret": "s"}, DEFAULTS),
        ({"clientId": "i", "client_secret": "s"}, DEFAULTS),
        ({"clientId": "i", "client_id": "x", "clientSecret": "s", "client_secret": "x"}, DEFAULTS),
        ({"user": "i", "pass.word": "s", "clientId": "x", "clientSecret": "x"}, CUSTOM),
        ({"clientId": " i\n", "clientSecret": "s\n"}, DEFAULTS),
    ):
        keys = pick_client_keys(data, location, "here")
        assert (keys.client_id, keys.client_secret.reveal()) == ("i", "s")


def failure(data: dict[str, Any], location: VaultLocation = DEFAULTS) -> BloqConfigurationError:
    with pytest.raises(BloqConfigurationError) as caught:
        pick_client_keys(data, location, "here")
    return caught.value


def test_missing_fields_are_reported_together_with_the_existing_names() -> None:
    error = failure({"b": "canary", "a": "canary"})
    assert error.fields == ("vault_id_field", "vault_key_field")
    assert "no field 'clientId' or 'client_id'; it has 'a', 'b'" in str(error)
    assert "canary" not in str(error)
    assert failure({"clientId": "i", "clientSecret": "s"}, CUSTOM).fields == error.fields
    assert "it has no fields" in str(failure({}))


def test_only_some_of_many_names_are_listed() -> None:
    text = str(failure({f"{number:03}-{'x' * 100}": "" for number in range(100)}))
    assert "and 80 more" in text
    assert "x" * 41 not in text


def test_a_value_must_be_a_string_with_characters() -> None:
    for value in ("", " ", "\n"):
        error = failure({"clientId": "i", "clientSecret": value})
        assert error.fields == ("vault_key_field",)
        assert "'clientSecret' is empty" in str(error)
    for wrong in (None, 71, 7.5, True, ["canary"], {"canary": "canary"}):
        error = failure({"clientId": wrong, "clientSecret": "s"})
        assert error.fields == ("vault_id_field",)
        assert "'clientId' is not a string" in str(error)
        assert "canary" not in str(error)


@pytest.fixture
def path() -> str:
    # Reserved characters are part of the path.
    return f"writes/{secrets.token_hex(8)} %41"


@pytest.fixture
def client(vault: LocalVault) -> Any:
    return hvac.Client(url=vault.url, token=vault.root_token)


def test_a_write_needs_the_current_version(client: Any, path: str) -> None:
    assert write_kv2(client, "secret", path, {"a": "1"}, cas=0)[0] == 1
    version, age = write_kv2(client, "secret", path, {"b": "2"}, cas=1)
    assert version == 2
    # Up to one second too low, since a Date has no fractions.
    assert age is not None
    assert -1.0 <= age < 600.0
    for known in (0, 1, 3):
        with pytest.raises(WriteConflict):
            write_kv2(client, "secret", path, {"a": "mine"}, cas=known)

    secret = read_kv2(client, "secret", path)
    assert (secret.version, secret.data) == (2, {"b": "2"})
    by_hvac = client.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    assert by_hvac["data"]["data"] == secret.data


def test_other_refusals_are_not_write_conflicts(client: Any, vault: LocalVault, path: str) -> None:
    powerless = hvac.Client(
        url=vault.url, token=client.auth.token.create(policies=["none"])["auth"]["client_token"]
    )
    with pytest.raises(Forbidden):
        write_kv2(powerless, "secret", path, {"a": "1"}, cas=0)
    answer = answering(400, b'{"errors": ["something else"]}', Content_Type="application/json")
    with RawServer(answer) as server, pytest.raises(InvalidRequest, match="something else"):
        write_kv2(hvac.Client(url=server.url, token="t"), "secret", path, {"a": "1"}, cas=0)
