"""A KV v2 secret as a place that a whole fleet shares: a :class:`~..auth.slot.Slot`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_bloq.auth.shared_store import Record
from airflow_provider_bloq.exceptions import BloqConfigurationError, FieldProblem
from airflow_provider_bloq.flow.effects import Flow, run_blocking
from airflow_provider_bloq.vault.client import VaultClient
from airflow_provider_bloq.vault.diagnosis import (
    diagnose_read,
    diagnose_write,
    mounted_kv_version,
    wrong_engine,
)
from airflow_provider_bloq.vault.kv import WriteConflict, api_path, read_dated, write_dated
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "VaultTokenStore",
]


log = logging.getLogger(__name__)

#: No access token lives longer than 12 h. A version that nobody replaced is deleted by Vault after this.
DELETE_AFTER = "13h"

#: Ages, in seconds, that something just written has: a ``Date`` has no fractions, and a write may take a while.
_LEAST_AGE, _MOST_AGE = -2.0, 10.0


class VaultTokenStore:
    """Reads with Vault's own clock and writes with check-and-set.

    Before its first write it asks Vault to keep one version only, to delete it once it is surely of no
    use, and to refuse writes without check-and-set; where the policy does not permit that, it goes on.

    :param access: The Vault connection in use.
    :param path: Path of the secret below the mount, without ``data/``.
    """

    def __init__(self, access: VaultClient, path: str) -> None:
        self._access = access
        self._path = path
        self._is_tidied = False
        self._has_warned = False

    @property
    def description(self) -> str:
        """Name the place for a person; no secret in it."""
        return f"Vault path {self._path!r} (connection {self._access.vault_conn_id!r})"

    @property
    def identity(self) -> tuple[str, ...]:
        """URL, namespace, digest of the login, mount and path; reads the Airflow connection at first.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        settings = self._access.settings
        return ("shared", settings.url, settings.namespace, settings.login_digest, settings.mount, self._path)

    def read(self) -> Flow[Record]:
        """Read what the secret holds now; see :meth:`..auth.slot.Slot.read`."""
        return (yield from run_blocking(self._read))

    def write(self, fields: Mapping[str, Any], *, after: int) -> Flow[int | None]:
        """Write the secret unless another did; see :meth:`..auth.slot.Slot.write`."""
        return (yield from run_blocking(lambda: self._write(fields, after)))

    def forget(self) -> None:
        """Drop the Vault token that is kept: for a forked child."""
        self._access.forget()

    def _read(self) -> Record:
        def read(client: Any, settings: VaultSettings) -> Record:
            self._require_kv2(settings)
            secret = read_dated(client, settings.mount, self._path)
            if secret.age < _LEAST_AGE:
                self._warn_of_clocks(secret.age)
            return Record(secret.version, secret.data, secret.age)

        return self._access.call(read, self._explain_read)

    def _write(self, fields: Mapping[str, Any], after: int) -> int | None:
        def write(client: Any, settings: VaultSettings) -> int:
            self._require_kv2(settings)
            if not after and (
                misread := wrong_engine(
                    settings, mounted_kv_version(client, settings.mount), self.description
                )
            ):
                # A v1 engine takes the write, too, for that of a secret with another name.
                raise misread
            self._tidy(client, settings)
            written = write_dated(client, settings.mount, self._path, fields, cas=after)
            if written.age is not None and not _LEAST_AGE <= written.age <= _MOST_AGE:
                self._warn_of_clocks(written.age)
            return written.version

        try:
            return self._access.call(write, self._explain_write)
        except WriteConflict:
            return None

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

    def _tidy(self, client: Any, settings: VaultSettings) -> None:
        from hvac.exceptions import Forbidden

        if self._is_tidied:
            return
        try:
            client.secrets.kv.v2.update_metadata(
                path=self._path,
                mount_point=settings.mount,
                max_versions=1,
                cas_required=True,
                delete_version_after=DELETE_AFTER,
            )
        except Forbidden:
            log.info(
                "The policy does not permit to limit the versions of %s: add update on %s/metadata/%s.",
                self.description,
                settings.mount,
                self._path,
            )
        self._is_tidied = True

    def _require_kv2(self, settings: VaultSettings) -> None:
        if settings.kv_version != 2:
            raise BloqConfigurationError.of(
                "shared_vault_conn_id",
                f"its KV engine is of version {settings.kv_version}, which has no check-and-set",
                "Share through a KV engine of version 2",
                self.description,
            )

    def _explain_read(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        return _about_sharing(diagnose_read(error, client, settings, self._path, self.description))

    def _explain_write(self, error: Exception, client: Any, settings: VaultSettings) -> Exception:
        from hvac.exceptions import Forbidden

        if isinstance(error, Forbidden):
            full = api_path(2, settings.mount, self._path)
            return BloqConfigurationError.of(
                "shared_vault_path",
                f"Vault does not permit this login to write {full!r}, as a member of the fleet must",
                f'Add to its policy: path "{full}" {{ capabilities = ["create", "read", "update"] }}; or take the '
                "client keys out of the connection, which makes it a reader",
                self.description,
            )
        return _about_sharing(diagnose_write(error, settings, self._path, self.description))


def _about_sharing(error: Exception) -> Exception:
    """Name the settings of the shared path where the readers of client keys name theirs."""
    if not isinstance(error, BloqConfigurationError):
        return error
    renamed = {"vault_path": "shared_vault_path"}
    return BloqConfigurationError(
        [FieldProblem(renamed.get(one.field, one.field), one.problem, one.remedy) for one in error.problems],
        error.where,
    )
