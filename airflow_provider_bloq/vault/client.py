"""A client of Vault: one login, kept as long as Vault accepts it, and the HTTP session that it uses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.util.retry import Retry

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.session import NoAuth
from airflow_provider_bloq.vault.diagnosis import UnsafeRedirect, UnsendableRequest, diagnose_login
from airflow_provider_bloq.vault.kv import UnexpectedAnswer, WriteConflict
from airflow_provider_bloq.vault.vault_settings import VaultSettings, read_vault_settings, require_token

__all__ = [
    "VaultClient",
    "VaultHttpSession",
    "VaultLogin",
]


#: Answers of a Vault that is changing its leader, or has not caught up with it.
_TRANSIENT = (412, 500, 502, 503)
_RETRIES = 3
_BACKOFF = 0.1
#: A standby redirects to the active node; a longer chain is a mistake.
_MAX_REDIRECTS = 3


class VaultHttpSession(requests.Session):
    """A session for one Vault.

    On a redirect to another host, requests removes ``Authorization``, but neither ``X-Vault-Token`` nor the login
    in the body that a 307 repeats; and a standby redirects with a 307 to the active node, which is another host.
    So, like Vault's own client, this follows a redirect to any ``https`` address, whose certificate it verifies.
    Over plain http it follows one to the configured origin only, which is on loopback then.

    :param url: Address of the Vault.
    :param timeout: Seconds that a request may take to connect, and again to answer; after this time it is not
        repeated.
    :param options: ``verify``, ``cert`` and ``proxies``, if the connection has them.
    :param clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        options: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._origin = Origin.of(url)
        # Without this, requests reads user and password from .netrc.
        self.auth = NoAuth()
        self.max_redirects = _MAX_REDIRECTS
        self.verify = options.get("verify", self.verify)
        self.cert = options.get("cert", self.cert)
        self.proxies = options.get("proxies", self.proxies)
        adapter = _BoundedAdapter(timeout, clock)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Make a request.

        :raises UnsafeRedirect: It was redirected to an unsafe address.
        :raises UnsendableRequest: A value in it, or in the settings of a proxy, is invalid.
        :raises requests.RequestException: Vault cannot be reached.
        """
        try:
            return super().request(*args, **kwargs)
        except requests.RequestException as error:
            # The ones that are also ValueErrors quote a URL or a header.
            if not isinstance(error, ValueError):
                raise
            kind = type(error).__name__
        except (ValueError, TypeError, AttributeError, HTTPError) as error:
            # A header that http.client cannot encode, or a proxy URL that urllib3 cannot read.
            kind = type(error).__name__
        raise UnsendableRequest(kind)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request or a redirected one, if its address is safe."""
        origin = _origin_of(request.url)
        if origin is None or not (origin == self._origin or origin.scheme == "https"):
            raise UnsafeRedirect(origin)
        return super().send(request, **kwargs)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Add nothing from ``.netrc`` to a redirected request."""


class _BoundedAdapter(HTTPAdapter):
    """Repeats requests as Airflow's Vault hook does, but not after the time that one request may take."""

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._timeout = timeout
        self._clock = clock

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self.max_retries = _BoundedRetries.until(self._clock() + self._timeout, self._clock)
        return super().send(request, *args, **kwargs)


class _BoundedRetries(Retry):
    """Retries until a deadline, and never after a timeout."""

    _deadline: float
    _clock: Callable[[], float]

    @classmethod
    def until(cls, deadline: float, clock: Callable[[], float]) -> Self:
        retries = cls(
            total=_RETRIES, backoff_factor=_BACKOFF, status_forcelist=_TRANSIENT, raise_on_status=False
        )
        vars(retries).update(_deadline=deadline, _clock=clock)
        return retries

    def new(self, **changes: Any) -> Self:
        retries = super().new(**changes)
        # urllib3 passes on its own parameters only.
        vars(retries).update(_deadline=self._deadline, _clock=self._clock)
        return retries

    @property
    def _remaining(self) -> float:
        return self._deadline - self._clock()

    def is_retry(self, *args: Any, **kwargs: Any) -> bool:
        return self._remaining > 0 and super().is_retry(*args, **kwargs)

    def get_retry_after(self, response: Any) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, max(0.0, self._remaining))

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        if error is not None:
            # A proxy error wraps the original one.
            original = getattr(error, "original_error", error)
            if isinstance(original, Urllib3TimeoutError) or self._remaining <= 0:
                raise MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _origin_of(url: str | None) -> Origin | None:
    try:
        return Origin.of(url or "")
    except ValueError:
        return None


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
