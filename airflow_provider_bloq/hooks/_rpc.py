"""The JSON-RPC client of ``BloqHook``, with what other libraries need to make calls of their own.

``BloqHook`` loads this module, and with it ``requests``, when a client is made: never while DAGs are parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import requests
from requests.auth import AuthBase

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.events import Observer
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.session import BloqSession
from airflow_provider_bloq.nodes.models import NodeAuth
from airflow_provider_bloq.rpc.client import RpcClient
from airflow_provider_bloq.rpc.endpoint import RpcEndpoint

__all__ = [
    "HookRpcClient",
]


class OriginBasicAuth(AuthBase):
    """A node's user and password for the requests to that node; those to others get none.

    :param credentials: User and password.
    :param origin: The node.
    """

    def __init__(self, credentials: NodeAuth, origin: Origin) -> None:
        self._credentials = credentials
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        try:
            is_to_node = Origin.of(request.url or "") == self._origin
        except ValueError:
            is_to_node = False
        if is_to_node:
            request.headers["Authorization"] = self._credentials.basic_header()
        return request


class HookRpcClient(RpcClient):
    """Calls the JSON-RPC of one node or cluster; see :class:`~airflow_provider_bloq.rpc.client.RpcApi`.

    :param network: The connection's settings for requests.
    :param auth: Signs with the access token.
    :param rate_limited: Lets an ``auth`` keep the connection's rate limit.
    :param observe: Is told of the requests that others send.
    """

    def __init__(
        self,
        *,
        network: Network,
        auth: AuthBase,
        rate_limited: Callable[[AuthBase], AuthBase],
        observe: Observer,
        **client: Any,
    ) -> None:
        super().__init__(**client)
        self._network = network
        self._auth = auth
        self._rate_limited = rate_limited
        self._observe = observe

    @property
    def url(self) -> str:
        """The URL of the JSON-RPC; looks the node up on first use. A path key is ``***`` in it."""
        return self._target.url

    def get_conn(self) -> requests.Session:
        """Return a session for this node: with its credentials and its pinned certificate.

        For libraries that take one, such as web3.py's ``HTTPProvider(rpc.url, session=rpc.get_conn())``.

        :raises BloqConfigurationError: It is a chain of Connect.
        """
        return self._session

    @property
    def _target(self) -> RpcEndpoint:
        return self.run(self.resolver.resolve())

    @cached_property
    def _session(self) -> requests.Session:
        target = self._target
        if target.path_key is not None:
            raise BloqConfigurationError.of(
                "node",
                f"{target.url} is of Connect, whose path is a credential that is in no session",
                "Use call and batch.",
            )
        origin = Origin.of(target.url)
        auth = self._auth
        if target.basic is not None:
            auth = self._rate_limited(OriginBasicAuth(target.basic, origin))
        return BloqSession(self._network, auth, target.trust, origin, self._observe)
