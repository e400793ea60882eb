"""Assets with ``bloq://`` URIs: blocks, transfers and logs of a chain, on which DAGs can be scheduled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow.sdk import Asset, AssetWatcher

from airflow_provider_bloq.arguments import CONNECT
from airflow_provider_bloq.exceptions import BloqConfigurationError

if TYPE_CHECKING:
    from airflow_provider_bloq.nodes.models import Cluster, Node

__all__ = [
    "addresses",
    "blocks",
    "logs",
    "sanitize_uri",
]

_NAME = r"[a-z0-9][a-z0-9-]{0,62}"
_LABEL = r"[a-z0-9][a-z0-9._-]{0,62}"
#: The part after the network, and whether a label follows it.
_KINDS = {"blocks": False, "addresses": True, "logs": True}
_FORMS = (
    "Write bloq://<chain>/<network>/blocks, bloq://<chain>/<network>/addresses/<label>, or "
    "bloq://<chain>/<network>/logs/<label>, such as bloq://eth/mainnet/blocks."
)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Validate a ``bloq://`` URI and normalise it; Airflow calls this for each asset with the scheme.

    The result is in lower case, without a slash at the end. Names are not checked against Bloq's chains.

    :raises BloqConfigurationError: The URI has another form, or a user, password, port, query or fragment.
    """
    if "@" in uri.netloc or ":" in uri.netloc or uri.query or uri.fragment:
        raise _malformed("it has a user, password, port, query or fragment")
    chain = uri.netloc.lower()
    network, *rest = uri.path.strip("/").lower().split("/")
    if not re.fullmatch(_NAME, chain) or not re.fullmatch(_NAME, network):
        raise _malformed("it does not begin with the names of a chain and a network")
    match rest:
        case [kind] if _KINDS.get(kind) is False:
            path = kind
        case [kind, label] if _KINDS.get(kind) is True and re.fullmatch(_LABEL, label):
            path = f"{kind}/{label}"
        case _:
            raise _malformed("it does not end in blocks, addresses/<label> or logs/<label>")
    return SplitResult(uri.scheme.lower(), chain, f"/{network}/{path}", "", "")


def _malformed(problem: str) -> BloqConfigurationError:
    # The URI itself is not shown: it may contain a password.
    return BloqConfigurationError.of("uri", problem, _FORMS)


