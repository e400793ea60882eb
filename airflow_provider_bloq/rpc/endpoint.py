"""The JSON-RPC endpoint of a node, cluster, URL or chain of Connect: its URL, certificate check and credential.

Ports and paths: https://docs.bloq.com/advanced-documentation/technical-reference/blockchain-node-api
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.auth.bearer import TrustedOrigins
from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import (
    BloqCertificateError,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
    BloqUnavailable,
    BloqUnsafeAddress,
)
from airflow_provider_bloq.flow.effects import Flow, Pinned, Request, Trust, Unpinned, mask, run_blocking
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy, sent_with_retries
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.nodes.models import STOPPED, Cluster, Deployment, Node, NodeAuth
from airflow_provider_bloq.rpc.certificates import NodeTlsMode

__all__ = [
    "ConnectEndpointResolver",
    "EndpointResolver",
    "NodeEndpointResolver",
    "NodeTlsSettings",
    "PathKeySource",
    "RpcEndpoint",
    "fingerprint_of_new_node",
    "rpc_port",
    "rpc_url",
    "rpc_version",
]


log = logging.getLogger(__name__)

#: Chains whose nodes run bitcoind or a fork of it: JSON-RPC 1.0.
BITCOIN_LIKE = frozenset({"btc", "bch", "ltc"})

#: Bloq documents the port of btc on mainnet and those that hold for any network. The others are the daemons' defaults,
#: and may differ: callers can give a port.
_PORTS = {
    ("btc", "mainnet"): 8332,
    ("btc", "testnet"): 18332,
    ("bch", "mainnet"): 8332,
    ("bch", "testnet"): 18332,
    ("ltc", "mainnet"): 9332,
    ("ltc", "testnet"): 19332,
}
_PORTS_OF_ANY_NETWORK = {"eth": 8545, "etc": 8545, "polygon": 8545, "avalanche": 9650}
_PATHS = {"avalanche": "/ext/info"}

#: Addresses of cloud metadata services that are not link-local.
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address)
    for address in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
#: Names that every URL parser reads alike.
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)


def rpc_version(chain: str) -> str:
    """Return the JSON-RPC version of a chain's nodes."""
    return "1.0" if chain in BITCOIN_LIKE else "2.0"


def rpc_port(chain: str, network: str) -> int | None:
    """Return the JSON-RPC port of a chain's nodes; None if unknown."""
    return _PORTS_OF_ANY_NETWORK.get(chain) or _PORTS.get((chain, network))


def rpc_url(deployment: Deployment, *, local: bool, port: int | None = None, path: str | None = None) -> str:
    """Return the URL of a node's or cluster's JSON-RPC.

    :param local: Whether loopback addresses are allowed (``environment: local``).
    :param port: Port instead of the chain's default.
    :param path: Path instead of the chain's default.
    :raises BloqNotFound: The node or cluster was deleted.
    :raises BloqUnavailable: It has no address yet.
    :raises BloqUnsafeAddress: No credential may be sent to its address.
    :raises BloqConfigurationError: The chain's port is unknown and none was given, or port or path is invalid.
    """
    if port is not None:
        require_whole_number("port", port, least=1, most=65535)
    if deployment.state == STOPPED:
        # Its address may belong to somebody else now.
        raise BloqNotFound(f"{deployment.id} was deleted.")
    address = deployment.address
    if address is None:
        raise BloqUnavailable(
            f"{deployment.id} has no address; its state is {deployment.state or 'not known'}."
        )
    host, own_port = _host_and_port(deployment, address.strip().rstrip("."), local)
    port = port or own_port or rpc_port(deployment.chain, deployment.network)
    if port is None:
        raise BloqConfigurationError.of(
            "port",
            f"the JSON-RPC port of {deployment.chain or 'this chain'} {deployment.network} is unknown",
            "Pass it as port=.",
        )
    try:
        origin = Origin.of(f"https://{host}:{port}")
    except ValueError as odd:
        raise BloqUnsafeAddress(f"The address of {deployment.id} is refused: {odd}.") from None
    # Bloq's documentation always writes the port, even if it is the default of the scheme.
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"https://{name}:{origin.port}{_path(path or _PATHS.get(deployment.chain, '/'))}"


def _path(path: str) -> str:
    path = path if path.startswith("/") else f"/{path}"
    if not path.isascii() or not path.isprintable() or not {" ", "\\", "#"}.isdisjoint(path):
        raise BloqConfigurationError.of("path", f"{path!r} is invalid", "Percent-encode it.")
    return path


