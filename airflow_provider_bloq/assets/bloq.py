"""Assets for what a chain brings, with the watchers that fire them::

    from airflow_provider_bloq.assets.bloq import blocks

    @dag(schedule=[blocks("eth", "mainnet", node="node-…", finality="finalized")])
    def for_each_block(): ...

The events of the asset stand in ``triggering_asset_events``; their ``extra["payload"]`` is what the trigger documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetWatcher

from airflow_provider_bloq.assets.uri import sanitize_uri, uri_of
from airflow_provider_bloq.clients.models import Cluster, Node
from airflow_provider_bloq.exceptions import BloqConfigurationError

if TYPE_CHECKING:
    from airflow_provider_bloq.triggers.chain_events import BloqChainTrigger

__all__ = ["addresses", "blocks", "logs", "sanitize_uri"]


def blocks(
    chain: str,
    network: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    name: str | None = None,
    **watching: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/blocks``: the final blocks of a chain.

    Its watcher keeps its place with the asset, so that it goes on from there with another node of the chain.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param node: A node or cluster of it, to watch it by. None for an asset without a watcher: where another
        DAG file has the watcher, or tasks say by themselves what has come.
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.blocks.BloqBlockTrigger`, such
        as ``bloq_conn_id``, ``confirmations``, ``finality``, ``every``, ``max_range`` and ``start``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    from airflow_provider_bloq.triggers.blocks import BloqBlockTrigger

    return _asset(BloqBlockTrigger, chain, network, ("blocks",), node, name, watching)


def addresses(
    chain: str,
    network: str,
    label: str,
    *,
    addresses: Iterable[str] | str = (),
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
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
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.addresses.BloqAddressTrigger`.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    from airflow_provider_bloq.triggers.addresses import BloqAddressTrigger

    arguments = watching if node is None and not addresses else {"addresses": addresses, **watching}
    return _asset(BloqAddressTrigger, chain, network, ("addresses", label), node, name, arguments)


def logs(
    chain: str,
    network: str,
    label: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    name: str | None = None,
    **watching: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/logs/<label>``: logs of contracts.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param label: A name for what is watched, such as ``usdc``.
    :param node: A node or cluster, to watch it by; as for :func:`blocks`.
    :param name: Name of the asset; None for its URI.
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.logs.BloqLogsTrigger`, such as
        ``addresses`` and ``topics``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    from airflow_provider_bloq.triggers.logs import BloqLogsTrigger

    return _asset(BloqLogsTrigger, chain, network, ("logs", label), node, name, watching)


def _asset(
    trigger: type[BloqChainTrigger],
    chain: str,
    network: str,
    thing: tuple[str, ...],
    node: Node | Cluster | Mapping[str, Any] | str | None,
    name: str | None,
    watching: dict[str, Any],
) -> Asset:
    uri = uri_of(chain, network, *thing)
    if node is None:
        if watching:
            raise BloqConfigurationError.of(
                "node", "there is none to watch by", f"Give one, or leave out {', '.join(sorted(watching))}."
            )
        return Asset(name=name or uri, uri=uri)
    # The asset says which chain it is: its watcher keeps its place whichever node it is watched by.
    watcher = trigger(**{"node": node, "label": "asset", **watching})
    return Asset(name=name or uri, uri=uri, watchers=[AssetWatcher(name=f"watch {uri}", trigger=watcher)])
