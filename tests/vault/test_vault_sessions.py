"""What is kept between two loads and when it is dropped, with exact counts of requests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hvac
import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable
from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest
from tests.vault.logins import LOGIN, login_as


def test_a_second_load_needs_no_login_and_sees_a_rotation(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("kept", [stored.policy]))
    source = source_of(stored.path)
    assert source.load().version == 1
    vault.put(stored.path, {"clientId": "new-id", "clientSecret": "new-secret"})
    with watch() as seen:
        reading = source.load()
    assert (reading.version, reading.keys.client_id) == (2, "new-id")
    assert seen == [SeenRequest("read", f"secret/data/{stored.path}")]


def test_a_revoked_token_is_replaced_by_one_login(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    tokens: list[str] = []
    login_as(connect, vault.approle("revoked", [stored.policy], token_type="service"))
    source = source_of(stored.path, mask=tokens.append)
    source.load()
    vault.revoke(tokens[0])
    read = SeenRequest("read", f"secret/data/{stored.path}")
    with watch() as seen:
        assert source.load().keys.client_id == stored.client_id
    assert seen == [read, LOGIN, read]
    assert len(set(tokens)) == 2


@pytest.mark.parametrize("token_type", ["batch", "service"])
def test_an_expired_token_is_replaced_by_one_login(
    vault: LocalVault,
    stored: Any,
    connect: Any,
    source_of: Any,
    watch: Any,
    wait_until: Any,
    token_type: Any,
) -> None:
    tokens: list[str] = []
    login_as(connect, vault.approle(f"short-{token_type}", [stored.policy], token_type=token_type, ttl="1s"))
    source = source_of(stored.path, mask=tokens.append)
    source.load()

    def expired() -> bool:
        try:
            vault.client.auth.token.lookup(tokens[0])
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest):
            return True
        return False

    wait_until(expired)
    read = SeenRequest("read", f"secret/data/{stored.path}")
    with watch() as seen:
        assert source.load().keys.client_id == stored.client_id
    assert seen == [read, LOGIN, read]


def test_a_new_static_token_is_fetched_from_the_connection(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    first = vault.token(stored.policy)
    connect(password=first)
    source = source_of(stored.path)
    source.load()
    vault.revoke(first)
    connect(password=vault.token(stored.policy))
    assert source.load().keys.client_id == stored.client_id


def test_a_permission_that_was_taken_away_costs_one_login_and_is_named(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("withdrawn", [stored.policy]))
    source = source_of(stored.path)
    source.load()
    vault.write_policy(stored.policy, 'path "secret/data/other" { capabilities = ["read"] }')
    with watch() as seen, pytest.raises(BloqConfigurationError) as caught:
        source.load()
    assert caught.value.fields == ("vault_path",)
    assert [request for request in seen if request == LOGIN] == [LOGIN]


def test_a_fresh_login_is_not_repeated_when_the_path_is_denied(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("denied", ["default"]))
    with watch() as seen, pytest.raises(BloqConfigurationError):
        source_of(stored.path).load()
    assert seen[:2] == [LOGIN, SeenRequest("read", f"secret/data/{stored.path}")]
    assert seen.count(LOGIN) == 1


def test_a_secret_id_that_was_rotated_after_the_connection_was_read_is_fetched_anew(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    old = vault.approle("rotated", [stored.policy])
    login_as(connect, old)
    source = source_of(stored.path)
    identity = source.identity
    vault.destroy_secret_id("rotated", old.secret_id)
    login_as(connect, vault.approle("rotated", [stored.policy]))
    with watch() as seen:
        assert source.load().keys.client_id == stored.client_id
    assert seen == [LOGIN, LOGIN, SeenRequest("read", f"secret/data/{stored.path}")]
    assert source.identity == identity


def test_a_refused_login_is_not_repeated_when_the_connection_is_still_the_same(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    role = vault.approle("refused", [stored.policy])
    login_as(connect, role)
    source = source_of(stored.path)
    assert source.identity
    vault.destroy_secret_id("refused", role.secret_id)
    with watch() as seen, pytest.raises(BloqConfigurationError):
        source.load()
    assert seen == [LOGIN]


def test_a_failed_load_leaves_nothing_behind(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    role = vault.approle("repaired", [stored.policy])
    connect(login=role.role_id, password="wrong", extra={"auth_type": "approle"})
    source = source_of(stored.path)
    with pytest.raises(BloqConfigurationError):
        source.load()
    login_as(connect, role)
    assert source.load().keys.client_id == stored.client_id


def test_threads_share_one_login(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("threads", [stored.policy]))
    source = source_of(stored.path)
    together = threading.Barrier(8)

    def load(_: int) -> str:
        together.wait()
        return str(source.load().keys.client_id)

    with watch() as seen, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(load, range(8))) == {stored.client_id}
    assert seen.count(LOGIN) == 1


def test_each_vault_token_is_masked_before_the_read(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    masked: list[tuple[str, int]] = []

    login_as(connect, vault.approle("masked", [stored.policy]))
    with watch() as seen:
        before = len(vault.requests_seen())
        source = source_of(
            stored.path, mask=lambda token: masked.append((token, len(vault.requests_seen()) - before))
        )
        source.load()
    assert [token[:2] for token, _ in masked] == ["b."]
    assert [requests for _, requests in masked] == [1], "masked after the login and before the read"
    assert len(seen) == 2


def test_a_sealed_vault_is_unavailable_until_it_is_unsealed(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    login_as(connect, vault.approle("sealed", [stored.policy]))
    kept, new = source_of(stored.path), source_of(stored.path)
    kept.load()
    vault.seal()
    try:
        for source in (kept, new):
            with pytest.raises(BloqVaultUnavailable, match="is sealed") as caught:
                source.load()
            assert caught.value.retryable
    finally:
        vault.unseal()
    assert kept.load().keys == new.load().keys


def test_a_vault_that_restarts_serves_the_same_source_again(
    connect: Any, source_of: Any, tmp_path: Path
) -> None:
    with LocalVault(data=tmp_path / "vault") as vault:
        vault.put("bloq", {"clientId": "an-id", "clientSecret": "a-secret"})
        vault.write_policy("bloq", 'path "secret/data/bloq" { capabilities = ["read"] }')
        login_as(connect, vault.approle("restart", ["bloq"]), port=vault.port)
        source = source_of("bloq")
        source.load()
        vault.stop()
        with pytest.raises(BloqVaultUnavailable, match="cannot be reached: .*refused"):
            source.load()
        vault.start()
        assert source.load().keys.client_id == "an-id"
