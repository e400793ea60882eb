"""A ``requests.Session`` that keeps the connection's rules, whoever uses it."""

from __future__ import annotations

import os
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase

from airflow_provider_bloq.auth.events import Observer
from airflow_provider_bloq.auth.flow import Pinned, Trust, Unpinned
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.transport.network import USER_AGENT, Network
from airflow_provider_bloq.transport.observing import ObservedAdapter
from airflow_provider_bloq.transport.pinning import PinnedAdapter, UncheckedAdapter

__all__ = ["BloqSession", "NoAuth"]

#: Connections that are kept open to one host; more can be open at a time.
POOL_SIZE = 32


class NoAuth(AuthBase):
    """Adds nothing. A session that has an ``auth`` is not given one out of ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Leave the request as it is."""
        return request


class BloqSession(requests.Session):
    """Always has a timeout, prefers the connection's CA bundle to that of the environment, never reads
    ``.netrc``, keeps no cookies, and opens connections of its own in a forked child.

    :param network: The connection's settings.
    :param auth: Signs the requests.
    :param trust: What makes certificates acceptable ...
    :param origin: ... of this origin; None for all. Those of others are verified by the CAs.
    :param observe: Is told of each request; None where its user tells of them.
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
        # With the slash: adapters are chosen by prefix, and port 8545 is one of port 85450.
        self._trusting = self._observed(_adapter(self._trust))
        self.mount(f"{self._origin}/" if self._origin is not None else "https://", self._trusting)

    def _observed(self, adapter: BaseAdapter) -> BaseAdapter:
        return adapter if self._observe is None else ObservedAdapter(adapter, self._observe)

    def get_adapter(self, url: str) -> BaseAdapter:
        """Choose by origin, of which the prefix is only one spelling: it may come with port 443, too."""
        if self._origin is not None and _origin_of(url) == self._origin:
            return self._trusting
        return super().get_adapter(url)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, within the connection's timeout unless one is given."""
        if self._pid != os.getpid():
            # The open connections belong to the parent: two processes on one would mix their answers.
            self._mount()
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.network.timeout
        return super().send(request, **kwargs)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Let the session's CA bundle, which is the connection's, go before REQUESTS_CA_BUNDLE."""
        if (verify is None or verify is True) and self.verify is not True:
            verify = self.verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take credentials off a request that is redirected to another origin, and add none."""
        # By itself requests lets http on port 80 hand them on to https.
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
