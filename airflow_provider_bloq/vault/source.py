"""Client keys from a KV secret in Vault."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from airflow_provider_bloq.auth.keys import KeyReading
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.diagnose import diagnose_read
from airflow_provider_bloq.vault.fields import pick_client_keys
from airflow_provider_bloq.vault.kv import KvSecret, UnexpectedAnswer, read_kv
from airflow_provider_bloq.vault.location import VaultLocation
from airflow_provider_bloq.vault.session import VaultSession

__all__ = ["VaultKeySource"]


class VaultKeySource:
    """Reads client keys through an Airflow Vault connection: a :class:`~..auth.keys.KeySource`.

    The first load logs in and reads. The Vault token is kept, so that further loads only read; when Vault
    no longer accepts it, one of them logs in once more. A load that fails keeps nothing, so the next one
    begins with the connection as it then stands. Thread safe. Makes no request and reads no connection
    until it is asked for something.

    :param location: Where the keys lie.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with each Vault token, so that logs do not show it. The keys are the caller's to
        mask.
    """

    def __init__(
        self, location: VaultLocation, *, timeout: float = 30.0, mask: Callable[[str], None] | None = None
    ) -> None:
        self._location = location
        self._timeout = timeout
        self._mask = mask or _mask_nothing
        self._lock = threading.Lock()
        self._session: VaultSession | None = None
        self._identity: tuple[str, ...] | None = None

    @property
    def description(self) -> str:
        """Name the place for a person; no secret in it."""
        return f"Vault path {self._location.path!r} (connection {self._location.vault_conn_id!r})"

    @property
    def identity(self) -> tuple[str, ...]:
        """URL, namespace, digest of the login, mount, path and field names.

        Taken from the Airflow connection at the first call, without a request to Vault, and fixed from
        then on. Reads the connection synchronously: on an event loop, ask for it in a thread.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        with self._lock:
            if self._identity is None:
                if self._session is None:
                    self._session = self._open()
                endpoint = self._session.endpoint
                self._identity = (
                    "vault",
                    endpoint.url,
                    endpoint.namespace,
                    endpoint.login_digest,
                    endpoint.mount,
                    self._path,
                    self._location.id_field or "",
                    self._location.key_field or "",
                )
            return self._identity

    def load(self) -> KeyReading:
        """Read the keys now: one login where there is none that holds, and one read.

        :raises BloqConfigurationError: Connection, path, policy or secret is wrong (names the field).
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        with self._lock:
            try:
                secret = self._read()
                keys = pick_client_keys(secret.data, self._location, self.description)
                return KeyReading(keys, secret.version)
            except BaseException:
                self._session = None
                raise

    async def aload(self) -> KeyReading:
        """Read the keys now in a thread, since hvac blocks; raises what :meth:`load` raises."""
        return await asyncio.to_thread(self.load)

    def forget(self) -> None:
        """Drop the Vault token and the connection that are kept: for a forked child.

        The lock is made anew, since a thread that does not exist in the child may hold it.
        """
        self._lock = threading.Lock()
        self._session = None

    @property
    def _path(self) -> str:
        return self._location.path.strip("/")

    def _open(self) -> VaultSession:
        return VaultSession.open(self._location.vault_conn_id, timeout=self._timeout)

    def _read(self) -> KvSecret:
        from hvac.exceptions import Forbidden

        session = self._session
        if session is not None and session.logged_in:
            outcome = self._attempt(session)
            if not isinstance(outcome, Forbidden):
                return self._settle(outcome, session)
            # The token of an earlier load: it may have expired or been revoked since.
            session = None
        session = self._log_in(session)
        return self._settle(self._attempt(session), session)

    def _attempt(self, session: VaultSession) -> KvSecret | Exception:
        """Read once; a failure is returned, so that nothing raised later is chained to it."""
        from hvac.exceptions import VaultError

        endpoint = session.endpoint
        try:
            return read_kv(session.client, endpoint.kv_version, endpoint.mount, self._path)
        except (VaultError, OSError, UnexpectedAnswer) as error:
            # OSError: the errors of requests are such, and that of a CA file which is missing.
            return error

    def _settle(self, outcome: KvSecret | Exception, session: VaultSession) -> KvSecret:
        if isinstance(outcome, KvSecret):
            return outcome
        raise diagnose_read(outcome, session.client, session.endpoint, self._path, self.description)

    def _log_in(self, opened: VaultSession | None) -> VaultSession:
        """Log in, with the connection as it is now if Vault refuses what it was earlier."""
        if opened is not None:
            try:
                opened.log_in(self._mask)
            except BloqConfigurationError:
                session = self._open()
                if session.endpoint == opened.endpoint:
                    raise
            else:
                self._session = opened
                return opened
        else:
            session = self._open()
        session.log_in(self._mask)
        self._session = session
        return session


def _mask_nothing(_: str) -> None:
    """Leave logs as they are: outside of Airflow there is nobody to tell."""
