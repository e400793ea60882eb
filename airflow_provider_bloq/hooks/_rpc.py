"""The JSON-RPC client of ``BloqHook``, which also provides a session for other libraries.

A separate module because it loads ``requests``, which must not happen while DAGs are parsed.
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
    """Signs requests to one node with its user and password, and no others.

    :param credentials: User and password.
    :param origin: The node.
    """

    def __init__(self, credentials: NodeAuth, origin: Origin) -> None:
        self._credentials = credentials
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
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
    :param auth: Returns the signer of requests, with the access token or with a node's own credentials.
    :param observe: Receives the events of the requests that other libraries send.
    """

    def __init__(
        self,
        *,
        network: Network,
        auth: Callable[[AuthBase | None], AuthBase],
        observe: Observer,
        **client: Any,
    ) -> None:
        super().__init__(**client)
        self._network = network
        self._auth = auth
        self._observe = observe

    @property
    def url(self) -> str:
        """The URL of the JSON-RPC, with ``***`` for a path key. Looks the node up on first use."""
        return self._target.url

    def get_conn(self) -> requests.Session:
        """Return a session with the node's credentials and its pinned certificate.

        For libraries that accept one, such as web3.py's ``HTTPProvider(rpc.url, session=rpc.get_conn())``.

        :raises BloqConfigurationError: This is a chain of Connect.
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
                f"{target.url} belongs to Connect; its path holds a credential that must not leave this client",
                "Use call and batch.",
            )
        origin = Origin.of(target.url)
        basic = None if target.basic is None else OriginBasicAuth(target.basic, origin)
        return BloqSession(self._network, self._auth(basic), target.trust, origin, self._observe)
