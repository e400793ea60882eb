"""How Vault is asked over HTTP: where a request may be sent on to, and how often it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import TimeoutError as NoAnswerInTime
from urllib3.util.retry import Retry

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.flow.session import NoAuth

__all__ = [
    "UnsafeRedirect",
    "UnsendableRequest",
    "VaultHttpSession",
]


#: Answers of a Vault that is just changing its leader, or has not caught up with it.
_PASSING = (412, 500, 502, 503)
_RETRIES = 3
_BACKOFF = 0.1
#: A standby names the active node. Who leads on and on is none.
_MOST_HOPS = 3


class UnsafeRedirect(requests.RequestException):
    """Vault, or what stands before it, sends a request on to where no credential may be shown.

    :param target: The origin that it leads to; None where that cannot be read.
    """

    def __init__(self, target: Origin | None) -> None:
        super().__init__("a redirect that is not followed")
        self.target = target


class UnsendableRequest(requests.RequestException):
    """No request can be made of what the connection or the environment says.

    :param kind: The name of the error. Its text is dropped: it quotes the token, or a proxy's password.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class VaultHttpSession(requests.Session):
    """A session for one Vault.

    requests takes ``Authorization`` off a request that is redirected to another host, and knows nothing of
    ``X-Vault-Token`` or of the login in a body that a 307 has sent again. Yet a standby answers with a 307
    to the active node, another host. So, as by Vault's own client, a redirect is followed to any ``https``
    address, whose certificate is checked as Vault's own is; over plain http to nowhere but the configured
    origin itself, which is on loopback then.

    :param url: Address of the Vault.
    :param timeout: Seconds that a request may take to connect, and again to answer; after so long, none is
        repeated.
    :param options: ``verify``, ``cert`` and ``proxies``, as far as the connection names them.
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
        # Without one, requests takes user and password out of .netrc.
        self.auth = NoAuth()
        self.max_redirects = _MOST_HOPS
        self.verify = options.get("verify", self.verify)
        self.cert = options.get("cert", self.cert)
        self.proxies = options.get("proxies", self.proxies)
        adapter = _BoundedAdapter(timeout, clock)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Make a request.

        :raises UnsafeRedirect: It was redirected to where it is not sent.
        :raises UnsendableRequest: Something in it, or in the settings of a proxy, is not possible.
        :raises requests.RequestException: Vault cannot be reached.
        """
        try:
            return super().request(*args, **kwargs)
        except requests.RequestException as error:
            # Those that are ValueErrors, too, are about a URL or a header, and quote it.
            if not isinstance(error, ValueError):
                raise
            kind = type(error).__name__
        except (ValueError, TypeError, AttributeError, HTTPError) as error:
            # A header that http.client cannot encode; a proxy's URL that urllib3 cannot read.
            kind = type(error).__name__
        raise UnsendableRequest(kind)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, if this is where it may go: each hop of a redirect passes by here, too."""
        origin = _origin_of(request.url)
        if origin is None or not (origin == self._origin or origin.scheme == "https"):
            raise UnsafeRedirect(origin)
        return super().send(request, **kwargs)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Add nothing out of ``.netrc`` to a request that is redirected."""


class _BoundedAdapter(HTTPAdapter):
    """Repeats requests as Airflow's Vault hook does, but no longer than one may take."""

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._timeout = timeout
        self._clock = clock

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self.max_retries = _BoundedRetries.until(self._clock() + self._timeout, self._clock)
        return super().send(request, *args, **kwargs)


class _BoundedRetries(Retry):
    """Retries that end at a time, and that no timeout is followed by."""

    _ends_at: float
    _clock: Callable[[], float]

    @classmethod
    def until(cls, ends_at: float, clock: Callable[[], float]) -> Self:
        retries = cls(
            total=_RETRIES, backoff_factor=_BACKOFF, status_forcelist=_PASSING, raise_on_status=False
        )
        vars(retries).update(_ends_at=ends_at, _clock=clock)
        return retries

    def new(self, **changes: Any) -> Self:
        retries = super().new(**changes)
        # urllib3 makes it by its own parameters alone.
        vars(retries).update(_ends_at=self._ends_at, _clock=self._clock)
        return retries

    @property
    def _left(self) -> float:
        return self._ends_at - self._clock()

    def is_retry(self, *args: Any, **kwargs: Any) -> bool:
        return self._left > 0 and super().is_retry(*args, **kwargs)

    def get_retry_after(self, response: Any) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, max(0.0, self._left))

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
            # The one of a proxy is wrapped.
            original = getattr(error, "original_error", error)
            if isinstance(original, NoAnswerInTime) or self._left <= 0:
                raise MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _origin_of(url: str | None) -> Origin | None:
    try:
        return Origin.of(url or "")
    except ValueError:
        return None
