"""One login at Vault through Airflow's ``VaultHook``, and the client it brings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar
from weakref import WeakSet

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.diagnosis import diagnose_login
from airflow_provider_bloq.vault.kv import UnexpectedAnswer, WriteConflict
from airflow_provider_bloq.vault.vault_settings import VaultSettings, read_vault_settings, require_token

__all__ = [
    "Diagnosis",
    "VaultClient",
    "VaultLogin",
]


class VaultLogin:
    """A Vault connection as it stood when it was opened, and its login once that is made.

    Made by :meth:`open`. Not thread safe.

    :param hook: A ``VaultHook`` that has sent nothing yet.
    :param settings: What its connection says.
    :param where: What the connection is called in error messages.
    """

    def __init__(self, hook: Any, settings: VaultSettings, where: str) -> None:
        self._hook = hook
        self._where = where
        self._client: Any = None
        self.settings = settings

    @classmethod
    def open(cls, vault_conn_id: str, *, timeout: float) -> Self:
        """Read the Airflow connection; nothing is sent to Vault.

        :param vault_conn_id: Id of the Vault connection.
        :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
        :raises BloqConfigurationError: The connection is missing or wrong.
        """
        from airflow.providers.common.compat.sdk import AirflowNotFoundException
        from airflow.providers.hashicorp.hooks.vault import VaultHook
        from hvac.exceptions import VaultError

        from airflow_provider_bloq.vault.http import VaultHttpSession

        where = f"Vault connection {vault_conn_id!r}"
        problem = None
        try:
            hook = VaultHook(vault_conn_id=vault_conn_id, timeout=timeout)
        except AirflowNotFoundException:
            raise BloqConfigurationError.of(
                "vault_conn_id",
                f"Airflow has no connection {vault_conn_id!r}",
                "Create it with the type vault, or correct the id",
            ) from None
        except VaultError as error:
            problem = f"it is not complete: {error.args[0]}"
        except (AttributeError, TypeError, ValueError) as error:
            # A value of the wrong kind in the extras; the text of such an error may quote it.
            problem = f"its extras cannot be read ({type(error).__name__})"
        if problem is not None:
            raise BloqConfigurationError.of(
                "vault_conn_id", problem, "Correct the login, password and extras of the connection", where
            )
        settings = read_vault_settings(hook.connection, where)
        options = hook.vault_client.kwargs
        options["session"] = VaultHttpSession(settings.url, timeout, options)
        # Else a login would show this Vault the token that VAULT_TOKEN or ~/.vault-token holds for any.
        options["token"] = ""
        return cls(hook, settings, where)

    def log_in(self, mask: Callable[[str], None]) -> None:
        """Log in by the method that the connection names: one request, or none for a token.

        :param mask: Called with the Vault token before anything else is done with it.
        :raises BloqConfigurationError: Vault refuses the login, or it brings no token that can be sent.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        from hvac.exceptions import VaultError

        try:
            client = self._hook.vault_client.client
        except (VaultError, OSError, ImportError, KeyError, TypeError, ValueError) as error:
            failure = diagnose_login(error, self.settings, self._where)
        else:
            # The hook takes a password as it is, with the line break that it was pasted with.
            client.token = require_token(client.token, "what its login brought", self._where)
            mask(client.token)
            self._client = client
            return
        raise failure

    @property
    def logged_in(self) -> bool:
        """Whether :meth:`log_in` succeeded."""
        return self._client is not None

    @property
    def client(self) -> Any:
        """The :class:`hvac.Client` of the login.

        :raises RuntimeError: There was none yet.
        """
        if self._client is None:
            raise RuntimeError("not logged in at Vault")
        return self._client


T = TypeVar("T")

#: From the error, the client and the settings to the error that is shown.
Diagnosis = Callable[[Exception, Any, VaultSettings], Exception]

#: All that are in use, for a child to forget the logins of.
_in_use: WeakSet[VaultClient] = WeakSet()


