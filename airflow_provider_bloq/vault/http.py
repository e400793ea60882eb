"""The HTTP session for Vault: which redirects it follows, and when it repeats a request.

A separate module because it loads ``requests``, which the client needs only once it logs in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.util.retry import Retry

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.flow.session import NoAuth

__all__ = [
    "UnsafeRedirect",
    "UnsendableRequest",
    "VaultHttpSession",
]


#: Answers of a Vault that is changing its leader, or has not caught up with it.
_TRANSIENT = (412, 500, 502, 503)
_RETRIES = 3
_BACKOFF = 0.1
#: A standby redirects to the active node; a longer chain is a mistake.
_MAX_REDIRECTS = 3


class UnsafeRedirect(requests.RequestException):
    """A redirect to an address that must not see the credentials.

    :param target: Its origin; None if it cannot be read.
    """

    def __init__(self, target: Origin | None) -> None:
        super().__init__("unsafe redirect")
        self.target = target


class UnsendableRequest(requests.RequestException):
    """The settings of the connection or the environment do not make a valid request.

    :param kind: Name of the error. Its text is dropped, since it quotes the token or a proxy's password.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


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
