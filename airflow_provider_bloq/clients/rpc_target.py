"""Which URL a node's JSON-RPC has, who may be trusted there, and what it is shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from airflow_provider_bloq.auth.bearer import TrustedOrigins
from airflow_provider_bloq.auth.flow import Flow, Pinned, Trust, Unpinned
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.addresses import rpc_url, rpc_version
from airflow_provider_bloq.clients.clusters import ClustersApi
from airflow_provider_bloq.clients.handshake import shown_fingerprint
from airflow_provider_bloq.clients.models import Cluster, Machine, Node, NodeAuth
from airflow_provider_bloq.clients.node_tls import NodeTls
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.clients.retry import IMPATIENT
from airflow_provider_bloq.exceptions import BloqCertificateError, BloqConfigurationError

__all__ = ["Locator", "RpcLocator", "RpcTarget", "TlsRules"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RpcTarget:
    """Where and how a JSON-RPC call goes.

    :param url: The URL.
    :param version: JSON-RPC version, ``1.0`` or ``2.0``.
    :param trust: What makes the server's certificate acceptable.
    :param basic: User and password of its own, where it has them; else the access token is tried,
        which only trusted origins are shown.
    :param chain: The chain, such as ``eth``; None for a URL, which does not tell.
    :param path_key: The credential in its path, instead of all others; ``url`` has ``***`` in its place.
    """

    url: str
    version: str
    trust: Trust
    basic: NodeAuth | None = None
    chain: str | None = None
    path_key: Secret | None = None


class Locator(Protocol):
    """Finds out where calls go."""

    def locate(self, *, anew: bool = False) -> Flow[RpcTarget]:
        """Return where; found out once.

        :param anew: Whether to find it out again first, since the credential was refused.
        """


@dataclass(frozen=True, slots=True)
class TlsRules:
    """How the connection wants the certificates of nodes to be checked.

    :param mode: What makes a certificate acceptable.
    :param fingerprints: Node id to the SHA-256 fingerprints that it may show.
    :param local: Whether this is the environment of a local service.
    """

    mode: NodeTls
    fingerprints: Mapping[str, frozenset[str]]
    local: bool


class RpcLocator:
    """Finds the JSON-RPC of one node, cluster or URL, and again when its password has changed.

    :param subject: A node or cluster, the id of one, or a URL.
    :param nodes: Reads nodes.
    :param clusters: Reads clusters.
    :param origins: Learns the origin of what knows its callers by the access token.
    :param tls: How certificates of nodes are checked.
    :param fingerprints: Fingerprints that the caller knows for this node.
    :param port: The port, instead of the chain's own.
    :param path: The path, instead of the chain's own.
    :param is_path_keyed: Tells whether a URL holds a credential in its path, as those of Connect do: such a URL is
        refused, since it would be shown.
    """

    def __init__(
        self,
        subject: Node | Cluster | str,
        *,
        nodes: NodesApi,
        clusters: ClustersApi,
        origins: TrustedOrigins,
        tls: TlsRules,
        fingerprints: frozenset[str] = frozenset(),
        port: int | None = None,
        path: str | None = None,
        is_path_keyed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._subject = subject
        self._nodes = nodes
        self._clusters = clusters
        self._origins = origins
        self._tls = tls
        self._fingerprints = fingerprints
        self._port = port
        self._path = path
        self._is_path_keyed = is_path_keyed
        self._target: RpcTarget | None = None

    def locate(self, *, anew: bool = False) -> Flow[RpcTarget]:
        """Return where the calls go; found out once.

        :param anew: Whether to read the node again first.
        """
        if self._target is None or anew:
            self._target = yield from self._found(anew)
        if self._target.trust is Unpinned.INSECURE:
            log.warning("The certificate at %s is not checked (node_tls 'insecure').", self._target.url)
        return self._target

    def _found(self, anew: bool) -> Flow[RpcTarget]:
        subject = self._subject
        if isinstance(subject, str) and "://" in subject:
            return self._raw(subject)
        if isinstance(subject, Machine) and not anew:
            machine: Node | Cluster = subject
        else:
            machine_id = subject if isinstance(subject, str) else subject.id
            if machine_id.startswith("cluster-"):
                machine = yield from ClustersApi.get.flow(self._clusters, machine_id)
            else:
                machine = yield from NodesApi.get.flow(self._nodes, machine_id)
        return (yield from self._target_of(machine))

    def _raw(self, url: str) -> RpcTarget:
        try:
            origin = Origin.of(url)
        except ValueError as odd:
            raise BloqConfigurationError.of(
                "node", f"it is no URL that can be used: {odd}", "Correct it."
            ) from None
        if self._is_path_keyed(url):
            # The rest of the URL is not quoted: it is the credential.
            raise BloqConfigurationError.of(
                "node",
                f"it is a URL of Connect at {origin}, whose path is a credential that logs and pages would show",
                "Give the key to the connection, in connect_api_keys or beside the client keys in Vault, and name "
                "the chain: connect:<chain>. Change the key: it may stand in pages and logs by now",
            )
        if self._port is not None or self._path is not None:
            raise BloqConfigurationError.of(
                "node", "it is a URL, and port or path is given beside it", "Write them into the URL."
            )
        if self._fingerprints and origin.scheme != "https":
            raise BloqConfigurationError.of(
                "tls_fingerprint",
                "there is no certificate with http",
                "Give an https URL, or no fingerprint.",
            )
        trust: Trust = Pinned(self._fingerprints) if self._fingerprints else Unpinned.VERIFY
        return RpcTarget(url, "2.0", trust)

    def _target_of(self, machine: Node | Cluster) -> Flow[RpcTarget]:
        url = rpc_url(machine, local=self._tls.local, port=self._port, path=self._path)
        if machine.auth is None:
            log.warning(
                "The API does not say how %s knows its callers: it is shown no credential.", machine.id
            )
        auth = machine.auth or NodeAuth("none")
        trust = yield from self._trust(machine, auth, Origin.of(url))
        version = rpc_version(machine.chain)
        if auth.type == "basic":
            return RpcTarget(url, version, trust, basic=auth, chain=machine.chain)
        if auth.type == "jwt":
            self._origins.add(Origin.of(url))
        return RpcTarget(url, version, trust, chain=machine.chain)

    def _trust(self, machine: Node | Cluster, auth: NodeAuth, origin: Origin) -> Flow[Trust]:
        known = self._fingerprints | self._tls.fingerprints.get(machine.id, frozenset())
        if known:
            return Pinned(known)
        # Clusters have certificates of a CA.
        if isinstance(machine, Cluster) or self._tls.mode is NodeTls.VERIFY:
            return Unpinned.VERIFY
        if self._tls.mode is NodeTls.INSECURE:
            return self._insecure(machine, auth)
        seen = yield from shown_fingerprint(origin, IMPATIENT)
        raise BloqCertificateError(
            f"The certificate of {machine.id} is self-signed and not pinned, so nothing was sent. It shows the SHA-256 "
            f"fingerprint {seen}. If you know that to be right, pin it: tls_fingerprint='{seen}' in the call, or "
            f'"node_fingerprints": {{"{machine.id}": ["{seen}"]}} in the extra of the connection.',
            fingerprint=seen,
            url=str(origin),
        )

    def _insecure(self, machine: Node | Cluster, auth: NodeAuth) -> Trust:
        if auth.type == "jwt" and not self._tls.local:
            raise BloqConfigurationError.of(
                "node_tls",
                f"'insecure' would show the account's access token to whoever answers for {machine.id}",
                "Pin the certificate (node_tls 'pinned'), or create the node with auth_type 'basic'.",
            )
        return Unpinned.INSECURE
