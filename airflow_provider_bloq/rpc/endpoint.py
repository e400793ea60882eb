"""From a node or cluster to the URL of its JSON-RPC, by the table in Bloq's documentation.

Source: https://docs.bloq.com/advanced-documentation/technical-reference/blockchain-node-api
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

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
from airflow_provider_bloq.flow.effects import Flow, Pinned, Trust, Unpinned, mask, run_blocking
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy
from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
from airflow_provider_bloq.nodes.models import STOPPED, Cluster, Deployment, Node, NodeAuth
from airflow_provider_bloq.rpc.certificates import NodeTlsMode, fetch_fingerprint
from airflow_provider_bloq.validation import require_whole_number

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


#: Chains whose nodes are Bitcoin's daemon or a descendant of it: JSON-RPC 1.0.
BITCOIN_LIKE = frozenset({"btc", "bch", "ltc"})

#: Documented: btc on mainnet, and the chains of any network. The other daemons' ports are their usual
#: ones, which the documentation warns may vary: the port can always be given.
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

#: Services that hand out a cloud machine's credentials and are not link-local by number.
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address)
    for address in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
#: A name that ends where every reader of the URL ends it; which names there are is for the resolver.
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)


def rpc_version(chain: str) -> str:
    """Return the JSON-RPC version that a chain's nodes speak."""
    return "1.0" if chain in BITCOIN_LIKE else "2.0"


def rpc_port(chain: str, network: str) -> int | None:
    """Return the JSON-RPC port of a chain's nodes; None where it is not known."""
    return _PORTS_OF_ANY_NETWORK.get(chain) or _PORTS.get((chain, network))


def rpc_url(machine: Deployment, *, local: bool, port: int | None = None, path: str | None = None) -> str:
    """Return the URL of a node's or cluster's JSON-RPC.

    :param machine: The node or cluster, as the API gave it.
    :param local: Whether its address may be a loopback one (``environment: local``).
    :param port: The port, instead of the chain's own.
    :param path: The path, instead of the chain's own.
    :raises BloqNotFound: It was deleted.
    :raises BloqUnavailable: It has no address yet.
    :raises BloqUnsafeAddress: Its address is of a kind that no credential may be sent to.
    :raises BloqConfigurationError: The chain's port is not known and none was given, or port or path
        cannot be used.
    """
    if port is not None:
        require_whole_number("port", port, least=1, most=65535)
    if machine.state == STOPPED:
        # Its address may be somebody else's by now.
        raise BloqNotFound(f"{machine.id} was deleted.")
    address = machine.address
    if address is None:
        raise BloqUnavailable(f"{machine.id} has no address; its state is {machine.state or 'not known'}.")
    host, own_port = _host_and_port(machine, address.strip().rstrip("."), local)
    port = port or own_port or rpc_port(machine.chain, machine.network)
    if port is None:
        raise BloqConfigurationError.of(
            "port",
            f"the JSON-RPC port of {machine.chain or 'this chain'} {machine.network} is not known",
            "Pass it as port=.",
        )
    try:
        origin = Origin.of(f"https://{host}:{port}")
    except ValueError as odd:
        raise BloqUnsafeAddress(
            f"The address that the API names for {machine.id} is refused: {odd}."
        ) from None
    # Always with the port, also where it is the scheme's own: so the documentation writes it.
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"https://{name}:{origin.port}{_path(path or _PATHS.get(machine.chain, '/'))}"


def _path(path: str) -> str:
    path = path if path.startswith("/") else f"/{path}"
    if not path.isascii() or not path.isprintable() or not {" ", "\\", "#"}.isdisjoint(path):
        raise BloqConfigurationError.of("path", f"{path!r} cannot be used", "Give it percent-encoded.")
    return path


def _host_and_port(machine: Deployment, address: str, local: bool) -> tuple[str, int | None]:
    ip = _ip(address)
    if ip is not None:
        _refuse_unsafe(machine, ip, local)
        return (f"[{ip}]" if ip.version == 6 else str(ip)), None
    host, colon, tail = address.rpartition(":")
    if colon and tail.isascii() and tail.isdigit() and len(tail) <= 5:
        # The form that the local service uses; the real one's addresses have no port.
        ip = _ip(host.strip("[]"))
        if ip is not None and ip.is_loopback and local:
            return (f"[{ip}]" if ip.version == 6 else str(ip)), int(tail)
        raise BloqUnsafeAddress(
            f"The address of {machine.id} holds a port, which only a loopback address may."
        )
    if not isinstance(machine, Cluster):
        raise BloqUnsafeAddress(f"The address of {machine.id} is no IP address.")
    name = address.lower()
    if not _DOMAIN.fullmatch(name):
        raise BloqUnsafeAddress(f"The domain of {machine.id} is no name of a host.")
    if name in _METADATA_NAMES or (not local and (name == "localhost" or name.endswith(".localhost"))):
        raise BloqUnsafeAddress(f"The domain of {machine.id} is one that no credential may be sent to.")
    return name, None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip


def _refuse_unsafe(
    machine: Deployment, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, local: bool
) -> None:
    if ip.is_loopback:
        if not local:
            raise BloqUnsafeAddress(
                f"The address of {machine.id} is a loopback one, which is accepted with environment 'local' only."
            )
    elif _is_unsafe(ip) or (isinstance(ip, ipaddress.IPv6Address) and _is_unsafe(ip.sixtofour)):
        raise BloqUnsafeAddress(
            f"The address of {machine.id} is link-local, a cloud's metadata service or none of a single "
            "machine; no credential is sent there."
        )


