"""The catalogue: chains, their ports, and the services from which nodes and clusters are created.

Chains, networks and software are those of the Nodes reference and of the official client; regions and
performance classes are invented, because Bloq documents none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from airflow_provider_bloq.testing.local.errors import LocalBloqNotFound

__all__ = [
    "LEGACY_IMAGES",
    "RPC_PORTS",
    "SIDECAR_PORT",
    "Catalogue",
    "ServiceOffer",
    "rpc_port",
]


OfferKind = Literal["nodes", "cluster"]

#: Port of a mainnet node's RPC by chain (Blockchain Node API; the official client).
RPC_PORTS = {
    "btc": 8332,
    "bch": 8332,
    "ltc": 9332,
    "eth": 8545,
    "etc": 8545,
    "polygon": 8545,
    "avalanche": 9650,
    "algorand": 8080,
}
#: Port of the management sidecar of any node.
SIDECAR_PORT = 8080
#: Image names in the create body of 2019.
LEGACY_IMAGES = {
    "btc": ("btc", "mainnet"),
    "bch": ("bch", "mainnet"),
    "ltc": ("ltc", "mainnet"),
    "eth": ("eth", "mainnet"),
    "etc": ("etc", "mainnet"),
    "btctestnet": ("btc", "testnet"),
    "bchtestnet": ("bch", "testnet"),
    "ltctestnet": ("ltc", "testnet"),
}
# Core and its forks put the testnet's RPC 10,000 above the mainnet's.
_TESTNET_SHIFT = 10_000

_NODES = (
    ("bch", "mainnet", "abc-0.19"),
    ("bch", "testnet", "abc-0.19"),
    ("btc", "mainnet", "core-0.17"),
    ("btc", "testnet", "core-0.17"),
    ("eth", "mainnet", "geth-1.8"),
    ("etc", "mainnet", "multigeth-1.9"),
    ("ltc", "mainnet", "litecoin-0.17"),
    ("ltc", "testnet", "litecoin-0.17"),
)
_CLUSTERS = (
    ("algorand", "mainnet", "algod-3.16"),
    ("avalanche", "mainnet", "avalanchego-1.10"),
    ("etc", "mainnet", "coregeth-1.12"),
    ("eth", "mainnet", "geth-1.12"),
    ("polygon", "mainnet", "bor-0.4"),
)
_REGIONS = ("us-east-1", "us-east-2")


@dataclass(frozen=True, slots=True)
class ServiceOffer:
    """A service from which nodes or clusters can be created."""

    id: str
    kind: OfferKind
    chain: str
    network: str
    software: str
    performance: str
    region: str
    disabled: bool = False


def rpc_port(chain: str, network: str) -> int:
    """Return the RPC port of a node of the chain."""
    port = RPC_PORTS[chain]
    if network == "testnet" and chain in ("btc", "bch", "ltc"):
        return port + _TESTNET_SHIFT
    return port


class Catalogue:
    """The offers of a running service; their ids are new at each start."""

    def __init__(self) -> None:
        self._offers = {offer.id: offer for offer in _offers()}

    def of_kind(self, kind: OfferKind) -> list[ServiceOffer]:
        """Return the offers for nodes or for clusters, disabled ones included."""
        return [offer for offer in self._offers.values() if offer.kind == kind]

    def orderable(self, kind: OfferKind, service_id: str) -> ServiceOffer | None:
        """Return the offer of an id if it has that kind and is not disabled."""
        offer = self._offers.get(service_id)
        return offer if offer and offer.kind == kind and not offer.disabled else None

    def by_chain(self, kind: OfferKind, chain: str, network: str) -> ServiceOffer | None:
        """Return the first offer for the chain that is not disabled."""
        for offer in self.of_kind(kind):
            if (offer.chain, offer.network) == (chain, network) and not offer.disabled:
                return offer
        return None

    def disable(self, service_id: str) -> None:
        """Disable an offer; its nodes and clusters keep running.

        :raises LocalBloqNotFound: There is no such offer.
        """
        if service_id not in self._offers:
            raise LocalBloqNotFound(f"service {service_id}")
        self._offers[service_id] = replace(self._offers[service_id], disabled=True)


def _offers() -> Iterable[ServiceOffer]:
    for kind, rows in (("nodes", _NODES), ("cluster", _CLUSTERS)):
        for chain, network, software in rows:
            for region in _REGIONS:
                yield ServiceOffer(
                    id=f"service-{uuid.uuid4()}",
                    kind="nodes" if kind == "nodes" else "cluster",
                    chain=chain,
                    network=network,
                    software=software,
                    performance="standard",
                    region=region,
                )
