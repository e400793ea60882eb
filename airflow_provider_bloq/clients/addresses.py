"""From a node or cluster to the URL of its JSON-RPC, by the table in Bloq's documentation.

Source: https://docs.bloq.com/advanced-documentation/technical-reference/blockchain-node-api
"""

from __future__ import annotations

import ipaddress
import re

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.clients.models import STOPPED, Cluster, Machine
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqNotFound,
    BloqUnavailable,
    BloqUnsafeAddress,
)

__all__ = ["rpc_port", "rpc_url", "rpc_version"]

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


def rpc_url(machine: Machine, *, local: bool, port: int | None = None, path: str | None = None) -> str:
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


def _host_and_port(machine: Machine, address: str, local: bool) -> tuple[str, int | None]:
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


def _refuse_unsafe(machine: Machine, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, local: bool) -> None:
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