def _is_unsafe(ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    return ip is not None and (
        ip.is_link_local
        or ip in _METADATA_ADDRESSES
        or ip.is_unspecified
        or ip.is_multicast
        or ip.is_reserved
    )


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RpcEndpoint:
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


class EndpointResolver(Protocol):
    """Finds out where calls go."""

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        """Return where; found out once.

        :param refresh: Whether to find it out again first, since the credential was refused.
        """


@dataclass(frozen=True, slots=True)
class NodeTlsSettings:
    """How the connection wants the certificates of nodes to be checked.

    :param mode: What makes a certificate acceptable.
    :param fingerprints: Node id to the SHA-256 fingerprints that it may show.
    :param local: Whether this is the environment of a local service.
    """

    mode: NodeTlsMode
    fingerprints: Mapping[str, frozenset[str]]
    local: bool


class NodeEndpointResolver:
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
        self._target: RpcEndpoint | None = None

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        """Return where the calls go; found out once.

        :param refresh: Whether to read the node again first.
        """
        if self._target is None or refresh:
            self._target = yield from self._found(refresh)
        if self._target.trust is Unpinned.INSECURE:
            log.warning("The certificate at %s is not checked (node_tls 'insecure').", self._target.url)
        return self._target

    def _found(self, refresh: bool) -> Flow[RpcEndpoint]:
        subject = self._subject
        if isinstance(subject, str) and "://" in subject:
            return self._raw(subject)
        if isinstance(subject, Deployment) and not refresh:
            machine: Node | Cluster = subject
        else:
            machine_id = subject if isinstance(subject, str) else subject.id
            if machine_id.startswith("cluster-"):
                machine = yield from ClustersApi.get.flow(self._clusters, machine_id)
            else:
                machine = yield from NodesApi.get.flow(self._nodes, machine_id)
        return (yield from self._target_of(machine))

    def _raw(self, url: str) -> RpcEndpoint:
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
        return RpcEndpoint(url, "2.0", trust)

    def _target_of(self, machine: Node | Cluster) -> Flow[RpcEndpoint]:
        url = rpc_url(machine, local=self._tls.local, port=self._port, path=self._path)
        if machine.auth is None:
            log.warning(
                "The API does not say how %s knows its callers: it is shown no credential.", machine.id
            )
        auth = machine.auth or NodeAuth("none")
        trust = yield from self._trust(machine, auth, Origin.of(url))
        version = rpc_version(machine.chain)
        if auth.type == "basic":
            return RpcEndpoint(url, version, trust, basic=auth, chain=machine.chain)
        if auth.type == "jwt":
            self._origins.add(Origin.of(url))
        return RpcEndpoint(url, version, trust, chain=machine.chain)

    def _trust(self, machine: Node | Cluster, auth: NodeAuth, origin: Origin) -> Flow[Trust]:
        known = self._fingerprints | self._tls.fingerprints.get(machine.id, frozenset())
        if known:
            return Pinned(known)
        # Clusters have certificates of a CA.
        if isinstance(machine, Cluster) or self._tls.mode is NodeTlsMode.VERIFY:
            return Unpinned.VERIFY
        if self._tls.mode is NodeTlsMode.INSECURE:
            return self._insecure(machine, auth)
        seen = yield from fetch_fingerprint(origin, NO_RETRIES)
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


def fingerprint_of_new_node(node: Node, *, local: bool, policy: RetryPolicy) -> Flow[str | None]:
    """Read the certificate that a new node shows, to be trusted from then on; a flow.

    Nothing is sent to the node: the handshake ends before the first header.

    :param node: The node.
    :param local: As for :func:`~airflow_provider_bloq.rpc.endpoint.rpc_url`.
    :param policy: As for :func:`~airflow_provider_bloq.rpc.certificates.fetch_fingerprint`.
    :return: SHA-256 fingerprint in lower-case hex; None where it could not be read.
    """
    try:
        return (yield from fetch_fingerprint(Origin.of(rpc_url(node, local=local)), policy))
    except BloqError as problem:
        # The node is there all the same: its id must reach the task that will delete it.
        log.warning("The certificate of %s could not be read, so it is not pinned: %s", node.id, problem)
    return None


class PathKeySource(Protocol):
    """A place that path keys are read from."""

    def load(self, chain: str) -> Secret:
        """Read the key of a chain now. May block.

        :raises BloqConfigurationError: There is none.
        :raises BloqVaultUnavailable: The place cannot be reached at present.
        """


class ConnectEndpointResolver:
    """Finds the JSON-RPC of a chain in Connect, and its key again where it is refused.

    :param url: Base URL of Connect for the chain.
    :param chain: The chain.
    :param keys: Where its key is.
    """

    def __init__(self, url: str, chain: str, keys: PathKeySource) -> None:
        self._url = url
        self._chain = chain
        self._keys = keys
        self._target: RpcEndpoint | None = None

    def resolve(self, *, refresh: bool = False) -> Flow[RpcEndpoint]:
        """Return where the calls go; found out once.

        :param refresh: Whether to read the key again first.
        """
        if self._target is None or refresh:
            key = yield from run_blocking(lambda: self._keys.load(self._chain))
            yield from mask(key)
            self._target = RpcEndpoint(
                f"{self._url}/v1/{REDACTED}", "2.0", Unpinned.VERIFY, chain=self._chain, path_key=key
            )
        return self._target