def _host_and_port(deployment: Deployment, address: str, local: bool) -> tuple[str, int | None]:
    ip = _ip(address)
    if ip is not None:
        _refuse_unsafe(deployment, ip, local)
        return (f"[{ip}]" if ip.version == 6 else str(ip)), None
    host, colon, tail = address.rpartition(":")
    if colon and tail.isascii() and tail.isdigit() and len(tail) <= 5:
        # Only the local service writes a port.
        ip = _ip(host.strip("[]"))
        if ip is not None and ip.is_loopback and local:
            return (f"[{ip}]" if ip.version == 6 else str(ip)), int(tail)
        raise BloqUnsafeAddress(
            f"The address of {deployment.id} has a port, which only a loopback address may have."
        )
    if not isinstance(deployment, Cluster):
        raise BloqUnsafeAddress(f"The address of {deployment.id} is not an IP address.")
    name = address.lower()
    if not _DOMAIN.fullmatch(name):
        raise BloqUnsafeAddress(f"The domain of {deployment.id} is not a host name.")
    if name in _METADATA_NAMES or (not local and (name == "localhost" or name.endswith(".localhost"))):
        raise BloqUnsafeAddress(
            f"The domain of {deployment.id} is a metadata service or this machine; no credential is sent there."
        )
    return name, None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip


def _refuse_unsafe(
    deployment: Deployment, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, local: bool
) -> None:
    if ip.is_loopback:
        if not local:
            raise BloqUnsafeAddress(
                f"The address of {deployment.id} is a loopback address, which only environment 'local' allows."
            )
    elif _is_unsafe(ip) or (isinstance(ip, ipaddress.IPv6Address) and _is_unsafe(ip.sixtofour)):
        raise BloqUnsafeAddress(
            f"The address of {deployment.id} is link-local, a cloud metadata service or not a unicast address; no "
            "credential is sent there."
        )


