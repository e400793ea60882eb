"""A team: an account at Bloq, its client keys in Vault, and the roles of its workers and of its rotation."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

import pytest

from airflow_provider_bloq.accounts.client import AccountLogin, AccountsTokenEndpoint, ClientKeysApi
from airflow_provider_bloq.accounts.rotation import (
    GracePeriod,
    RotationContext,
    RotationOptions,
    RotationOutcome,
    advance,
)
from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.auth.token_provider import GrantRefused
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq
from airflow_provider_bloq.testing.openbao import AppRole, LocalVault
from airflow_provider_bloq.testing.stack import worker_policy
from airflow_provider_bloq.vault.rotation import AccountLocation, RotationVault
from tests.support.drivers import PATIENT

__all__ = ["CAMEL", "Desk", "MemoryJournal", "Team", "account_policy", "desk_for"]

T = TypeVar("T")

CAMEL = ("clientId", "clientSecret")
#: Longer than the local service needs for any answer, in seconds.
SETTLE_SECONDS = 600.0


def account_policy(path: str, account_path: str) -> str:
    return (
        f'path "secret/data/{account_path}" {{ capabilities = ["read"] }}\n'
        f'path "secret/data/{path}" {{ capabilities = ["read", "update"] }}'
    )


@dataclass
class MemoryJournal:
    """A journal that also keeps everything that was ever written."""

    value: Any = None
    written: list[str] = field(default_factory=list)

    def read(self) -> Any:
        return None if self.value is None else json.loads(self.value)

    def write(self, value: dict[str, Any]) -> None:
        self.value = json.dumps(value)
        assert json.loads(self.value) == value, "not plain JSON"
        self.written.append(self.value)

    def clear(self) -> None:
        self.value = None

    def end_grace(self) -> None:
        """Put the end of the grace period into the past."""
        self.value = json.dumps(self.read() | {"grace_until": 0.0})


@dataclass(frozen=True)
class Desk:
    """Everything that a process needs to rotate a team's keys, as JSON values."""

    accounts_url: str
    path: str
    account_path: str
    names: tuple[str, str]
    prefix: str

    def context(
        self, journal: Any, *, grace: float = 0.0, generation: int = 0, policy: RetryPolicy | None = None
    ) -> RotationContext:
        vault = RotationVault(
            VaultLocation(f"{self.prefix}_worker", self.path, *self.names),
            AccountLocation(f"{self.prefix}_account", self.account_path),
            timeout=30.0,
            mask=lambda _: None,
        )
        options = RotationOptions(
            grace=grace, settle_seconds=SETTLE_SECONDS, generation=generation, policy=policy or RetryPolicy()
        )
        return RotationContext(accounts_url=self.accounts_url, vault=vault, journal=journal, options=options)


def desk_for(fields: Mapping[str, Any]) -> Desk:
    return Desk(**{**fields, "names": tuple(fields["names"])})