class VaultClient:
    """Makes requests through an Airflow Vault connection.

    The first request logs in. The Vault token is kept; when Vault no longer accepts it, one request logs
    in once more. Thread safe, and safe in a signal handler; a forked child logs in by itself. Makes no request
    and reads no connection until it is asked for something.

    :param vault_conn_id: Id of the Vault connection.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with each Vault token, so that logs do not show it.
    """

    def __init__(
        self, vault_conn_id: str, *, timeout: float = 30.0, mask: Callable[[str], None] | None = None
    ) -> None:
        self.vault_conn_id = vault_conn_id
        self._timeout = timeout
        self._mask = mask or _mask_nothing
        # Reentrant: a signal handler, such as one that runs on_kill, may come by while its own thread waits
        # for Vault.
        self._lock = threading.RLock()
        self._is_busy = False
        self._session: VaultLogin | None = None
        self._settings: VaultSettings | None = None
        _in_use.add(self)

    @property
    def settings(self) -> VaultSettings:
        """What the connection said when it was first read; nothing is sent to Vault for it.

        Reads the connection synchronously: on an event loop, ask for it in a thread.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        with self._lock:
            if self._settings is None:
                if self._session is None:
                    self._session = self._open()
                self._settings = self._session.settings
            return self._settings

    def forget(self) -> None:
        """Drop the Vault token and the connection that are kept. A forked child does so by itself.

        The lock is made anew, since a thread that does not exist in the child may hold it.
        """
        self._lock = threading.RLock()
        self._is_busy = False
        self._session = None

    def call(self, request: Callable[[Any, VaultSettings], T], diagnose: Diagnosis) -> T:
        """Make a request: with the login that is kept, or with a new one.

        A failure keeps nothing, so that the next call begins with the connection as it then stands. A call
        that a signal handler makes in the middle of another one logs in for itself alone: the login and the
        connection of the other may be half made.

        :param request: Makes it with an :class:`hvac.Client`, by what the connection says. It may be
            called twice.
        :param diagnose: Explains its failure.
        :raises WriteConflict: As ``request`` raises it.
        :raises BloqConfigurationError: The Vault connection is wrong, or refused; or so diagnosed.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        with self._lock:
            if self._is_busy:
                return self._call_aside(request, diagnose)
            try:
                self._is_busy = True
                return _result(*self._outcome(request), diagnose)
            except WriteConflict:
                raise
            except BaseException:
                self._session = None
                raise
            finally:
                self._is_busy = False

    def _call_aside(self, request: Callable[[Any, VaultSettings], T], diagnose: Diagnosis) -> T:
        session = self._open()
        session.log_in(self._mask)
        return _result(_attempt(request, session), session, diagnose)

    def _outcome(self, request: Callable[[Any, VaultSettings], T]) -> tuple[T | Exception, VaultLogin]:
        from hvac.exceptions import Forbidden

        session = self._session
        if session is not None and session.logged_in:
            outcome = _attempt(request, session)
            if not isinstance(outcome, Forbidden):
                return outcome, session
            # The token of an earlier call: it may have expired or been revoked since.
            session = None
        session = self._log_in(session)
        return _attempt(request, session), session

    def _log_in(self, opened: VaultLogin | None) -> VaultLogin:
        """Log in, with the connection as it is now if Vault refuses what it was earlier."""
        if opened is not None:
            try:
                opened.log_in(self._mask)
            except BloqConfigurationError:
                session = self._open()
                if session.settings == opened.settings:
                    raise
            else:
                self._session = opened
                return opened
        else:
            session = self._open()
        session.log_in(self._mask)
        self._session = session
        return session

    def _open(self) -> VaultLogin:
        return VaultLogin.open(self.vault_conn_id, timeout=self._timeout)


def _result(outcome: T | Exception, session: VaultLogin, diagnose: Diagnosis) -> T:
    if isinstance(outcome, Exception):
        # Raised here and not where it was caught: hvac's own errors carry the whole request.
        raise diagnose(outcome, session.client, session.settings)
    return outcome


def _attempt(request: Callable[[Any, VaultSettings], T], session: VaultLogin) -> T | Exception:
    """Make a request once; a failure is returned, so that nothing raised later is chained to it."""
    from hvac.exceptions import VaultError

    try:
        return request(session.client, session.settings)
    except (VaultError, OSError, ValueError, UnexpectedAnswer) as error:
        # OSError: the errors of requests are such, and that of a CA file which is missing.
        return error


def _mask_nothing(_: str) -> None:
    """Leave logs as they are: outside of Airflow there is nobody to tell."""


def _forget_all() -> None:
    for access in list(_in_use):
        access.forget()


if hasattr(os, "register_at_fork"):
    # The token, the socket and the lock are the parent's: two processes on one socket mix their answers up.
    os.register_at_fork(after_in_child=_forget_all)