def blocks(
    chain: str,
    network: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **arguments: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/blocks``: the final blocks of a chain.

    The watcher's checkpoint belongs to the asset, and is kept when another node of the chain takes over. Define an
    asset once and import it: two watchers of one asset, such as with different ``confirmations``, need different
    labels (``label``), otherwise they overwrite each other's checkpoint.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param node: The node or cluster to watch. With neither this nor ``connect`` the asset has no watcher: for an
        asset that another DAG file watches, or whose events tasks emit.
    :param connect: Whether to watch the chain through Connect instead: ``btc`` and ``bch`` through its REST API,
        others through its JSON-RPC.
    :param name: Name of the asset; None for its URI.
    :param arguments: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqBlockTrigger` or
        :class:`~airflow_provider_bloq.triggers.chain_events.BloqConnectBlockTrigger`, such as ``bloq_conn_id``,
        ``confirmations``, ``finality``, ``every``, ``max_range`` and ``start``.
    :raises BloqConfigurationError: An argument is invalid.
    """
    triggers = ("BloqBlockTrigger", "BloqConnectBlockTrigger")
    return _asset((chain, network, "blocks"), name, triggers, node, connect, arguments)


def addresses(
    chain: str,
    network: str,
    label: str,
    *,
    addresses: Iterable[str] | str = (),
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **arguments: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/addresses/<label>``: transfers to or from addresses.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param label: A name for the addresses, such as ``treasury``. The addresses are not in the URI and may be
        changed; the watcher keeps its checkpoint.
    :param addresses: The address, or several.
    :param node: The node or cluster to watch; see :func:`blocks`.
    :param connect: Whether to watch through Connect instead; see :func:`blocks`.
    :param name: Name of the asset; None for its URI.
    :param arguments: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqAddressTrigger` or
        :class:`~airflow_provider_bloq.triggers.chain_events.BloqPaymentTrigger`.
    :raises BloqConfigurationError: An argument is invalid.
    """
    triggers = ("BloqAddressTrigger", "BloqPaymentTrigger")
    return _asset(
        (chain, network, "addresses", label),
        name,
        triggers,
        node,
        connect,
        {"addresses": addresses, **arguments},
    )


def logs(
    chain: str,
    network: str,
    label: str,
    *,
    node: Node | Cluster | Mapping[str, Any] | str | None = None,
    connect: bool = False,
    name: str | None = None,
    **arguments: Any,
) -> Asset:
    """Return the asset ``bloq://<chain>/<network>/logs/<label>``: logs of contracts.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param label: A name for what is watched, such as ``usdc``.
    :param node: The node or cluster to watch; see :func:`blocks`.
    :param connect: Whether to watch through Connect's JSON-RPC instead.
    :param name: Name of the asset; None for its URI.
    :param arguments: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqLogsTrigger`, such
        as ``addresses`` and ``topics``.
    :raises BloqConfigurationError: An argument is invalid.
    """
    triggers = ("BloqLogsTrigger", None)
    return _asset((chain, network, "logs", label), name, triggers, node, connect, arguments)


def _asset(
    path: tuple[str, ...],
    name: str | None,
    triggers: tuple[str, str | None],
    node: Any,
    connect: bool,
    arguments: dict[str, Any],
) -> Asset:
    """Return an asset.

    :param path: The chain, the network and what is watched there.
    :param triggers: Names of the triggers that watch it through JSON-RPC and through Connect's REST API.
    :param arguments: Further arguments of the trigger.
    """
    chain, network, *_ = path
    uri = sanitize_uri(SplitResult("bloq", chain, f"/{'/'.join(path[1:])}", "", "")).geturl()
    node = _node(chain, node, connect)
    if node is None and not connect:
        if given := sorted(argument for argument, value in arguments.items() if value != ()):
            raise BloqConfigurationError.of(
                "node", "none is given to watch", f"Give one, or leave out {', '.join(given)}."
            )
        return Asset(name=name or uri, uri=uri)
    from airflow_provider_bloq.triggers import chain_events

    # The asset already says which chain it is, so its checkpoint does not depend on the node.
    arguments = {"label": "asset", **arguments}
    by_rpc, by_rest = triggers
    if node is not None:
        trigger = getattr(chain_events, by_rpc)(node=node, **arguments)
    elif by_rest is not None:
        trigger = getattr(chain_events, by_rest)(chain=chain, network=network, **arguments)
    else:
        raise BloqConfigurationError.of("chain", f"{chain!r} has no logs", "Use addresses.")
    return Asset(name=name or uri, uri=uri, watchers=[AssetWatcher(name=f"watch {uri}", trigger=trigger)])


def _node(chain: str, node: Any, connect: bool) -> Any:
    """Return what to watch through JSON-RPC; None if Connect's REST API or nothing is watched."""
    if not connect:
        return node
    from airflow_provider_bloq.connect.client import REST_CHAINS, RPC_CHAINS

    if node is not None:
        raise BloqConfigurationError.of("connect", "node is given as well", "Give one of the two.")
    name = chain.strip().lower()
    if name in REST_CHAINS:
        return None
    if name not in RPC_CHAINS:
        raise BloqConfigurationError.of(
            "chain",
            f"Connect is not known to have {name[:80]!r}",
            f"Use one of {', '.join((*REST_CHAINS, *RPC_CHAINS))}; or node='{CONNECT}<chain>', if the connection "
            "has a key for it",
        )
    return f"{CONNECT}{name}"
