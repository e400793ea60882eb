"""Every failure of a read: the type of the error, the field it names, and the remedy."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.key_source import VaultKeySource


def failure(source: Any) -> tuple[str, str]:
    """Load, and return field and text of the one problem."""
    with pytest.raises(BloqConfigurationError) as caught:
        source.load()
    (field,) = caught.value.fields
    return field, str(caught.value)


def test_permission_denied_shows_the_rule_to_add(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    role = vault.approle("no-policy", ["default"])
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    field, text = failure(source_of(stored.path))
    assert field == "vault_path"
    assert f'path "secret/data/{stored.path}" {{ capabilities = ["read"] }}' in text
    assert "is a mount" in text, "a login that may read nothing below the mount cannot tell if it exists"


def test_the_rule_for_a_v1_engine_has_no_data_in_it(vault: LocalVault, connect: Any, source_of: Any) -> None:
    vault.write_policy("kv1-other", 'path "kv1/other" { capabilities = ["read"] }')
    connect(schema="kv1", password=vault.token("kv1-other"), extra={"kv_engine_version": 1})
    field, text = failure(source_of("bloq"))
    assert field == "vault_path"
    assert 'path "kv1/bloq" {' in text
    assert "is a mount" not in text


def test_a_token_that_vault_does_not_know(stored: Any, connect: Any, source_of: Any) -> None:
    connect(password="s.unknownunknownunknown")
    field, text = failure(source_of(stored.path))
    assert field == "vault_conn_id"
    assert "does not know its token" in text


def test_a_token_that_lives_but_lacks_the_permission(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    connect(password=vault.token("default"))
    assert failure(source_of(stored.path))[0] == "vault_path"


def test_a_refused_login(vault: LocalVault, connect: Any, source_of: Any) -> None:
    vault.approle("exists", [])
    vault.userpass("somebody", "right", [])
    for extra, login, password in (
        ({"auth_type": "approle"}, "no-such-role", "no-such-secret"),
        ({"auth_type": "userpass"}, "nobody", "wrong"),
        ({"auth_type": "approle", "auth_mount_point": "not-mounted"}, "role", "secret"),
    ):
        connect(login=login, password=password, extra=extra)
        field, text = failure(source_of("bloq"))
        assert field == "vault_conn_id"
        assert f"refuses the login by '{extra['auth_type']}'" in text


def test_auth_types_that_the_hook_only_configures(connect: Any, source_of: Any) -> None:
    for auth_type, extra in (
        ("azure", {"azure_tenant_id": "tenant", "azure_resource": "resource"}),
        ("radius", {"radius_host": "radius.example"}),
    ):
        connect(login="id", password="not-a-secret", extra={"auth_type": auth_type} | extra)
        field, text = failure(source_of("bloq"))
        assert field == "vault_conn_id"
        assert f"does not log in with auth_type '{auth_type}'" in text


@pytest.mark.skipif(importlib.util.find_spec("boto3") is not None, reason="boto3 is installed here")
def test_an_auth_type_whose_package_is_missing(connect: Any, source_of: Any) -> None:
    connect(extra={"auth_type": "aws_iam"})
    field, text = failure(source_of("bloq"))
    assert field == "vault_conn_id"
    assert "needs the Python package boto3" in text


def test_an_incomplete_vault_connection(connect: Any, source_of: Any) -> None:
    for extra, problem in (
        ({"auth_type": "magic"}, "is not complete"),
        ({"auth_type": "approle"}, "is not complete"),
        ({"kv_engine_version": "two"}, "is not complete"),
        ({"client_kwargs": "canary"}, "cannot be read"),
        ({"client_kwargs": {"no_such_option": 1}}, "client_kwargs"),
    ):
        connect(password="token", extra=extra)
        field, text = failure(source_of("bloq"))
        assert field == "vault_conn_id"
        assert problem in text
        assert "canary" not in text


def test_a_missing_vault_connection(source_of: Any) -> None:
    field, text = failure(source_of("bloq"))
    assert field == "vault_conn_id"
    assert "Airflow has no connection 'vault_under_test'" in text


def test_a_token_file_that_is_missing(connect: Any, source_of: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    connect(extra={"auth_type": "jwt", "jwt_role": "r", "jwt_token_path": str(missing)})
    field, text = failure(source_of("bloq"))
    assert field == "vault_conn_id"
    assert str(missing) in text


def test_no_secret_at_the_path(vault: LocalVault, connect: Any, source_of: Any) -> None:
    connect(password=vault.root_token)
    field, text = failure(source_of("bloq/nowhere"))
    assert field == "vault_path"
    assert "there is no secret at 'secret/data/bloq/nowhere'" in text


def test_nothing_mounted(vault: LocalVault, connect: Any, source_of: Any) -> None:
    connect(password=vault.root_token, schema="nothing")
    field, text = failure(source_of("bloq"))
    assert field == "vault_conn_id"
    assert "nothing is mounted at 'nothing'" in text


def test_a_deleted_and_a_destroyed_version(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    vault.put(stored.path, {"clientId": "x", "clientSecret": "y"})
    vault.delete_version(stored.path, 2)
    connect(password=vault.token(stored.policy))
    field, text = failure(source_of(stored.path))
    assert field == "vault_path"
    assert "version 2 " in text
    assert "is deleted" in text
    assert "undelete" in text
    vault.destroy(stored.path, 2)
    field, text = failure(source_of(stored.path))
    assert field == "vault_path"
    assert "is destroyed" in text
    assert "undelete" not in text


def test_a_path_that_repeats_the_mount_or_data(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    for token in (vault.root_token, vault.token(stored.policy)):
        connect(password=token)
        for prefix in ("secret/", "data/"):
            field, text = failure(source_of(prefix + stored.path))
            assert field == "vault_path"
            assert f"Write '{stored.path}'" in text


def test_a_path_that_begins_like_the_mount_but_exists_is_read(
    vault: LocalVault, connect: Any, source_of: Any
) -> None:
    vault.put("secret/bloq", {"clientId": "an-id", "clientSecret": "a-secret"})
    connect(password=vault.root_token)
    assert source_of("secret/bloq").load().keys.client_id == "an-id"


def test_an_engine_of_the_other_version(vault: LocalVault, stored: Any, connect: Any, source_of: Any) -> None:
    vault.put("bloq", {"clientId": "x", "clientSecret": "y"}, mount="kv1")
    vault.write_policy("kv1-bloq", 'path "kv1/bloq" { capabilities = ["read"] }')
    for token in (vault.root_token, vault.token("kv1-bloq")):
        connect(schema="kv1", password=token)
        field, text = failure(source_of("bloq"))
        assert field == "vault_conn_id"
        assert '"kv_engine_version": 1' in text
    for token in (vault.root_token, vault.token(stored.policy)):
        connect(password=token, extra={"kv_engine_version": 1})
        field, text = failure(source_of(stored.path))
        assert field == "vault_conn_id"
        assert '"kv_engine_version": 2' in text


def test_a_v1_secret_that_lies_below_data(vault: LocalVault, connect: Any, source_of: Any) -> None:
    vault.put("data/bloq", {"clientId": "x", "clientSecret": "y"}, mount="kv1")
    connect(schema="kv1", password=vault.root_token)
    assert '"kv_engine_version": 1' in failure(source_of("bloq"))[1]


def test_fields_are_checked_and_named(vault: LocalVault, stored: Any, connect: Any, source_of: Any) -> None:
    connect(password=vault.token(stored.policy))
    field, text = failure(source_of(stored.path, key_field="password"))
    assert field == "vault_key_field"
    assert "it has 'clientId', 'clientSecret'" in text
    assert stored.client_secret not in text


def test_an_unreachable_vault(connect: Any, source_of: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connect(port=port, password="token")
    with pytest.raises(BloqVaultUnavailable, match="cannot be reached: .*refused"):
        source_of("bloq").load()


def test_a_vault_that_does_not_answer_in_time(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect(port=silent.getsockname()[1], password="token")
        with pytest.raises(BloqVaultUnavailable, match="cannot be reached: .*timed out"):
            VaultKeySource(VaultLocation("vault_under_test", "bloq"), timeout=0.05).load()


def test_a_vault_in_trouble_is_unavailable(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any
) -> None:
    role = vault.approle("trouble", [stored.policy])
    connect(port=relay.port, login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    for prefix, status, body in (
        ("/v1/auth", 500, {"errors": ["internal error"]}),
        ("/v1/secret", 502, "<html>bad gateway</html>"),
        ("/v1/auth", 503, {"errors": ["service unavailable"]}),
        ("/v1/secret", 501, {"errors": ["not initialized"]}),
        ("/v1/auth", 429, {"errors": ["too many requests"]}),
        ("/v1/secret", 472, {"errors": []}),
        ("/v1/auth", 473, {"errors": []}),
    ):
        relay.spoil(prefix, status, body, "application/json" if isinstance(body, dict) else "text/html")
        with pytest.raises(BloqVaultUnavailable) as caught:
            source_of(stored.path).load()
        assert "html" not in str(caught.value)


def test_a_rate_limit_of_the_vault_is_unavailable(vault: LocalVault, connect: Any, source_of: Any) -> None:
    vault.enable_kv(2, "limited")
    vault.put("bloq", {"clientId": "x", "clientSecret": "y"}, mount="limited")
    vault.client.write_data(
        "sys/quotas/rate-limit/limited", data={"path": "limited/", "rate": 1, "interval": "1h"}
    )
    connect(schema="limited", password=vault.root_token)
    source = source_of("bloq")
    source.load()
    with pytest.raises(BloqVaultUnavailable, match="asks for fewer requests"):
        source.load()


def test_a_server_that_is_not_a_vault(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any
) -> None:
    role = vault.approle("no-vault", [stored.policy])
    connect(port=relay.port, login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    for prefix in ("/v1/auth", "/v1/secret"):
        for body in ("<html>welcome</html>", {"status": "ok"}, {"data": None, "auth": None}):
            relay.spoil(prefix, 200, body)
            field, text = failure(source_of(stored.path))
            assert field == "vault_conn_id"
            assert "does not answer like a Vault" in text


def test_a_request_that_vault_refuses_for_another_reason(
    vault: LocalVault, connect: Any, source_of: Any, relay: Any
) -> None:
    relay.spoil("/v1/secret", 400, {"errors": ["something else"]})
    connect(port=relay.port, password=vault.root_token)
    field, text = failure(source_of("bloq"))
    assert field == "vault_path"
    assert "something else" in text