class Team:
    """An account of its own with a pair of client keys in a secret of its own, among other fields."""

    _number = count(1)

    def __init__(
        self,
        bloq: LocalBloq,
        vault: LocalVault,
        *,
        names: tuple[str, str] = CAMEL,
        account_path: str | None = None,
    ) -> None:
        name = f"team{next(self._number)}x{secrets.token_hex(3)}"
        self.bloq, self.vault, self.names = bloq, vault, names
        self.password = f"password-{secrets.token_hex(12)}"
        self.account = bloq.create_account(f"{name}@example.com", self.password)
        self.keys = bloq.create_client_keys(self.account.id)
        self.others = {"owner": name, "spare": "a value that must survive"}
        self.desk = Desk(bloq.accounts_url, f"{name}/keys", account_path or f"{name}/account", names, name)
        self.driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=lambda _: None)
        vault.put(
            self.desk.path,
            {names[0]: self.keys.client_id, names[1]: self.keys.client_secret, **self.others},
        )
        vault.put(self.desk.account_path, {"user": self.account.email, "password": self.password})
        vault.write_policy(f"{name}-worker", worker_policy(self.desk.path))
        vault.write_policy(f"{name}-account", account_policy(self.desk.path, self.desk.account_path))

    @cached_property
    def _logins(self) -> dict[str, AppRole]:
        names = {role: f"{self.desk.prefix}-{role}" for role in ("worker", "account")}
        return {role: self.vault.approle(name, [name]) for role, name in names.items()}

    def connections(self, *, port: int | None = None) -> dict[str, dict[str, Any]]:
        """The two Vault connections: of the workers, and of the rotation."""
        return {
            f"{self.desk.prefix}_{role}": {
                "conn_type": "vault",
                "host": "127.0.0.1",
                "port": port or self.vault.port,
                "schema": "secret",
                "login": login.role_id,
                "password": login.secret_id,
                "extra": {"auth_type": "approle", "kv_engine_version": 2, "use_tls": False},
            }
            for role, login in self._logins.items()
        }

    def connect(self, monkeypatch: pytest.MonkeyPatch, *, port: int | None = None) -> None:
        for conn_id, connection in self.connections(port=port).items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    def advance(self, journal: Any, **options: Any) -> GracePeriod | RotationOutcome:
        """Take the rotation further in this process."""
        return self.driver.run(advance(self.desk.context(journal, **options)))

    def rotate(self, journal: Any = None, **options: Any) -> RotationOutcome:
        """Rotate to the end."""
        reached = self.advance(journal or MemoryJournal(), **options)
        assert isinstance(reached, RotationOutcome)
        return reached

    def run(self, flow: Flow[T]) -> T:
        return self.driver.run(flow)

    def stored(self) -> tuple[dict[str, str], int]:
        """What Vault holds, as its root reads it: the fields and the version."""
        answer = self.vault.client.secrets.kv.v2.read_secret_version(
            self.desk.path, mount_point="secret", raise_on_deleted_version=True
        )["data"]
        return dict(answer["data"]), int(answer["metadata"]["version"])

    def stored_keys(self) -> ClientKeys:
        fields, _ = self.stored()
        return ClientKeys(fields[self.names[0]], Secret(fields[self.names[1]]))

    def write_stored(self, **fields: str) -> int:
        """Write to Vault as a person would: whatever stands there."""
        current, _ = self.stored()
        version = self.vault.put(self.desk.path, {**current, **fields})
        assert version is not None
        return version

    def colleague_creates(self) -> IssuedKeys:
        return self.bloq.create_client_keys(self.account.id)

    def pairs(self) -> set[str]:
        """The client IDs of the account."""
        login = AccountLogin(self.account.email, Secret(self.password), "a test")
        api = ClientKeysApi(url=self.bloq.accounts_url, login=login, policy=NO_RETRIES)
        return set(self.run(api.list()).client_ids)

    def accepted(self, keys: ClientKeys) -> bool:
        try:
            self.driver.run(AccountsTokenEndpoint(self.bloq.accounts_url, NO_RETRIES).mint(keys, retry=True))
        except GrantRefused:
            return False
        return True

    def check(self, *, foreign: set[str] = frozenset(), old: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Check what must be true whatever happened."""
        fields, _ = self.stored()
        keys = self.stored_keys()
        assert self.accepted(keys), "Vault holds a dead pair"
        assert self.pairs() == {keys.client_id} | foreign | old
        assert {name: value for name, value in fields.items() if name not in self.names} == self.others

    def close(self) -> None:
        self.driver.close()


def teams(
    bloq: LocalBloq, vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Team]]:
    """Make teams whose connections Airflow knows, and close them at the end."""
    made: list[Team] = []

    def make(**options: Any) -> Team:
        team = Team(bloq, vault, **options)
        team.connect(monkeypatch)
        made.append(team)
        return team

    yield make
    for team in made:
        team.close()
