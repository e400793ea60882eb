"""The shared token's secret in a real Vault: dated by Vault's clock, written with check-and-set, by policy."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_bloq.auth.shared_token_store import Record
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable
from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest
from airflow_provider_bloq.testing.stack import member_policy, reader_policy, worker_policy
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.shared_token_store import VaultTokenStore
from tests.support.drivers import run_to_end

CONN_ID = "vault_under_test"

StoreAs = Callable[..., VaultTokenStore]


@pytest.fixture
def path() -> str:
    return f"bloq/shared-{secrets.token_hex(4)}"


@pytest.fixture
def store_as(vault: LocalVault, connect: Any, path: str) -> StoreAs:
    """Make a store whose login has a policy with these rules."""

    def made(rules: str, at: str | None = None, **connection: Any) -> VaultTokenStore:
        name = secrets.token_hex(4)
        vault.write_policy(name, rules)
        connect(password=vault.token(name), **connection)
        return VaultTokenStore(VaultClient(CONN_ID, timeout=10), at or path)

    return made


@pytest.fixture
def member(store_as: StoreAs, path: str) -> VaultTokenStore:
    return store_as(member_policy(path))


def read(store: VaultTokenStore) -> Record:
    (record,) = run_to_end("blocking", store.read)
    assert isinstance(record, Record)
    return record


def write(store: VaultTokenStore, fields: dict[str, Any], after: int) -> int | None:
    (version,) = run_to_end("blocking", lambda: store.write(fields, after=after))
    assert version is None or isinstance(version, int)
    return version


def test_a_record_is_read_with_its_version_and_age(member: VaultTokenStore) -> None:
    assert read(member) == Record(0)
    assert write(member, {"n": 1}, 0) == 1
    assert write(member, {"n": 2}, 1) == 2
    record = read(member)
    assert (record.version, record.fields) == (2, {"n": 2})
    # Up to one second too low, since a Date has no fractions.
    assert -1.0 <= record.age < 600.0


def test_both_drivers_read_and_write(member: VaultTokenStore) -> None:
    results = run_to_end("awaiting", member.read, lambda: member.write({"n": 1}, after=0))
    assert results == [Record(0), 1]
    assert read(member).fields == {"n": 1}


def test_the_age_grows_by_vault_s_clock(
    member: VaultTokenStore, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    write(member, {"n": 1}, 0)
    wait_until(lambda: read(member).age > 1.0)


def test_a_difference_of_vaults_clocks_is_logged_once(
    relay: Any, store_as: StoreAs, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for ahead, side in ((7200.0, "after"), (25.0, "after"), (-60.0, "before")):
        caplog.clear()
        relay.ahead = 0.0
        store = store_as(member_policy(f"{path}{ahead}"), f"{path}{ahead}", port=relay.port)
        assert write(store, {"n": 1}, 0) == 1
        read(store)
        assert "clocks" not in caplog.text
        relay.ahead = ahead
        for version in (1, 2):
            write(store, {"n": 2}, version)
            read(store)
        (warning,) = [record.getMessage() for record in caplog.records if "clocks" in record.getMessage()]
        assert f" s {side} the write" in warning
        assert path in warning


def test_a_secret_dated_in_the_future_is_logged(
    relay: Any, member: VaultTokenStore, store_as: StoreAs, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(member, {"n": 1}, 0)
    relay.ahead = -60.0
    read(store_as(reader_policy(path), port=relay.port))
    assert "before the write" in caplog.text


def test_one_read_is_one_request(vault: LocalVault, member: VaultTokenStore, path: str, watch: Any) -> None:
    write(member, {"n": 1}, 0)
    with watch() as seen:
        read(member)
    assert seen == [SeenRequest("read", f"secret/data/{path}")]


def test_a_write_after_another_one_is_refused(member: VaultTokenStore) -> None:
    assert write(member, {"n": 1}, 0) == 1
    assert write(member, {"n": 2}, 0) is None
    assert read(member).fields == {"n": 1}


def test_one_of_many_simultaneous_writes_succeeds(vault: LocalVault, connect: Any, path: str) -> None:
    connect(password=vault.root_token)
    stores = [VaultTokenStore(VaultClient(CONN_ID, timeout=30), path) for _ in range(8)]
    assert write(stores[0], {"n": 0}, 0) == 1
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda store: write(store, {"n": 1}, 1), stores))
    assert sorted(version for version in written if version is not None) == [2]


def test_a_deleted_version_is_empty_and_can_be_replaced(
    vault: LocalVault, member: VaultTokenStore, path: str
) -> None:
    write(member, {"n": 1}, 0)
    vault.delete_version(path, 1)
    assert read(member) == Record(1)
    assert write(member, {"n": 2}, 1) == 2
    vault.destroy(path, 2)
    assert read(member) == Record(2)
    assert write(member, {"n": 3}, 2) == 3


def test_old_tokens_do_not_pile_up(vault: LocalVault, member: VaultTokenStore, path: str) -> None:
    version = 0
    for n in range(4):
        version = write(member, {"n": n}, version) or 0
    metadata = vault.client.secrets.kv.v2.read_secret_metadata(path)["data"]
    assert list(metadata["versions"]) == ["4"]
    assert metadata["versions"]["4"]["deletion_time"]
    assert (metadata["max_versions"], metadata["cas_required"]) == (1, True)
    assert metadata["delete_version_after"] == "13h0m0s"


def test_a_policy_without_metadata_does_not_prevent_writes(store_as: StoreAs, path: str) -> None:
    rules = "\n".join(line for line in member_policy(path).splitlines() if "metadata" not in line)
    store = store_as(rules)
    assert [write(store, {"n": 1}, 0), write(store, {"n": 2}, 1)] == [1, 2]


def test_a_reader_reads_and_cannot_write(
    vault: LocalVault, member: VaultTokenStore, store_as: StoreAs, path: str
) -> None:
    write(member, {"n": 1}, 0)
    reader = store_as(reader_policy(path))
    assert read(reader).fields == {"n": 1}
    with pytest.raises(
        BloqConfigurationError, match='capabilities = ."create", "read", "update".'
    ) as refused:
        write(reader, {"n": 2}, 1)
    assert refused.value.fields == ("shared_vault_path",)
    assert read(reader).version == 1


@pytest.mark.parametrize(
    ("role", "reads"),
    [
        ("worker", {"keys"}),
        ("reader", {"shared"}),
        ("member", {"keys", "shared", "shared/lease"}),
    ],
)
def test_each_role_reads_what_it_needs_and_nothing_else(
    vault: LocalVault, store_as: StoreAs, path: str, role: str, reads: set[str]
) -> None:
    places = {
        "keys": f"{path}-keys",
        "shared": path,
        "shared/lease": f"{path}/lease",
        "account": f"{path}-account",
        "another fleet's": f"{path}2",
    }
    for place in places.values():
        vault.put(place, {"n": 1})
    rules = {
        "worker": worker_policy(places["keys"]),
        "reader": reader_policy(path),
        "member": member_policy(path, places["keys"]),
    }[role]
    seen = set()
    for name, place in places.items():
        store = store_as(rules, place)
        try:
            read(store)
        except BloqConfigurationError:
            continue
        seen.add(name)
    assert seen == reads
    for name in ("keys", "account", "another fleet's"):
        with pytest.raises(BloqConfigurationError):
            write(store_as(rules, places[name]), {"n": 2}, 1)


def test_an_engine_without_check_and_set_is_refused_before_anything_is_sent(
    vault: LocalVault, store_as: StoreAs, watch: Any
) -> None:
    store = store_as(member_policy("x"), extra={"kv_engine_version": 1})
    for access in (lambda: read(store), lambda: write(store, {"n": 1}, 0)):
        with watch() as seen, pytest.raises(BloqConfigurationError, match="version 1") as refusal:
            access()
        assert refusal.value.fields == ("shared_vault_conn_id",)
        assert not [one for one in seen if "shared" in one.path]


def test_a_v1_engine_configured_as_v2_is_not_written_to(
    vault: LocalVault, connect: Any, path: str, watch: Any
) -> None:
    connect(password=vault.root_token, schema="kv1")
    store = VaultTokenStore(VaultClient(CONN_ID, timeout=10), path)
    with watch() as seen, pytest.raises(BloqConfigurationError, match="is version 1"):
        write(store, {"n": 1}, read(store).version)
    assert {one.operation for one in seen} == {"read"}


def test_a_missing_mount_is_reported(vault: LocalVault, connect: Any, path: str) -> None:
    connect(password=vault.root_token, schema="nowhere")
    with pytest.raises(BloqConfigurationError, match="nothing is mounted"):
        read(VaultTokenStore(VaultClient(CONN_ID, timeout=10), path))


def test_a_sealed_vault_is_unavailable_and_works_again_after(
    vault: LocalVault, member: VaultTokenStore
) -> None:
    write(member, {"n": 1}, 0)
    vault.seal()
    try:
        with pytest.raises(BloqVaultUnavailable, match="sealed"):
            read(member)
        with pytest.raises(BloqVaultUnavailable, match="sealed"):
            write(member, {"n": 2}, 1)
    finally:
        vault.unseal()
    assert read(member).fields == {"n": 1}


def test_an_answer_that_is_not_a_vaults_is_refused(
    relay: Any, vault: LocalVault, connect: Any, path: str
) -> None:
    connect(password=vault.root_token, port=relay.port)
    for body in (
        {"data": {"data": {"n": 1}, "metadata": {"version": 1, "created_time": "yesterday"}}},
        {"data": {"data": {"n": 1}, "metadata": {"version": "1", "created_time": "2026-01-01T00:00:00Z"}}},
        {"data": {"data": {"n": 1}, "metadata": {"version": 1, "created_time": "2026-01-01T00:00:00"}}},
        {"data": None},
        "<html>",
    ):
        relay.spoil(f"/v1/secret/data/{path}", 200, body)
        with pytest.raises(BloqConfigurationError, match="does not answer like a Vault"):
            read(VaultTokenStore(VaultClient(CONN_ID, timeout=10), path))


def test_a_write_with_an_odd_answer_may_have_been_made(
    relay: Any, member: VaultTokenStore, connect: Any, vault: LocalVault, path: str
) -> None:
    connect(password=vault.root_token, port=relay.port)
    for body in ("<html>", {"data": {"version": "1"}}):
        relay.spoil(f"/v1/secret/data/{path}", 200, body)
        with pytest.raises(BloqVaultUnavailable, match="to a write is not that of a Vault"):
            write(VaultTokenStore(VaultClient(CONN_ID, timeout=10), path), {"n": 1}, 1)


def test_a_refused_write_is_not_made(relay: Any, vault: LocalVault, connect: Any, path: str) -> None:
    connect(password=vault.root_token, port=relay.port)
    relay.spoil(f"/v1/secret/data/{path}", 400, {"errors": ["something else"]})
    with pytest.raises(BloqConfigurationError, match="refuses to write.*something else") as refused:
        write(VaultTokenStore(VaultClient(CONN_ID, timeout=10), path), {"n": 1}, 1)
    assert refused.value.fields == ("shared_vault_path",)


def test_a_token_that_expired_is_replaced_by_one_login(
    vault: LocalVault, connect: Any, path: str, watch: Any
) -> None:
    vault.write_policy("shared-member", member_policy(path))
    role = vault.approle("shared-member", ["shared-member"], token_type="service")
    tokens: list[str] = []
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    store = VaultTokenStore(VaultClient(CONN_ID, timeout=10, mask=tokens.append), path)
    write(store, {"n": 1}, 0)
    vault.revoke(tokens[0])
    with watch() as seen:
        assert read(store).fields == {"n": 1}
    assert [one.path for one in seen].count("auth/approle/login") == 1
