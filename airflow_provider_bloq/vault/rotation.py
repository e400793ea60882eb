"""The two secrets of a rotation in Vault: the account's login and its client keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.vault.client import VaultLogin
from airflow_provider_bloq.vault.diagnosis import diagnose_read, diagnose_write, rename_fields
from airflow_provider_bloq.vault.kv import (
    KvSecret,
    UnexpectedAnswer,
    api_path,
    pick_client_keys,
    pick_text,
    read_kv,
    write_kv2,
)
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "AccountLocation",
    "RotationVault",
    "StoredKeys",
]


_DEFAULT_USER_FIELDS = ("user", "username", "email")
_DEFAULT_PASSWORD_FIELDS = ("password",)
_ACCOUNT_FIELD_NAMES = {"vault_conn_id": "account_vault_conn_id", "vault_path": "account_vault_path"}


@dataclass(frozen=True, slots=True)
class AccountLocation:
    """A KV secret with the login of a Bloq account, and the names of its two fields.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) that reads it and writes the client keys.
    :param path: Path of the secret below the mount of that connection.
    :param user_field: Field with the user; None for ``user``, ``username`` or ``email``.
    :param password_field: Field with the password; None for ``password``.
    """

    vault_conn_id: str
    path: str
    user_field: str | None = None
    password_field: str | None = None


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """One version of the secret with the client keys.

    :param keys: The pair.
    :param version: Its version.
    :param data: All of its fields. Left out of the repr.
    """

    keys: ClientKeys
    version: int
    data: Mapping[str, Any] = field(repr=False)


class RotationVault:
    """Reads both secrets and writes the client keys, with the role of the account's connection.

    The client keys are in the mount of the ``bloq`` connection's own Vault connection. Only the settings of that one
    are read: its role, the workers', needs no permission but to read the keys. Not thread safe; logs in once, at
    the first request.

    :param keys: The secret with the client keys.
    :param account: The secret with the account's login.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with the Vault token, to keep it out of logs.
    """

    def __init__(
        self,
        keys: VaultLocation,
        account: AccountLocation,
        *,
        timeout: float,
        mask: Callable[[str], None],
    ) -> None:
        self._keys = keys
        self._account = account
        self._timeout = timeout
        self._mask = mask
        self._login: VaultLogin | None = None
        self._keys_vault: VaultSettings | None = None

    @property
    def account_description(self) -> str:
        """The secret with the account's login, for messages."""
        return f"Vault path {self._account.path!r} (connection {self._account.vault_conn_id!r})"

    @property
    def description(self) -> str:
        """The secret with the client keys, for messages."""
        return f"Vault path {self._keys.path!r} (as connection {self._account.vault_conn_id!r})"

    def target(self) -> str:
        """Identify the secret with the client keys: URL, namespace and path.

        Reads the two Airflow connections and sends nothing.

        :raises BloqConfigurationError: The two lead to different Vaults, or the engine has no check-and-set.
        """
        _, settings = self._open()
        return f"{settings.url}/{settings.namespace}:{api_path(2, settings.mount, self._path)}"

    def read_login(self) -> tuple[str, Secret]:
        """Read user and password of the account.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong; names the field.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        path, where = self._account.path.strip("/"), self.account_description
        try:
            login = self._log_in()
            secret = self._read(login, login.settings, path, where)
        except BloqConfigurationError as error:
            raise rename_fields(error, _ACCOUNT_FIELD_NAMES) from None
        user_names = (self._account.user_field,) if self._account.user_field else _DEFAULT_USER_FIELDS
        password_names = (
            (self._account.password_field,) if self._account.password_field else _DEFAULT_PASSWORD_FIELDS
        )
        user = pick_text(secret.data, user_names, "account_user_field")
        password = pick_text(secret.data, password_names, "account_password_field")
        if isinstance(user, FieldProblem) or isinstance(password, FieldProblem):
            problems = [found for found in (user, password) if isinstance(found, FieldProblem)]
            raise BloqConfigurationError(problems, where)
        return user, Secret(password)

    def read_keys(self) -> StoredKeys:
        """Read the current version of the secret with the client keys.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong; names the field.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        login = self._log_in()
        _, settings = self._open()
        secret = self._read(login, settings, self._path, self.description)
        if secret.version is None:
            raise UnexpectedAnswer
        keys = pick_client_keys(secret.data, self._keys, self.description)
        return StoredKeys(keys, secret.version, secret.data)

    def write_keys(self, stored: StoredKeys, keys: ClientKeys | None) -> int:
        """Write the secret with another pair, unless it was written since it was read.

        :param stored: The secret as it was read. Its other fields, and the names of the two, stay.
        :param keys: The new pair; None to write the secret unchanged.
        :return: The version that was written.
        :raises WriteConflict: Somebody else has written the secret.
        :raises BloqConfigurationError: The policy does not permit the write.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails; it may have written.
        """
        from hvac.exceptions import VaultError

        data = dict(stored.data)
        if keys is not None:
            data[next(name for name in self._keys.id_fields if name in data)] = keys.client_id
            data[next(name for name in self._keys.key_fields if name in data)] = keys.client_secret.reveal()
        login = self._log_in()
        _, settings = self._open()
        try:
            version, _ = write_kv2(login.client, settings.mount, self._path, data, cas=stored.version)
        except (VaultError, OSError, UnexpectedAnswer) as error:
            failure = diagnose_write(error, settings, self._path, self.description)
        else:
            return version
        # Raised outside the handler: hvac's error carries the request.
        raise failure

    @property
    def _path(self) -> str:
        return self._keys.path.strip("/")

    def _open(self) -> tuple[VaultLogin, VaultSettings]:
        if self._login is None or self._keys_vault is None:
            try:
                login = VaultLogin.open(self._account.vault_conn_id, timeout=self._timeout)
            except BloqConfigurationError as error:
                raise rename_fields(error, _ACCOUNT_FIELD_NAMES) from None
            keys_vault = VaultLogin.open(self._keys.vault_conn_id, timeout=self._timeout).settings
            self._require_usable(login.settings, keys_vault)
            self._login, self._keys_vault = login, keys_vault
        return self._login, self._keys_vault

    def _require_usable(self, account_vault: VaultSettings, keys_vault: VaultSettings) -> None:
        if (account_vault.url, account_vault.namespace) != (keys_vault.url, keys_vault.namespace):
            raise BloqConfigurationError.of(
                "account_vault_conn_id",
                f"it leads to {account_vault.url} (namespace {account_vault.namespace!r}), but connection "
                f"{self._keys.vault_conn_id!r}, from which the client keys are read, leads to {keys_vault.url} "
                f"(namespace {keys_vault.namespace!r})",
                "Name a connection to the Vault that holds the client keys",
            )
        if keys_vault.kv_version != 2:
            raise BloqConfigurationError.of(
                "vault_conn_id",
                f"the KV engine of the client keys has version {keys_vault.kv_version}, which has no check-and-set: "
                "a rotation could overwrite what somebody else has just written",
                f"Move them to a KV engine of version 2 (vault kv enable-versioning {keys_vault.mount}), and set "
                '"kv_engine_version": 2 in the extras of the Vault connection',
                f"Vault connection {self._keys.vault_conn_id!r}",
            )

    def _log_in(self) -> VaultLogin:
        login, _ = self._open()
        if not login.logged_in:
            try:
                login.log_in(self._mask)
            except BloqConfigurationError as error:
                raise rename_fields(error, _ACCOUNT_FIELD_NAMES) from None
        return login

    def _read(self, login: VaultLogin, settings: VaultSettings, path: str, where: str) -> KvSecret:
        from hvac.exceptions import VaultError

        try:
            return read_kv(login.client, settings.kv_version, settings.mount, path)
        except (VaultError, OSError, UnexpectedAnswer) as error:
            failure = diagnose_read(error, login.client, settings, path, where)
        raise failure