def _is_unsafe(ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    return ip is not None and (
        ip.is_link_local
        or ip in _METADATA_ADDRESSES
        or ip.is_unspecified
        or ip.is_multicast
        or ip.is_reserved
    )


@dataclass(frozen=True, slots=True)
class RpcEndpoint:
    """Where JSON-RPC calls are sent, and how.

    :param url: The URL.
    :param version: JSON-RPC version, ``1.0`` or ``2.0``.
    :param trust: What makes the server's certificate acceptable.
    :param basic: User and password. Without them, and without a path key, trusted origins receive the access token.
    :param chain: The chain, such as ``eth``; None if only a URL is known.
    :param path_key: The credential in the path, the only one then; ``url`` has ``***`` in its place.
    """

    url: str
    version: str
    trust: Trust
    basic: NodeAuth | None = None
    chain: str | None = None
    path_key: Secret | None = None


class EndpointResolver(Protocol):
    """Finds the endpoint for a client."""

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        """Return the endpoint, which is looked up once.

        :param refresh: Look it up again, because its credential was refused.
        """


@dataclass(frozen=True, slots=True)
class NodeTlsSettings:
    """How the certificates of nodes are checked.

    :param mode: What makes a certificate acceptable.
    :param fingerprints: SHA-256 fingerprints by node id.
    :param local: Whether the connection is to a local service.
    """

    mode: NodeTlsMode
    fingerprints: Mapping[str, frozenset[str]]
    local: bool


class NodeEndpointResolver:
    """Finds the endpoint of a node, cluster or URL.

    :param subject: A node or cluster, the id of one, or a URL.
    :param nodes: Reads nodes.
    :param clusters: Reads clusters.
    :param origins: Receives the origin of a node or cluster that takes the access token.
    :param tls: How certificates of nodes are checked.
    :param fingerprints: Fingerprints of this node that the caller knows.
    :param port: Port instead of the chain's default.
    :param path: Path instead of the chain's default.
    :param is_path_keyed: Tells whether a URL has a credential in its path, as those of Connect do. Such a URL is
        refused, because URLs appear in logs.
    """

    def __init__(
        self,
        subject: Node | Cluster | str,
        *,
        nodes: NodesApi,
        clusters: ClustersApi,
        origins: TrustedOrigins,
        tls: NodeTlsSettings,
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
        self._endpoint: RpcEndpoint | None = None

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        if self._endpoint is None or refresh:
            self._endpoint = yield from self._find(refresh)
        if self._endpoint.trust is Unpinned.INSECURE:
            log.warning("The certificate at %s is not checked (node_tls 'insecure').", self._endpoint.url)
        return self._endpoint

    def _find(self, refresh: bool) -> Flow[RpcEndpoint]:
        subject = self._subject
        if isinstance(subject, str) and "://" in subject:
            return self._of_url(subject)
        if isinstance(subject, Deployment) and not refresh:
            deployment: Node | Cluster = subject
        else:
            deployment_id = subject if isinstance(subject, str) else subject.id
            if deployment_id.startswith("cluster-"):
                deployment = yield from ClustersApi.get.flow(self._clusters, deployment_id)
            else:
                deployment = yield from NodesApi.get.flow(self._nodes, deployment_id)
        return (yield from self._of_deployment(deployment))

    def _of_url(self, url: str) -> RpcEndpoint:
        try:
            origin = Origin.of(url)
        except ValueError as odd:
            raise BloqConfigurationError.of("node", f"the URL is invalid: {odd}", "Correct it.") from None
        if self._is_path_keyed(url):
            # The path is not quoted: it is the credential.
            raise BloqConfigurationError.of(
                "node",
                f"it is a URL of Connect at {origin}; its path is a credential, which logs and pages would show",
                "Give the key to the connection, in connect_api_keys or beside the client keys in Vault, and pass "
                "connect:<chain>. Change the key: logs and pages may already show it",
            )
        if self._port is not None or self._path is not None:
            raise BloqConfigurationError.of(
                "node", "it is a URL, and port or path is given too", "Write them into the URL."
            )
        if self._fingerprints and origin.scheme != "https":
            raise BloqConfigurationError.of(
                "tls_fingerprint",
                "an http URL has no certificate",
                "Give an https URL, or no fingerprint.",
            )
        trust: Trust = Pinned(self._fingerprints) if self._fingerprints else Unpinned.VERIFY
        return RpcEndpoint(url, "2.0", trust)

    def _of_deployment(self, deployment: Node | Cluster) -> Flow[RpcEndpoint]:
        url = rpc_url(deployment, local=self._tls.local, port=self._port, path=self._path)
        if deployment.auth is None:
            log.warning(
                "The API does not say how %s authenticates callers: no credential is sent to it.",
                deployment.id,
            )
        auth = deployment.auth or NodeAuth("none")
        trust = yield from self._trust(deployment, auth, Origin.of(url))
        version = rpc_version(deployment.chain)
        if auth.type == "basic":
            return RpcEndpoint(url, version, trust, basic=auth, chain=deployment.chain)
        if auth.type == "jwt":
            self._origins.add(Origin.of(url))
        return RpcEndpoint(url, version, trust, chain=deployment.chain)

    def _trust(self, deployment: Node | Cluster, auth: NodeAuth, origin: Origin) -> Flow[Trust]:
        known = self._fingerprints | self._tls.fingerprints.get(deployment.id, frozenset())
        if known:
            return Pinned(known)
        # The certificates of clusters are signed by a CA.
        if isinstance(deployment, Cluster) or self._tls.mode is NodeTlsMode.VERIFY:
            return Unpinned.VERIFY
        if self._tls.mode is NodeTlsMode.INSECURE:
            return self._insecure(deployment, auth)
        seen = yield from _fetch_fingerprint(origin, NO_RETRIES)
        raise BloqCertificateError(
            f"The certificate of {deployment.id} is self-signed and not pinned, so nothing was sent. Its SHA-256 "
            f"fingerprint is {seen}. If you know it to be right, pin it: tls_fingerprint='{seen}' in the call, or "
            f'"node_fingerprints": {{"{deployment.id}": ["{seen}"]}} in the extra of the connection.',
            fingerprint=seen,
            url=str(origin),
        )

    def _insecure(self, deployment: Node | Cluster, auth: NodeAuth) -> Trust:
        if auth.type == "jwt" and not self._tls.local:
            raise BloqConfigurationError.of(
                "node_tls",
                f"'insecure' would send the account's access token to any server that answers for {deployment.id}",
                "Pin the certificate (node_tls 'pinned'), or create the node with auth_type 'basic'.",
            )
        return Unpinned.INSECURE


def fingerprint_of_new_node(node: Node, *, local: bool, policy: RetryPolicy) -> Flow[str | None]:
    """Read the certificate of a new node, to be trusted from then on; a flow.

    :param local: As for :func:`rpc_url`.
    :param policy: When and how often to retry: a node may not answer for some time after it has started.
    :return: SHA-256 fingerprint in lower-case hex; None if it could not be read.
    """
    try:
        return (yield from _fetch_fingerprint(Origin.of(rpc_url(node, local=local)), policy))
    except BloqError as problem:
        # The node exists nevertheless, and its id must reach the task that will delete it.
        log.warning("The certificate of %s could not be read, so it is not pinned: %s", node.id, problem)
    return None


def _fetch_fingerprint(origin: Origin, policy: RetryPolicy) -> Flow[str | None]:
    # An empty set of pins matches no certificate, so that the connection ends with the handshake and nothing is sent.
    request = Request("HEAD", f"{origin}/", trust=Pinned(frozenset()))
    try:
        yield from sent_with_retries(request, policy, idempotent=True)
    except BloqCertificateError as refusal:
        return refusal.fingerprint
    return None


class PathKeySource(Protocol):
    """Source of path keys."""

    def load(self, chain: str) -> Secret:
        """Read the key of a chain. May block.

        :raises BloqConfigurationError: There is none.
        :raises BloqVaultUnavailable: Vault cannot be reached.
        """


class ConnectEndpointResolver:
    """Finds the endpoint of a chain of Connect.

    :param url: Base URL of Connect for the chain.
    :param chain: The chain.
    :param keys: Source of its path key.
    """

    def __init__(self, url: str, chain: str, keys: PathKeySource) -> None:
        self._url = url
        self._chain = chain
        self._keys = keys
        self._endpoint: RpcEndpoint | None = None

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        if self._endpoint is None or refresh:
            key = yield from run_blocking(lambda: self._keys.load(self._chain))
            yield from mask(key)
            self._endpoint = RpcEndpoint(
                f"{self._url}/v1/{REDACTED}", "2.0", Unpinned.VERIFY, chain=self._chain, path_key=key
            )
        return self._endpoint
