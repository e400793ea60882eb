"""Sessions of ``requests`` that keep a connection's rules, sign their requests and pin certificates."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any, cast

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase
from requests.utils import rewind_body
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from airflow_provider_bloq.auth.bearer import MAX_REPLACEMENTS, BearerAuth, resend_refused, token_survived
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqTokenRejected
from airflow_provider_bloq.flow.effects import (
    BlockingRunner,
    Flow,
    Pinned,
    Request,
    Response,
    Trust,
    Unpinned,
    emit,
    run_blocking,
)
from airflow_provider_bloq.flow.events import Observer, call_event
from airflow_provider_bloq.flow.network import USER_AGENT, Network
from airflow_provider_bloq.flow.retry import RateLimiter, http_date

__all__ = [
    "BearerRequestsAuth",
    "BloqSession",
    "NoAuth",
    "ObservedAdapter",
    "PinMismatch",
    "PinnedAdapter",
    "RateLimitedAuth",
    "UncheckedAdapter",
]


class ObservedAdapter(BaseAdapter):
    """Emits an event for each request that goes through another adapter, including repeated and redirected ones.

    The duration ends with the headers of the response. The event has only the origin of the URL, since paths of other
    libraries may contain a key.

    :param adapter: Sends the requests.
    :param observe: Receives the events.
    """

    def __init__(self, adapter: BaseAdapter, observe: Observer) -> None:
        super().__init__()
        self._adapter = adapter
        self._observe = observe

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and emit an event."""
        started = time.monotonic()
        try:
            response = self._adapter.send(request, *args, **kwargs)
        except Exception as error:
            self._emit(request, started, failure=type(error).__name__)
            raise
        # An ``auth`` sends a refused request again through this.
        response.connection = self  # type: ignore[assignment]
        date = http_date(response.headers.get("Date", ""))
        self._emit(request, started, status=response.status_code, date=date)
        return response

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._adapter.close()

    def _emit(self, request: requests.PreparedRequest, started: float, **outcome: Any) -> None:
        elapsed = time.monotonic() - started
        self._observe(
            call_event(request.method or "", str(_origin_of(request.url) or ""), elapsed, **outcome)
        )


