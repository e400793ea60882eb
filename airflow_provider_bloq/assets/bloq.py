"""Assets for what a chain brings, with the watchers that fire them::

    from airflow_provider_bloq.assets.bloq import blocks

    @dag(schedule=[blocks("eth", "mainnet", node="node-…", finality="finalized")])
    def for_each_block(): ...

    @dag(schedule=[blocks("btc", "mainnet", connect=True, confirmations=3)])
    def without_a_node(): ...

The events of the asset stand in ``triggering_asset_events``; their ``extra["payload"]`` is what the trigger documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetWatcher

from airflow_provider_bloq.assets.uri import sanitize_uri, uri_of
from airflow_provider_bloq.clients.connect_chains import REST_CHAINS, RPC_CHAINS
from airflow_provider_bloq.clients.models import Cluster, Node
from airflow_provider_bloq.clients.naming import CONNECT
from airflow_provider_bloq.exceptions import BloqConfigurationError

if TYPE_CHECKING:
    from airflow_provider_bloq.triggers.event_trigger import BloqEventTrigger

__all__ = ["addresses", "blocks", "logs", "sanitize_uri"]


def blocks(
    chain: str,
    network: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **watching: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/blocks``: the final blocks of a chain.

    Its watcher keeps its place with the asset, so that it goes on from there with another node of the chain. Define an
    asset once and import it: two watchers of one asset, such as with different ``confirmations``, need a ``label``
    each, or they keep one place and move it away from under each other.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param node: A node or cluster of it, to watch it by. With neither this nor ``connect`` the asset has no watcher:
        for where another DAG file has it, or tasks say by themselves what has come.
    :param connect: Whether to watch it through Connect instead: ``btc`` and ``bch`` by its REST API, others by its
        JSON-RPC.
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.blocks.BloqBlockTrigger` or
        :class:`~airflow_provider_bloq.triggers.connect_events.BloqConnectBlockTrigger`, such as ``bloq_conn_id``,
        ``confirmations``, ``finality``, ``every``, ``max_range`` and ``start``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "blocks")
    node, connect = _by(chain, node, connect)
    trigger: BloqEventTrigger | None = None
    if connect:
        from airflow_provider_bloq.triggers.connect_events import BloqConnectBlockTrigger

        trigger = BloqConnectBlockTrigger(chain=chain, network=network, **_placed(watching))
    elif node is not None:
        from airflow_provider_bloq.triggers.blocks import BloqBlockTrigger

        trigger = BloqBlockTrigger(node=node, **_placed(watching))
    return _asset(uri, name, trigger, watching)


def addresses(
    chain: str,
    network: str,
    label: str,
    *,
    addresses: Iterable[str] | str = (),
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **watching: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/addresses/<label>``: transfers to or from addresses.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param label: A name for the addresses, such as ``treasury``: they themselves do not stand in the URI, and may
        be changed without the watcher losing its place.
    :param addresses: The address, or several.
    :param node: A node or cluster, to watch them by; as for :func:`blocks`.
    :param connect: Whether to watch them through Connect instead, likewise.
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.addresses.BloqAddressTrigger` or
        :class:`~airflow_provider_bloq.triggers.connect_events.BloqPaymentTrigger`.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "addresses", label)
    node, connect = _by(chain, node, connect)
    trigger: BloqEventTrigger | None = None
    if connect:
        from airflow_provider_bloq.triggers.connect_events import BloqPaymentTrigger

        trigger = BloqPaymentTrigger(addresses=addresses, chain=chain, network=network, **_placed(watching))
    elif node is not None:
        from airflow_provider_bloq.triggers.addresses import BloqAddressTrigger

        trigger = BloqAddressTrigger(addresses=addresses, node=node, **_placed(watching))
    return _asset(uri, name, trigger, {**({"addresses": addresses} if addresses else {}), **watching})


def logs(
    chain: str,
    network: str,
    label: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **watching: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/logs/<label>``: logs of contracts.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param label: A name for what is watched, such as ``usdc``.
    :param node: A node or cluster, to watch it by; as for :func:`blocks`.
    :param connect: Whether to watch it through the JSON-RPC of Connect instead.
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.logs.BloqLogsTrigger`, such as
        ``addresses`` and ``topics``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "logs", label)
    node, connect = _by(chain, node, connect)
    if connect:
        raise BloqConfigurationError.of("chain", f"{chain!r} has no logs", "Use addresses.")
    trigger: BloqEventTrigger | None = None
    if node is not None:
        from airflow_provider_bloq.triggers.logs import BloqLogsTrigger

        trigger = BloqLogsTrigger(node=node, **_placed(watching))
    return _asset(uri, name, trigger, watching)


def _placed(watching: Mapping[str, Any]) -> dict[str, Any]:
    """Name the place for the asset, which says which chain it is: it stays, whatever the chain is watched by."""
    return {"label": "asset", **watching}


def _by(chain: str, node: Any, connect: bool) -> tuple[Any, bool]:
    """Return what answers JSON-RPC, if that is to be watched by, and whether Connect's REST API is instead."""
    if connect and node is not None:
        raise BloqConfigurationError.of("connect", "a node is given beside it", "Give one of the two.")
    name = chain.strip().lower()
    if not connect or name in REST_CHAINS:
        return node, connect
    if name not in RPC_CHAINS:
        raise BloqConfigurationError.of(
            "chain",
            f"{name[:80]!r} is none that Connect is known to have",
            f"Use one of {', '.join((*REST_CHAINS, *RPC_CHAINS))}; or node='{CONNECT}<chain>', if the connection "
            "has a key for it",
        )
    return f"{CONNECT}{name}", False


def _asset(
    uri: str, name: str | None, trigger: BloqEventTrigger | None, watching: Mapping[str, Any]
) -> Asset:
    if trigger is not None:
        return Asset(name=name or uri, uri=uri, watchers=[AssetWatcher(name=f"watch {uri}", trigger=trigger)])
    if watching:
        raise BloqConfigurationError.of(
            "node", "there is none to watch by", f"Give one, or leave out {', '.join(sorted(watching))}."
        )
    return Asset(name=name or uri, uri=uri)
