"""The form of ``bloq://`` URIs: ``bloq://<chain>/<network>/blocks``, and what stands in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow.sdk import Asset, AssetWatcher

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.nodes.models import Cluster, Node
from airflow_provider_bloq.validation import CONNECT

if TYPE_CHECKING:
    from airflow_provider_bloq.triggers.chain_events import BloqEventTrigger

__all__ = [
    "addresses",
    "blocks",
    "logs",
    "sanitize_uri",
]


_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: How watched addresses or logs are named in a URI.
LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: What may stand below a network, and whether it has a label.
_THINGS = {"blocks": False, "addresses": True, "logs": True}
_FORMS = (
    "Write bloq://<chain>/<network>/blocks, bloq://<chain>/<network>/addresses/<label>, or "
    "bloq://<chain>/<network>/logs/<label>, such as bloq://eth/mainnet/blocks."
)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a ``bloq://`` URI and bring it into its one form; Airflow calls it for each asset with that scheme.

    Everything is written in lower case, without a slash at the end. A chain and a network are names in the form in
    which Bloq's are; whether there are such is not asked.

    :param uri: The URI, split.
    :raises BloqConfigurationError: It has not that form. A user, a password, a port, a query and a fragment have no
        place in it.
    """
    if "@" in uri.netloc or ":" in uri.netloc or uri.query or uri.fragment:
        raise _malformed("it has more than a chain, a network and what is watched there")
    chain = uri.netloc.lower()
    network, *thing = uri.path.strip("/").lower().split("/")
    if not _NAME.fullmatch(chain) or not _NAME.fullmatch(network):
        raise _malformed("it does not begin with the names of a chain and a network")
    match thing:
        case [kind] if _THINGS.get(kind) is False:
            path = kind
        case [kind, label] if _THINGS.get(kind) is True and LABEL.fullmatch(label):
            path = f"{kind}/{label}"
        case _:
            raise _malformed("it does not end in what is watched")
    return SplitResult(uri.scheme.lower(), chain, f"/{network}/{path}", "", "")


def uri_of(chain: str, network: str, *thing: str) -> str:
    """Return the URI of something on a chain.

    :param chain: The chain, such as ``eth``.
    :param network: The network, such as ``mainnet``.
    :param thing: ``blocks``, or ``addresses`` or ``logs`` with a label.
    :raises BloqConfigurationError: One of these cannot stand in it.
    """
    path = "/".join((network, *thing))
    return sanitize_uri(SplitResult("bloq", chain, f"/{path}", "", "")).geturl()


def _malformed(problem: str) -> BloqConfigurationError:
    # The URI itself is not shown: it may hold a password.
    return BloqConfigurationError.of("uri", problem, _FORMS)


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
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqBlockTrigger` or
        :class:`~airflow_provider_bloq.triggers.chain_events.BloqConnectBlockTrigger`, such as ``bloq_conn_id``,
        ``confirmations``, ``finality``, ``every``, ``max_range`` and ``start``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "blocks")
    node, connect = _by(chain, node, connect)
    trigger: BloqEventTrigger | None = None
    if connect:
        from airflow_provider_bloq.triggers.chain_events import BloqConnectBlockTrigger

        trigger = BloqConnectBlockTrigger(chain=chain, network=network, **_placed(watching))
    elif node is not None:
        from airflow_provider_bloq.triggers.chain_events import BloqBlockTrigger

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
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqAddressTrigger` or
        :class:`~airflow_provider_bloq.triggers.chain_events.BloqPaymentTrigger`.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "addresses", label)
    node, connect = _by(chain, node, connect)
    trigger: BloqEventTrigger | None = None
    if connect:
        from airflow_provider_bloq.triggers.chain_events import BloqPaymentTrigger

        trigger = BloqPaymentTrigger(addresses=addresses, chain=chain, network=network, **_placed(watching))
    elif node is not None:
        from airflow_provider_bloq.triggers.chain_events import BloqAddressTrigger

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
    :param watching: Further arguments of :class:`~airflow_provider_bloq.triggers.chain_events.BloqLogsTrigger`, such as
        ``addresses`` and ``topics``.
    :raises BloqConfigurationError: One of these cannot be used.
    """
    uri = uri_of(chain, network, "logs", label)
    node, connect = _by(chain, node, connect)
    if connect:
        raise BloqConfigurationError.of("chain", f"{chain!r} has no logs", "Use addresses.")
    trigger: BloqEventTrigger | None = None
    if node is not None:
        from airflow_provider_bloq.triggers.chain_events import BloqLogsTrigger

        trigger = BloqLogsTrigger(node=node, **_placed(watching))
    return _asset(uri, name, trigger, watching)


def _placed(watching: Mapping[str, Any]) -> dict[str, Any]:
    """Name the place for the asset, which says which chain it is: it stays, whatever the chain is watched by."""
    return {"label": "asset", **watching}


def _by(chain: str, node: Any, connect: bool) -> tuple[Any, bool]:
    """Return what answers JSON-RPC, if that is to be watched by, and whether Connect's REST API is instead."""
    from airflow_provider_bloq.connect.client import REST_CHAINS, RPC_CHAINS

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
