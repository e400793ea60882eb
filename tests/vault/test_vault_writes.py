"""Check-and-set writes, against a real server."""

from __future__ import annotations

import secrets
from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidRequest

from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.kv import WriteConflict, read_kv2, write_kv2


@pytest.fixture
def path() -> str:
    return f"writes/{secrets.token_hex(8)}"


@pytest.fixture
def client(vault: LocalVault) -> Any:
    return hvac.Client(url=vault.url, token=vault.root_token)


def test_what_nobody_wrote_meanwhile_is_written(client: Any, path: str) -> None:
    assert write_kv2(client, "secret", path, {"a": "1"}, cas=0) == 1
    assert write_kv2(client, "secret", path, {"b": "2"}, cas=1) == 2

    assert read_kv2(client, "secret", path).data == {"b": "2"}


@pytest.mark.parametrize("known", [0, 1, 3])
def test_who_read_another_version_writes_nothing(client: Any, path: str, known: int) -> None:
    write_kv2(client, "secret", path, {"a": "1"}, cas=0)
    write_kv2(client, "secret", path, {"a": "2"}, cas=1)

    with pytest.raises(WriteConflict):
        write_kv2(client, "secret", path, {"a": "mine"}, cas=known)

    secret = read_kv2(client, "secret", path)
    assert (secret.version, secret.data) == (2, {"a": "2"})


def test_other_refusals_are_not_taken_for_a_lost_race(client: Any, vault: LocalVault, path: str) -> None:
    powerless = hvac.Client(
        url=vault.url, token=client.auth.token.create(policies=["none"])["auth"]["client_token"]
    )

    with pytest.raises(Forbidden):
        write_kv2(powerless, "secret", path, {"a": "1"}, cas=0)
    with pytest.raises(InvalidRequest):
        client.secrets.kv.v2.create_or_update_secret(path=path, secret={}, cas="x", mount_point="secret")
