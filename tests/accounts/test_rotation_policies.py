"""The policies of the documentation, enforced by a real Vault."""

from __future__ import annotations

from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.key_source import VaultKeySource
from airflow_provider_bloq.vault.rotation import AccountLocation, RotationVault
from tests.accounts.team import MemoryJournal, Team


def client_as(team: Team, role: str) -> Any:
    login = team.connections()[f"{team.desk.prefix}_{role}"]
    client = hvac.Client(url=team.vault.url)
    client.auth.approle.login(login["login"], login["password"])
    return client


def test_workers_read_the_keys_and_nothing_else(team: Team) -> None:
    kv = client_as(team, "worker").secrets.kv.v2
    location = VaultLocation(f"{team.desk.prefix}_worker", team.desk.path)
    assert VaultKeySource(location).load().keys.client_id == team.keys.client_id
    with pytest.raises(Forbidden):
        kv.read_secret_version(team.desk.account_path, raise_on_deleted_version=True)
    with pytest.raises(Forbidden):
        kv.create_or_update_secret(team.desk.path, {"clientId": "mine"})
    team.check()


def test_the_rotation_reads_the_login_and_writes_the_keys_and_nothing_else(team: Team) -> None:
    kv = client_as(team, "account").secrets.kv.v2
    for path in (team.desk.account_path, f"{team.desk.path}-of-others"):
        with pytest.raises(Forbidden):
            kv.create_or_update_secret(path, {"password": "mine"})
    for path in (team.desk.account_path, team.desk.path):
        with pytest.raises(Forbidden):
            kv.delete_metadata_and_all_versions(path)
    team.rotate()
    team.check()


def test_the_role_of_the_workers_cannot_rotate(team: Team) -> None:
    worker = f"{team.desk.prefix}_worker"
    vault = RotationVault(
        VaultLocation(worker, team.desk.path),
        AccountLocation(worker, team.desk.account_path),
        timeout=30,
        mask=lambda _: None,
    )
    with pytest.raises(BloqConfigurationError) as refused:
        vault.read_login()
    assert refused.value.fields == ("account_vault_path",)
    with pytest.raises(BloqConfigurationError, match="does not permit this login to write"):
        vault.write_keys(vault.read_keys(), None)
    team.check()


def test_a_rotation_sends_vault_only_the_documented_requests(team: Team) -> None:
    before = len(team.vault.requests_seen())
    team.rotate(MemoryJournal())
    seen = {(one.operation, one.path) for one in team.vault.requests_seen()[before:]}
    assert seen == {
        ("update", "auth/approle/login"),
        ("read", f"secret/data/{team.desk.path}"),
        ("read", f"secret/data/{team.desk.account_path}"),
        ("update", f"secret/data/{team.desk.path}"),
    }
