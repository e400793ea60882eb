"""The two secrets of a rotation, the account's login and its client keys, through one login at Vault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.vault.client import VaultLogin
from airflow_provider_bloq.vault.diagnosis import diagnose_read, diagnose_write
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


#: Names that the account's user is looked for under, in this order, where the location names none.
DEFAULT_USER_FIELDS = ("user", "username", "email")
#: Name that the account's password is looked for under, where the location names none.
DEFAULT_PASSWORD_FIELDS = ("password",)


@dataclass(frozen=True, slots=True)
class AccountLocation:
    """A KV secret that holds the login of a Bloq account, and the names of its two fields.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is read, and
        through which the client keys are written.
    :param path: Path of the secret below the mount of that connection.
    :param user_field: Field of the user; None for ``user``, ``username`` or ``email``.
    :param password_field: Field of the password; None for ``password``.
    """

    vault_conn_id: str
    path: str
    user_field: str | None = None
    password_field: str | None = None


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """The secret of the client keys as it stood when it was read.

    :param keys: The pair in it.
    :param version: Its version.
    :param data: All of its fields. Left out of the repr.
    """

    keys: ClientKeys
    version: int
    data: Mapping[str, Any] = field(repr=False)


class RotationVault:
    """Reads both secrets and writes the client keys, as the role of the account's connection.

    The client keys lie where the ``bloq`` connection says, in the mount of *its* Vault connection, which
    is only read for that: the role of the workers takes no part and needs no more than to read the keys.
    Not thread safe; makes no request until it is asked for something, and logs in once.

    :param keys: Where the client keys lie.
    :param account: Where the account's login lies, and who reads it.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with the Vault token, so that logs do not show it.
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
        self._session: VaultLogin | None = None
        self._keys_at: VaultSettings | None = None

    @property
    def account_description(self) -> str:
        """Name the place of the account's login for a person."""
        return f"Vault path {self._account.path!r} (connection {self._account.vault_conn_id!r})"

    @property
    def description(self) -> str:
        """Name the place of the client keys for a person."""
        return f"Vault path {self._keys.path!r} (as connection {self._account.vault_conn_id!r})"

    def place(self) -> str:
        """Tell the secret of the client keys from any other: URL, namespace and path.

        Reads the two Airflow connections, and sends nothing.

        :raises BloqConfigurationError: The two lead to different Vaults, or the engine cannot check and set.
        """
        _, settings = self._opened()
        return f"{settings.url}/{settings.namespace}:{api_path(2, settings.mount, self._path)}"

    def read_login(self) -> tuple[str, Secret]:
        """Read user and password of the account.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong (names the field).
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        path, where = self._account.path.strip("/"), self.account_description
        try:
            session = self._logged_in()
            secret = self._read(session, session.settings, path, where)
        except BloqConfigurationError as error:
            raise _about_account(error) from None
        user_names = (self._account.user_field,) if self._account.user_field else DEFAULT_USER_FIELDS
        password_names = (
            (self._account.password_field,) if self._account.password_field else DEFAULT_PASSWORD_FIELDS
        )
        user = pick_text(secret.data, user_names, "account_user_field")
        password = pick_text(secret.data, password_names, "account_password_field")
        if isinstance(user, FieldProblem) or isinstance(password, FieldProblem):
            problems = [found for found in (user, password) if isinstance(found, FieldProblem)]
            raise BloqConfigurationError(problems, where)
        return user, Secret(password)

    def read_keys(self) -> StoredKeys:
        """Read the current version of the client keys, with all other fields of the secret.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong (names the field).
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        session = self._logged_in()
        _, settings = self._opened()
        secret = self._read(session, settings, self._path, self.description)
        if secret.version is None:
            raise UnexpectedAnswer
        return StoredKeys(
            pick_client_keys(secret.data, self._keys, self.description), secret.version, secret.data
        )

    def write_keys(self, stored: StoredKeys, keys: ClientKeys | None) -> int:
        """Write the secret as it was read, with the pair exchanged, unless it was written meanwhile.

        :param stored: The secret as it was read. Its other fields, and the names of the two, stay.
        :param keys: The pair to write; None to write all as it was.
        :return: The version that was written.
        :raises WriteConflict: Somebody else has written since.
        :raises BloqConfigurationError: The policy does not permit it.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails; it may have written.
        """
        from hvac.exceptions import VaultError

        data = dict(stored.data)
        if keys is not None:
            data[next(name for name in self._keys.id_fields if name in data)] = keys.client_id
            data[next(name for name in self._keys.key_fields if name in data)] = keys.client_secret.reveal()
        session = self._logged_in()
        _, settings = self._opened()
        try:
            return write_kv2(session.client, settings.mount, self._path, data, cas=stored.version)
        except (VaultError, OSError, UnexpectedAnswer) as error:
            failure = diagnose_write(error, settings, self._path, self.description)
        # Outside: what hvac raises carries the request, and must not be chained to what is shown.
        raise failure

    @property
    def _path(self) -> str:
        return self._keys.path.strip("/")

    def _opened(self) -> tuple[VaultLogin, VaultSettings]:
        if self._session is None or self._keys_at is None:
            try:
                session = VaultLogin.open(self._account.vault_conn_id, timeout=self._timeout)
            except BloqConfigurationError as error:
                raise _about_account(error) from None
            keys_at = VaultLogin.open(self._keys.vault_conn_id, timeout=self._timeout).settings
            self._require_one_vault(session.settings, keys_at)
            self._session, self._keys_at = session, keys_at
        return self._session, self._keys_at

    def _require_one_vault(self, own: VaultSettings, keys_at: VaultSettings) -> None:
        if (own.url, own.namespace) != (keys_at.url, keys_at.namespace):
            raise BloqConfigurationError.of(
                "account_vault_conn_id",
                f"it leads to {own.url} (namespace {own.namespace!r}), but connection "
                f"{self._keys.vault_conn_id!r}, from which the client keys are read, to {keys_at.url} (namespace "
                f"{keys_at.namespace!r})",
                "Name a connection to the Vault that holds the client keys",
            )
        if keys_at.kv_version != 2:
            raise BloqConfigurationError.of(
                "vault_conn_id",
                f"the client keys lie in a KV engine of version {keys_at.kv_version}, which cannot check and set: "
                "a rotation could overwrite what another has just written",
                f"Move them to a KV engine of version 2 (vault kv enable-versioning {keys_at.mount}), and set "
                '"kv_engine_version": 2 in the extras of the Vault connection',
                f"Vault connection {self._keys.vault_conn_id!r}",
            )

    def _logged_in(self) -> VaultLogin:
        session, _ = self._opened()
        if not session.logged_in:
            try:
                session.log_in(self._mask)
            except BloqConfigurationError as error:
                raise _about_account(error) from None
        return session

    def _read(self, session: VaultLogin, settings: VaultSettings, path: str, where: str) -> KvSecret:
        from hvac.exceptions import VaultError

        try:
            return read_kv(session.client, settings.kv_version, settings.mount, path)
        except (VaultError, OSError, UnexpectedAnswer) as error:
            failure = diagnose_read(error, session.client, settings, path, where)
        raise failure


def _about_account(error: BloqConfigurationError) -> BloqConfigurationError:
    """Name the operator's parameters where the readers of client keys name those of the connection."""
    renamed = {"vault_conn_id": "account_vault_conn_id", "vault_path": "account_vault_path"}
    return BloqConfigurationError(
        [FieldProblem(renamed.get(one.field, one.field), one.problem, one.remedy) for one in error.problems],
        error.where,
    )
