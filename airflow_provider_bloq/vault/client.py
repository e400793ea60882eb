"""Requests through an Airflow Vault connection: login, kept Vault token, second login if it is refused."""

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
    "VaultClient",
    "VaultLogin",
]

T = TypeVar("T")

#: Makes a request; it may be called twice.
_Request = Callable[[Any, VaultSettings], T]
#: Turns the error of a request into the error to raise.
_Diagnose = Callable[[Exception, Any, VaultSettings], Exception]


class VaultLogin:
    """An Airflow Vault connection as it was when opened, and one login through ``VaultHook``. Not thread safe.

    Made by :meth:`open`.

    :param hook: A ``VaultHook`` that has sent nothing yet.
    :param settings: The settings of its connection.
    :param where: The connection, for error messages.
    """

    def __init__(self, hook: Any, settings: VaultSettings, where: str) -> None:
        self.settings = settings
        self._hook = hook
        self._where = where
        self._client: Any = None

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
            # A value of the wrong type in the extras, which the text of the error may quote.
            problem = f"its extras cannot be read ({type(error).__name__})"
        if problem is not None:
            raise BloqConfigurationError.of(
                "vault_conn_id", problem, "Correct the login, password and extras of the connection", where
            )
        settings = read_vault_settings(hook.connection, where)
        options = hook.vault_client.kwargs
        options["session"] = VaultHttpSession(settings.url, timeout, options)
        # Otherwise hvac would send the token in VAULT_TOKEN or ~/.vault-token to this Vault with the login.
        options["token"] = ""
        return cls(hook, settings, where)

    def log_in(self, mask: Callable[[str], None]) -> None:
        """Log in with the method that the connection names: one request, or none for a token.

        :param mask: Called with the Vault token before it is used.
        :raises BloqConfigurationError: Vault refuses the login, or returns an unusable token.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        from hvac.exceptions import VaultError

        try:
            client = self._hook.vault_client.client
        except (VaultError, OSError, ImportError, KeyError, TypeError, ValueError) as error:
            failure = diagnose_login(error, self.settings, self._where)
        else:
            # The hook keeps the line break at the end of a pasted password.
            client.token = require_token(client.token, "the token from its login", self._where)
            mask(client.token)
            self._client = client
            return
        # Raised outside the handler: hvac's error carries the request.
        raise failure

    @property
    def logged_in(self) -> bool:
        """Whether :meth:`log_in` succeeded."""
        return self._client is not None

    @property
    def client(self) -> Any:
        """The :class:`hvac.Client` of the login.

        :raises RuntimeError: There was no login yet.
        """
        if self._client is None:
            raise RuntimeError("not logged in to Vault")
        return self._client


#: The clients whose logins a forked child drops.
_in_use: WeakSet[VaultClient] = WeakSet()


class VaultClient:
    """Makes requests through an Airflow Vault connection.

    The first request logs in. The Vault token is kept; if Vault no longer accepts it, the request logs in once
    more. Thread safe, and safe in a signal handler; a forked child logs in again.

    :param vault_conn_id: Id of the Vault connection, which is read at the first request.
    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Called with each Vault token, to keep it out of logs.
    """

    def __init__(
        self, vault_conn_id: str, *, timeout: float = 30.0, mask: Callable[[str], None] | None = None
    ) -> None:
        self.vault_conn_id = vault_conn_id
        self._timeout = timeout
        self._mask = mask or (lambda _: None)
        # Reentrant: a signal handler, such as one that runs on_kill, may interrupt its own thread's request.
        self._lock = threading.RLock()
        self._is_busy = False
        self._login: VaultLogin | None = None
        self._settings: VaultSettings | None = None
        _in_use.add(self)

    @property
    def settings(self) -> VaultSettings:
        """The settings of the connection when it was first read; nothing is sent to Vault.

        The connection is read synchronously: on an event loop, call this in a thread.

        :raises BloqConfigurationError: The Vault connection is missing or wrong.
        """
        with self._lock:
            if self._settings is None:
                if self._login is None:
                    self._login = self._open()
                self._settings = self._login.settings
            return self._settings

    def forget(self) -> None:
        """Drop the Vault token and the connection, as a forked child does.

        The lock is replaced, since a thread that does not exist in the child may hold it.
        """
        self._lock = threading.RLock()
        self._is_busy = False
        self._login = None

    def call(self, request: _Request[T], diagnose: _Diagnose) -> T:
        """Make a request with the login that is kept, or with a new one.

        After a failure nothing is kept, so the next call reads the connection again. A call that a signal handler
        makes during another one uses a separate login, since the other may be half done.

        :param request: Makes the request with an :class:`hvac.Client` and the settings of the connection. It may
            be called twice.
        :param diagnose: Turns its error into the error to raise.
        :raises WriteConflict: As raised by ``request``.
        :raises BloqConfigurationError: The Vault connection is wrong or refused, or as diagnosed.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        with self._lock:
            if self._is_busy:
                login = self._open()
                login.log_in(self._mask)
                return _result(_attempt(request, login), login, diagnose)
            try:
                self._is_busy = True
                return _result(*self._outcome(request), diagnose)
            except WriteConflict:
                raise
            except BaseException:
                self._login = None
                raise
            finally:
                self._is_busy = False

    def _outcome(self, request: _Request[T]) -> tuple[T | Exception, VaultLogin]:
        from hvac.exceptions import Forbidden

        login = self._login
        if login is not None and login.logged_in:
            outcome = _attempt(request, login)
            if not isinstance(outcome, Forbidden):
                return outcome, login
            # The kept token may have expired or been revoked.
            login = None
        login = self._log_in(login)
        return _attempt(request, login), login

    def _log_in(self, opened: VaultLogin | None) -> VaultLogin:
        """Log in; if Vault refuses and the connection has changed since it was opened, log in with the new one."""
        if opened is not None:
            try:
                opened.log_in(self._mask)
            except BloqConfigurationError:
                login = self._open()
                if login.settings == opened.settings:
                    raise
            else:
                self._login = opened
                return opened
        else:
            login = self._open()
        login.log_in(self._mask)
        self._login = login
        return login

    def _open(self) -> VaultLogin:
        return VaultLogin.open(self.vault_conn_id, timeout=self._timeout)


def _result(outcome: T | Exception, login: VaultLogin, diagnose: _Diagnose) -> T:
    if isinstance(outcome, Exception):
        # Raised here and not where it was caught: hvac's errors carry the whole request.
        raise diagnose(outcome, login.client, login.settings)
    return outcome


def _attempt(request: _Request[T], login: VaultLogin) -> T | Exception:
    """Make a request once and return its error, so that nothing raised later is chained to it."""
    from hvac.exceptions import VaultError

    try:
        return request(login.client, login.settings)
    except (VaultError, OSError, ValueError, UnexpectedAnswer) as error:
        # OSError: the errors of requests, and that of a missing CA file.
        return error


def _forget_all() -> None:
    for client in list(_in_use):
        client.forget()


if hasattr(os, "register_at_fork"):
    # Token, socket and lock are the parent's: two processes on one socket would mix up their answers.
    os.register_at_fork(after_in_child=_forget_all)
