"""A shared secret in a real Vault: dated by Vault's clock, written with check-and-set, by policy."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_bloq.auth.shared_store import Record
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable
from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest
from airflow_provider_bloq.testing.stack import member_policy, reader_policy, worker_policy
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.token_store import VaultTokenStore
from tests.support.drivers import DRIVERS, DriverKind, run_to_end

CONN_ID = "vault_under_test"

SlotAs = Callable[..., VaultTokenStore]


@pytest.fixture
def path() -> str:
    return f"bloq/shared-{secrets.token_hex(4)}"


@pytest.fixture
def slot_as(vault: LocalVault, connect: Any, path: str) -> SlotAs:
    """Make the slot for who logs in with a policy of these rules."""

    def made(rules: str, at: str | None = None, **connection: Any) -> VaultTokenStore:
        name = secrets.token_hex(4)
        vault.write_policy(name, rules)
        connect(password=vault.token(name), **connection)
        return VaultTokenStore(VaultClient(CONN_ID, timeout=10), at or path)

    return made


@pytest.fixture
def member(slot_as: SlotAs, path: str) -> VaultTokenStore:
    return slot_as(member_policy(path))


def read(slot: VaultTokenStore, kind: DriverKind = "blocking") -> Record:
    (record,) = run_to_end(kind, slot.read)
    assert isinstance(record, Record)
    return record


def write(
    slot: VaultTokenStore, fields: dict[str, Any], after: int, kind: DriverKind = "blocking"
) -> int | None:
    (version,) = run_to_end(kind, lambda: slot.write(fields, after=after))
    assert version is None or isinstance(version, int)
    return version


@pytest.mark.parametrize("kind", DRIVERS)
def test_what_is_written_is_read_with_its_version_and_age(member: VaultTokenStore, kind: DriverKind) -> None:
    assert read(member, kind) == Record(0)
    assert write(member, {"n": 1}, 0, kind) == 1
    assert write(member, {"n": 2}, 1, kind) == 2
    record = read(member, kind)
    assert (record.version, record.fields) == (2, {"n": 2})
    # A second too few at most, since a Date has no fractions.
    assert -1.0 <= record.age < 600.0


def test_the_age_grows_by_vault_s_clock(
    member: VaultTokenStore, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    write(member, {"n": 1}, 0)
    wait_until(lambda: read(member).age > 1.0)


@pytest.mark.parametrize(("ahead", "told"), [(7200.0, "after"), (25.0, "after"), (-60.0, "before")])
def test_clocks_of_vault_that_differ_are_told_once(
    relay: Any,
    slot_as: SlotAs,
    path: str,
    caplog: pytest.LogCaptureFixture,
    ahead: float,
    told: str,
) -> None:
    slot = slot_as(member_policy(path), port=relay.port)
    assert write(slot, {"n": 1}, 0) == 1
    read(slot)
    assert "clocks" not in caplog.text
    relay.ahead = ahead
    for version in (1, 2):
        write(slot, {"n": 2}, version)
        read(slot)
    (warning,) = [record.getMessage() for record in caplog.records if "clocks" in record.getMessage()]
    assert f" s {told} the write" in warning
    assert path in warning


def test_a_reader_is_told_of_a_secret_that_is_yet_to_be_written(
    relay: Any, member: VaultTokenStore, slot_as: SlotAs, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(member, {"n": 1}, 0)
    relay.ahead = -60.0
    read(slot_as(reader_policy(path), port=relay.port))
    assert "before the write" in caplog.text


def test_one_read_is_one_request(vault: LocalVault, member: VaultTokenStore, path: str, watch: Any) -> None:
    write(member, {"n": 1}, 0)
    with watch() as seen:
        read(member)
    assert seen == [SeenRequest("read", f"secret/data/{path}")]


def test_a_write_after_another_s_is_not_made(member: VaultTokenStore) -> None:
    assert write(member, {"n": 1}, 0) == 1
    assert write(member, {"n": 2}, 0) is None
    assert read(member).fields == {"n": 1}


def test_of_many_that_write_at_once_one_does(vault: LocalVault, connect: Any, path: str) -> None:
    connect(password=vault.root_token)
    slots = [VaultTokenStore(VaultClient(CONN_ID, timeout=30), path) for _ in range(8)]
    assert write(slots[0], {"n": 0}, 0) == 1
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda slot: write(slot, {"n": 1}, 1), slots))
    assert sorted(version for version in written if version is not None) == [2]


def test_a_deleted_version_is_nothing_and_can_be_followed(
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


def test_a_member_that_may_not_limit_the_versions_works_all_the_same(slot_as: SlotAs, path: str) -> None:
    rules = "\n".join(line for line in member_policy(path).splitlines() if "metadata" not in line)
    slot = slot_as(rules)
    assert [write(slot, {"n": 1}, 0), write(slot, {"n": 2}, 1)] == [1, 2]


def test_a_reader_reads_and_cannot_write(
    vault: LocalVault, member: VaultTokenStore, slot_as: SlotAs, path: str
) -> None:
    write(member, {"n": 1}, 0)
    reader = slot_as(reader_policy(path))
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
    vault: LocalVault, slot_as: SlotAs, path: str, role: str, reads: set[str]
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
        slot = slot_as(rules, place)
        try:
            read(slot)
        except BloqConfigurationError:
            continue
        seen.add(name)
    assert seen == reads
    for name in ("keys", "account", "another fleet's"):
        with pytest.raises(BloqConfigurationError):
            write(slot_as(rules, places[name]), {"n": 2}, 1)


def test_an_engine_without_check_and_set_is_refused_before_anything_is_sent(
    vault: LocalVault, slot_as: SlotAs, watch: Any
) -> None:
    slot = slot_as(member_policy("x"), extra={"kv_engine_version": 1})
    for access in (lambda: read(slot), lambda: write(slot, {"n": 1}, 0)):
        with watch() as seen, pytest.raises(BloqConfigurationError, match="version 1") as refusal:
            access()
        assert refusal.value.fields == ("shared_vault_conn_id",)
        assert not [one for one in seen if "shared" in one.path]


def test_a_v1_engine_that_is_taken_for_v2_is_not_written_to(
    vault: LocalVault, connect: Any, path: str, watch: Any
) -> None:
    connect(password=vault.root_token, schema="kv1")
    slot = VaultTokenStore(VaultClient(CONN_ID, timeout=10), path)
    with watch() as seen, pytest.raises(BloqConfigurationError, match="is version 1"):
        write(slot, {"n": 1}, read(slot).version)
    assert {one.operation for one in seen} == {"read"}


def test_a_mount_that_is_none_is_told(vault: LocalVault, connect: Any, path: str) -> None:
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


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"data": {"n": 1}, "metadata": {"version": 1, "created_time": "yesterday"}}},
        {"data": {"data": {"n": 1}, "metadata": {"version": "1", "created_time": "2026-01-01T00:00:00Z"}}},
        {"data": {"data": {"n": 1}, "metadata": {"version": 1, "created_time": "2026-01-01T00:00:00"}}},
        {"data": None},
        "<html>",
    ],
    ids=str,
)
def test_what_does_not_answer_like_a_vault_is_told(
    relay: Any, vault: LocalVault, connect: Any, path: str, body: Any
) -> None:
    relay.spoil(f"/v1/secret/data/{path}", 200, body)
    connect(password=vault.root_token, port=relay.port)
    with pytest.raises(BloqConfigurationError, match="does not answer like a Vault"):
        read(VaultTokenStore(VaultClient(CONN_ID, timeout=10), path))


def test_a_token_that_expired_is_replaced_by_one_login(
    vault: LocalVault, connect: Any, path: str, watch: Any
) -> None:
    vault.write_policy("shared-member", member_policy(path))
    role = vault.approle("shared-member", ["shared-member"], token_type="service")
    tokens: list[str] = []
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    slot = VaultTokenStore(VaultClient(CONN_ID, timeout=10, mask=tokens.append), path)
    write(slot, {"n": 1}, 0)
    vault.revoke(tokens[0])
    with watch() as seen:
        assert read(slot).fields == {"n": 1}
    assert [one.path for one in seen].count("auth/approle/login") == 1