class PinMismatch(urllib3.exceptions.SSLError):
    """The server's certificate is not pinned.

    :param fingerprint: SHA-256 fingerprint of the server's certificate, in lower-case hex.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        super().__init__(f"the certificate shown, SHA-256 fingerprint {fingerprint}, is not the pinned one")


class UncheckedAdapter(HTTPAdapter):
    """Does not verify certificates, whatever ``verify`` says: the environment's CA variables would override a
    session's ``verify``.
    """

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # Nodes have self-signed certificates: the subclass compares their fingerprint.
        super().cert_verify(conn, url, verify=False, cert=cert)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        return super().build_connection_pool_key_attributes(request, verify=False, cert=cert)


class PinnedAdapter(UncheckedAdapter):
    """Connects only to servers whose certificate has one of these fingerprints.

    :param fingerprints: SHA-256 fingerprints in lower-case hex.
    """

    def __init__(self, fingerprints: frozenset[str], pool_size: int) -> None:
        self._pools: dict[str, type] = {
            "http": urllib3.HTTPConnectionPool,
            "https": _pool_class(fingerprints),
        }
        super().__init__(pool_size, pool_size)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_class(fingerprints: frozenset[str]) -> type[HTTPSConnectionPool]:
    class PinnedConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            certificate: bytes | None = cast(Any, self.sock).getpeercert(binary_form=True)
            shown = hashlib.sha256(certificate or b"").hexdigest()
            if shown not in fingerprints:
                # The pool closes the connection. If closed here, it would look like a failure of the proxy.
                raise PinMismatch(shown)
            self.is_verified = True

    class PinnedPool(HTTPSConnectionPool):
        ConnectionCls = PinnedConnection

    return PinnedPool


#: Connections to one host that are kept open; more can be in use.
POOL_SIZE = 32


class NoAuth(AuthBase):
    """Adds nothing. It keeps ``requests`` from using ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request unchanged."""
        return request


class BloqSession(requests.Session):
    """Has a timeout, prefers the connection's CA bundle to the environment's, ignores ``.netrc``, keeps no cookies, and
    opens new connections in a forked child.

    :param network: The connection's settings.
    :param auth: Signs the requests.
    :param trust: How certificates of ``origin`` are checked.
    :param origin: None for all origins. Certificates of other origins are verified by the CAs.
    :param observe: Receives an event for each request; None if the session's user emits them.
    """

    def __init__(
        self,
        network: Network,
        auth: AuthBase | None = None,
        trust: Trust = Unpinned.VERIFY,
        origin: Origin | None = None,
        observe: Observer | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.auth = auth or NoAuth()
        self.headers["User-Agent"] = f"{USER_AGENT} python-requests/{metadata.version('requests')}"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.verify = network.ca_bundle or True
        self._trust = trust
        self._origin = origin
        self._observe = observe
        self._mount()

    def _mount(self) -> None:
        self._pid = os.getpid()
        self.mount("http://", self._observed(HTTPAdapter(POOL_SIZE, POOL_SIZE)))
        self.mount("https://", self._observed(HTTPAdapter(POOL_SIZE, POOL_SIZE)))
        # Adapters are chosen by prefix: without the slash, port 8545 would match port 85450.
        self._trusting = self._observed(_adapter(self._trust))
        self.mount(f"{self._origin}/" if self._origin is not None else "https://", self._trusting)

    def _observed(self, adapter: BaseAdapter) -> BaseAdapter:
        return adapter if self._observe is None else ObservedAdapter(adapter, self._observe)

    def get_adapter(self, url: str) -> BaseAdapter:
        """Choose by origin: the prefix is only one way to write it, without the port 443 for example."""
        if self._origin is not None and _origin_of(url) == self._origin:
            return self._trusting
        return super().get_adapter(url)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, within the connection's timeout unless one is given."""
        if self._pid != os.getpid():
            # The open connections belong to the parent: two processes on one would mix up responses.
            self._mount()
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.network.timeout
        return super().send(request, **kwargs)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Prefer the connection's CA bundle to REQUESTS_CA_BUNDLE."""
        if (verify is None or verify is True) and self.verify is not True:
            verify = self.verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove credentials from a request that is redirected to another origin."""
        # requests itself keeps them on a redirect from http on port 80 to https.
        origin = _origin_of(prepared_request.url)
        if origin is None or origin != _origin_of(response.request.url):
            prepared_request.headers.pop("Authorization", None)


def _origin_of(url: object) -> Origin | None:
    try:
        return Origin.of(url) if isinstance(url, str) else None
    except ValueError:
        return None


def _adapter(trust: Trust) -> HTTPAdapter:
    if isinstance(trust, Pinned):
        return PinnedAdapter(trust.fingerprints, POOL_SIZE)
    return (
        UncheckedAdapter(POOL_SIZE, POOL_SIZE)
        if trust is Unpinned.INSECURE
        else HTTPAdapter(POOL_SIZE, POOL_SIZE)
    )


#: How many bytes of the body of a refusal are read at most.
LONGEST_REFUSAL = 64 * 1024


class BearerRequestsAuth(AuthBase):
    """Signs the requests of a ``requests.Session`` and answers a refusal with another token.

    :param bearer: Returns the account's :class:`BearerAuth`; called when a request is sent.
    :param run: Runs its flows.
    """

    def __init__(self, bearer: Callable[[], BearerAuth], run: BlockingRunner) -> None:
        self._bearer = bearer
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        _sign(request, self._run(self._bearer().sign(_without_body(request))))
        request.register_hook("response", self._answer_refusal)
        return request

    def _answer_refusal(self, response: requests.Response, **sending: Any) -> requests.Response:
        refused = response

        def replace(
            request: requests.PreparedRequest, answer: requests.Response, replacements: int
        ) -> Flow[requests.PreparedRequest | None]:
            nonlocal refused
            refused = answer
            return self._replaced(request, answer, replacements)

        def send(again: requests.PreparedRequest) -> Flow[requests.Response]:
            answer = yield from run_blocking(lambda: refused.connection.send(again, **sending))
            answer.history.extend([*refused.history, refused])
            answer.request = again
            return answer

        answer, replacements = self._run(
            resend_refused(response.request, response, replace=replace, send=send)
        )
        if replacements and answer.status_code not in (401, 403):
            self._run(emit(token_survived(replacements)))
        return answer

    def _replaced(
        self, request: requests.PreparedRequest, refused: requests.Response, replacements: int
    ) -> Flow[requests.PreparedRequest | None]:
        # requests copies this hook to the requests of a redirect: each is judged by its own URL.
        if refused.status_code not in (401, 403) or not self._bearer().origins.covers(request.url or ""):
            return None
        if refused.status_code == 401 and replacements >= MAX_REPLACEMENTS:
            # The response stands: its body is left to the caller.
            return None
        response = Response(refused.status_code, body=_beginning(refused))
        signed = yield from self._bearer().replace_refused(_without_body(request), response, replacements)
        if signed is None:
            return None
        again = request.copy()
        _rewind(again)
        _sign(again, signed)
        return again


def _without_body(request: requests.PreparedRequest) -> Request:
    sent: Any = request.headers.get("Authorization", "")
    authorization = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return Request(request.method or "", request.url or "", {"Authorization": authorization})


def _sign(request: requests.PreparedRequest, signed: Request) -> None:
    if signed.headers["Authorization"]:
        request.headers["Authorization"] = signed.headers["Authorization"]


def _beginning(response: requests.Response) -> bytes:
    """Read as much of a refusal as the decision needs. The body of a 403 remains readable."""
    if response.status_code == 401:
        # Read only to keep the connection open; a longer or broken body costs the connection.
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read(LONGEST_REFUSAL, decode_content=False)
        response.close()
        return b""
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > LONGEST_REFUSAL:
        # Too long to be about credentials.
        return b'{"code": "unread"}'
    return response.content


def _rewind(request: requests.PreparedRequest) -> None:
    body: Any = request.body
    if body is None or isinstance(body, str | bytes):
        return
    try:
        rewind_body(request)
    except requests.exceptions.UnrewindableBodyError:
        url = (request.url or "").partition("?")[0]
        raise BloqTokenRejected(
            f"{request.method} {url} refuses the access token, and the body is a stream that cannot be sent again. "
            "A new token is ready: call again with a new stream, or pass the body as bytes."
        ) from None


class RateLimitedAuth(AuthBase):
    """Keeps requests that another ``auth`` signs within the rate limit.

    :param auth: Signs the requests.
    :param rate_limiter: The rate limit.
    :param run: Runs its flows.
    """

    def __init__(self, auth: AuthBase, rate_limiter: RateLimiter, run: BlockingRunner) -> None:
        self._auth = auth
        self._rate_limiter = rate_limiter
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Wait until a request may be sent, and sign it."""
        self._run(self._rate_limiter.admit())
        request.register_hook("response", self._note)
        return self._auth(request)

    def _note(self, response: requests.Response, **sending: object) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._rate_limiter.note(Response(response.status_code, headers))
