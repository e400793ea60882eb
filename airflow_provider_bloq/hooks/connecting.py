"""From settings to the clients of Connect: which URL a chain has, and where its path key is."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.connect_chains import (
    REST_CHAINS,
    RPC_CHAINS,
    require_network,
    require_rest_chain,
)
from airflow_provider_bloq.clients.connect_rpc import PathKeyLocator, PathKeySource
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.settings.environment import Environment

if TYPE_CHECKING:
    from airflow_provider_bloq.settings.connection import BloqSettings
    from airflow_provider_bloq.transport.awaiting import AwaitingDriver
    from airflow_provider_bloq.transport.stream import StreamDoor

__all__ = ["is_path_keyed", "path_key_locator", "rest_of", "stream_of"]

log = logging.getLogger(__name__)

_CHAIN_IN_URL = "{chain}"
_ANY_LABEL = "any-chain"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class ConnectionPathKeys:
    """The path keys of a connection: those of its extra, then those beside its client keys in Vault.

    :param settings: The connection's settings.
    :param vault: Those in Vault; None where the client keys do not come from there.
    """

    def __init__(self, settings: BloqSettings, vault: PathKeySource | None) -> None:
        self._settings = settings
        self._vault = vault

    def load(self, chain: str) -> Secret:
        """See :meth:`PathKeySource.load`."""
        key = self._settings.connect_api_keys.get(chain)
        if key is not None:
            return key
        if self._vault is not None:
            return self._vault.load(chain)
        raise BloqConfigurationError.of(
            "connect_api_keys",
            f"it has no path key for {chain}",
            f'Enter {{"{chain}": "<path key>"}}, or read the client keys from Vault, with the path key beside '
            f"them in the field connect_{chain}",
            f"connection {self._settings.conn_id!r}",
        )


def rest_of(settings: BloqSettings, chain: str, network: str | None) -> dict[str, Any]:
    """Return what the client of a chain's REST API is made with, besides what all services are.

    :param settings: The connection's settings.
    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default ``mainnet``, and ``regtest`` in the
        environment ``local``.
    :raises BloqConfigurationError: One of them is unknown.
    """
    name = require_rest_chain(chain)
    local = settings.environment is Environment.LOCAL
    usual = "regtest" if local else "mainnet"
    return {
        "chain": name,
        "network": usual if network is None else require_network(network),
        "url": f"{_url_of(settings, name)}/api/v1",
        "host": _host_of(settings, name) if local else None,
    }


def stream_of(settings: BloqSettings, chain: str, driver: AwaitingDriver) -> StreamDoor:
    """Return where the stream of a chain is; it is for event loops only.

    :param settings: The connection's settings.
    :param chain: ``btc`` or ``bch``.
    :param driver: Opens its connections.
    :raises BloqConfigurationError: The chain is unknown.
    """
    from airflow_provider_bloq.transport.stream import StreamDoor

    name = require_rest_chain(chain)
    local = settings.environment is Environment.LOCAL
    return StreamDoor(
        driver,
        f"{_url_of(settings, name)}/socket.io/",
        _host_of(settings, name) if local else None,
        settings.timeout,
    )


def path_key_locator(settings: BloqSettings, chain: str, vault: PathKeySource | None) -> PathKeyLocator:
    """Make what finds the JSON-RPC of a chain.

    :param settings: The connection's settings.
    :param chain: The chain, such as ``eth``, in lower case.
    :param vault: The path keys in Vault; None where the client keys do not come from there.
    :raises BloqConfigurationError: Connect has no JSON-RPC of it.
    """
    if chain in REST_CHAINS:
        raise BloqConfigurationError.of(
            "chain", f"Connect has no JSON-RPC of {chain!r}", f"Use connect({chain!r}), its REST API."
        )
    if chain not in RPC_CHAINS and not (chain in settings.connect_api_keys and _LABEL.fullmatch(chain)):
        raise BloqConfigurationError.of(
            "chain",
            f"{chain[:80]!r} is unknown",
            f"Use one of {', '.join(RPC_CHAINS)}, or give it a key in connect_api_keys.",
        )
    return PathKeyLocator(_url_of(settings, chain), chain, ConnectionPathKeys(settings, vault))


def is_path_keyed(settings: BloqSettings, url: str) -> bool:
    """Tell whether a URL is one of Connect's JSON-RPC, with the key in its path.

    :param settings: The connection's settings; Bloq's own hosts are known besides.
    :param url: The URL.
    """
    try:
        origin = Origin.of(url)
    except ValueError:
        return False
    segments = unquote(urlsplit(url).path).split("/")
    # By "v1" alone others go as well; what comes after it is the key.
    if "v1" not in segments or not any(segments[segments.index("v1") + 1 :]):
        return False
    places = {settings.connect_url, *(each.presets.connect_url for each in Environment)}
    return any(_is_at(origin, place) for place in places)


def _is_at(origin: Origin, place: str) -> bool:
    """Tell whether an origin is that of a place whose chain, where ``{chain}`` stands for it, may be any.

    The scheme does not matter, nor the port but on this machine: by a wrong one a key is shown as well.
    """
    known = Origin.of(place.replace(_CHAIN_IN_URL, _ANY_LABEL))
    if known.is_loopback and _CHAIN_IN_URL not in place:
        return origin == known
    host = re.escape(known.host).replace(re.escape(_ANY_LABEL), "[^.]+")
    return re.fullmatch(host, origin.host) is not None


def _url_of(settings: BloqSettings, chain: str) -> str:
    """Return the base URL of a chain.

    :raises BloqConfigurationError: ``connect_url`` is that of another chain.
    """
    url = settings.connect_url
    if _CHAIN_IN_URL in url or settings.environment is Environment.LOCAL:
        return url.replace(_CHAIN_IN_URL, chain)
    label = Origin.of(url).host.partition(".")[0]
    if label == chain:
        return url
    if label in (*REST_CHAINS, *RPC_CHAINS, *settings.connect_api_keys):
        raise BloqConfigurationError.of(
            "connect_url",
            f"it is the host of {label}, and {chain} is asked for",
            f"Write {_CHAIN_IN_URL} in the place of {label}, or use a connection of its own for {chain}",
            f"connection {settings.conn_id!r}",
        )
    if chain in REST_CHAINS:
        # No request of the REST API names the chain. What stands behind a proxy, only its owner knows.
        log.warning(
            "connect_url of connection %r does not tell the chain, so it must be that of %s. Write %s into it, "
            "or use a connection for each chain.",
            settings.conn_id,
            chain,
            _CHAIN_IN_URL,
        )
    return url


def _host_of(settings: BloqSettings, chain: str) -> str | None:
    """Name the chain to the local service, which has one port for all and tells them by the Host header."""
    if _CHAIN_IN_URL in settings.connect_url:
        return None
    return f"{chain}.localhost:{Origin.of(settings.connect_url).port}"
