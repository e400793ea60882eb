"""The KV v2 secret in which a fleet shares its access token."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.auth.shared_token_store import Record
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow, run_blocking
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.diagnosis import (
    diagnose_read,
    diagnose_write,
    mounted_kv_version,
    rename_fields,
    wrong_engine,
)
from airflow_provider_bloq.vault.kv import (
    UnexpectedAnswer,
    WriteConflict,
    api_path,
    deleted_version,
    read_kv2,
    write_kv2,
)
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "VaultTokenStore",
]


log = logging.getLogger(__name__)

#: Vault deletes a version after this time unless it is replaced: no access token lives longer than 12 h.
_DELETE_AFTER = "13h"

#: Plausible ages of a new version, in seconds: a ``Date`` has no fractions, and a write may take a while.
_MIN_AGE, _MAX_AGE = -2.0, 10.0

_FIELD_NAMES = {"vault_path": "shared_vault_path"}


class VaultTokenStore:
    """Holds one record that many processes share; dates it by Vault's clock and writes with check-and-set.

    Before the first write it asks Vault to keep one version only, to delete it once it is of no use, and to refuse
    writes without check-and-set. A policy that does not allow this does not prevent the write.

    :param vault: The Vault connection.
    :param path: Path of the secret below the mount, without ``data/``.
    """

    def __init__(self, vault: VaultClient, path: str) -> None:
        self._vault = vault
        self._path = path
        self._is_configured = False
        self._has_warned = False

    @property
    def description(self) -> str:
        return f"Vault path {self._path!r} (connection {self._vault.vault_conn_id!r})"

    @property
    def identity(self) -> tuple[str, ...]:
        settings = self._vault.settings
        return ("shared", settings.url, settings.namespace, settings.login_digest, settings.mount, self._path)

    def read(self) -> Flow[Record]:
        return (yield from run_blocking(self._read))

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        return (yield from run_blocking(lambda: self._write(fields, after)))

    def forget(self) -> None:
        self._vault.forget()

    def _read(self) -> Record:
        return self._vault.call(self._read_record, self._explain_read)

    def _read_record(self, client: Any, settings: VaultSettings) -> Record:
        from hvac.exceptions import InvalidPath

        self._require_kv2(settings)
        try:
            secret = read_kv2(client, settings.mount, self._path)
        except InvalidPath as absence:
            return Record(deleted_version(absence))
        if secret.version is None or secret.age is None:
            raise UnexpectedAnswer
        if secret.age < _MIN_AGE:
            self._warn_of_clocks(secret.age)
        return Record(secret.version, secret.data, secret.age)

    def _write(self, fields: Mapping[str, Any], after: int) -> int | None:
        try:
            return self._vault.call(
                lambda client, settings: self._write_record(client, settings, fields, after),
                self._explain_write,
            )
        except WriteConflict:
            return None

    def _write_record(
        self, client: Any, settings: VaultSettings, fields: Mapping[str, Any], after: int
    ) -> int:
        self._require_kv2(settings)
        # A v1 engine would accept the first write, to a secret with another name.
        mounted = None if after else mounted_kv_version(client, settings.mount)
        if misread := wrong_engine(settings, mounted, self.description):
            raise misread
        self._configure(client, settings)
        version, age = write_kv2(client, settings.mount, self._path, fields, cas=after)
        if age is not None and not _MIN_AGE <= age <= _MAX_AGE:
            self._warn_of_clocks(age)
        return version

    def _warn_of_clocks(self, age: float) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        log.warning(
            "Vault dates its answer about %s %.0f s %s the write: the clocks of its nodes differ. The shared token is"
            " dated by them, so it may be renewed too often, or used until a service refuses it. Synchronise them.",
            self.description,
            abs(age),
            "before" if age < 0 else "after",
        )

    def _configure(self, client: Any, settings: VaultSettings) -> None:
        from hvac.exceptions import Forbidden

        if self._is_configured:
            return
        try:
            client.secrets.kv.v2.update_metadata(
                path=self._path,
                mount_point=settings.mount,
                max_versions=1,
                cas_required=True,
                delete_version_after=_DELETE_AFTER,
            )
        except Forbidden:
            log.info(
                "The policy does not allow limiting the versions of %s: add update on %s/metadata/%s.",
                self.description,
                settings.mount,
                self._path,
            )
        self._is_configured = True

    def _require_kv2(self, settings: VaultSettings) -> None:
        if settings.kv_version != 2:
            raise BloqConfigurationError.of(
                "shared_vault_conn_id",
                f"its KV engine has version {settings.kv_version}, which has no check-and-set",
                "Share the token through a KV engine of version 2",
                self.description,
            )

    def _explain_read(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        return rename_fields(
            diagnose_read(error, client, settings, self._path, self.description), _FIELD_NAMES
        )

    def _explain_write(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        from hvac.exceptions import Forbidden

        if isinstance(error, Forbidden):
            full = api_path(2, settings.mount, self._path)
            return BloqConfigurationError.of(
                "shared_vault_path",
                f"Vault does not permit this login to write {full!r}, as a member of the fleet must",
                f'Add to its policy: path "{full}" {{ capabilities = ["create", "read", "update"] }}; or remove the '
                "client keys from the connection, which makes it a reader",
                self.description,
            )
        return rename_fields(diagnose_write(error, settings, self._path, self.description), _FIELD_NAMES)
