"""Who shares a token, and who is a member or a reader of it: read from the connection, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import SharedLocation, VaultLocation

SHARES = {"sharing": "vault", "shared_vault_path": "bloq/shared"}
NO_KEYS = {"login": None, "password": None}


def test_by_itself_each_task_has_a_token_of_its_own(parse: Any) -> None:
    assert parse().shared is None
    assert parse(sharing="task").shared is None
    assert parse(sharing=None, shared_vault_path="", shared_vault_conn_id=" ").shared is None


def test_keys_in_the_connection_make_a_member(parse: Any) -> None:
    settings = parse(**SHARES)
    assert settings.client_keys is not None
    assert settings.shared == SharedLocation("vault_default", "bloq/shared")
    assert settings.shared.lease_path == "bloq/shared/lease"


def test_keys_in_vault_make_a_member_that_shares_through_the_same_connection(parse: Any) -> None:
    settings = parse(**NO_KEYS, **SHARES, vault_path="bloq/keys", vault_conn_id="vault_bloq")
    assert settings.vault == VaultLocation("vault_bloq", "bloq/keys")
    assert settings.shared == SharedLocation("vault_bloq", "bloq/shared")


def test_no_keys_make_a_reader(parse: Any) -> None:
    settings = parse(**NO_KEYS, **SHARES)
    assert (settings.client_keys, settings.vault) == (None, None)
    assert settings.shared == SharedLocation("vault_default", "bloq/shared")


@pytest.mark.parametrize("field", ["vault_conn_id", "shared_vault_conn_id"])
def test_a_reader_may_name_its_vault_connection_by_either_field(parse: Any, field: str) -> None:
    settings = parse(**NO_KEYS, **SHARES, **{field: "vault_reader"})
    assert settings.vault is None
    assert settings.shared == SharedLocation("vault_reader", "bloq/shared")


def test_a_connection_of_its_own_for_the_shared_token_goes_first(parse: Any) -> None:
    settings = parse(
        **NO_KEYS, **SHARES, vault_path="bloq/keys", vault_conn_id="v1", shared_vault_conn_id="v2"
    )
    assert (settings.vault.vault_conn_id, settings.shared.vault_conn_id) == ("v1", "v2")


@pytest.mark.parametrize("path", ["bloq/shared", "/bloq/shared/", " bloq/shared "])
def test_slashes_around_the_path_do_not_matter(parse: Any, path: str) -> None:
    assert parse(sharing="vault", shared_vault_path=path).shared.path == "bloq/shared"


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"sharing": "vault"}, "shared_vault_path"),
        ({"sharing": "vault", **NO_KEYS}, "shared_vault_path"),
        ({"sharing": "all"}, "sharing"),
        ({"sharing": "all", "shared_vault_path": "bloq/shared"}, "sharing"),
        ({"shared_vault_path": "bloq/shared"}, "shared_vault_path"),
        ({"shared_vault_conn_id": "vault_bloq"}, "shared_vault_conn_id"),
        ({**SHARES, "shared_vault_path": "bloq//shared"}, "shared_vault_path"),
        ({**SHARES, "shared_vault_path": "../shared"}, "shared_vault_path"),
        ({**SHARES, "shared_vault_path": "/"}, "shared_vault_path"),
        ({**SHARES, "shared_vault_conn_id": "bloq_default"}, "shared_vault_conn_id"),
        ({**SHARES, "vault_conn_id": "vault_bloq"}, "vault_conn_id"),
        ({**SHARES, **NO_KEYS, "vault_id_field": "id"}, "vault_path"),
        ({**SHARES, "login": None}, "login"),
        ({**SHARES, "password": None}, "password"),
        ({**SHARES, **NO_KEYS, "vault_path": "bloq/shared"}, "shared_vault_path"),
        ({**SHARES, **NO_KEYS, "vault_path": "bloq/shared/lease"}, "shared_vault_path"),
        ({"shared_path": "bloq/shared", "shared_vault_paths": "x"}, "shared_vault_paths"),
        ({**NO_KEYS}, "login"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_by_its_field(refuse: Any, parts: dict[str, Any], field: str) -> None:
    assert refuse(**parts).fields == (field,)


@pytest.mark.parametrize(
    ("given", "read"), [(None, None), ("", None), (5, 5.0), ("0.5", 0.5), (1000, 1000.0)]
)
def test_a_rate_is_read(parse: Any, given: Any, read: float | None) -> None:
    assert parse(requests_per_second=given).requests_per_second == read


@pytest.mark.parametrize("rate", [0, -1, 1001, "many", True, "nan", [1]], ids=str)
def test_a_rate_that_is_none_is_refused(refuse: Any, rate: Any) -> None:
    assert refuse(requests_per_second=rate).fields == ("requests_per_second",)
