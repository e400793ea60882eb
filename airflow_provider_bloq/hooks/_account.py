"""From settings to the clients of Connect: which URL a chain has, and where its path key is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.cache import credential_key
from airflow_provider_bloq.auth.credentials import KeySource, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_provider import SharedStore, SharedTokenProvider
from airflow_provider_bloq.auth.shared_store import LEASE_SECONDS
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, TokenProvider
from airflow_provider_bloq.connect.client import (
    REST_CHAINS,
    RPC_CHAINS,
    require_network,
    require_rest_chain,
)
from airflow_provider_bloq.connection.fields import Environment
from airflow_provider_bloq.connection.reading import ConnectionKeySource
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.rate_limit import RateLimiter, shared_rate_limiters
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.rpc.certificates import normalise_fingerprint
from airflow_provider_bloq.rpc.endpoint import (
    ConnectEndpointResolver,
    EndpointResolver,
    NodeEndpointResolver,
    NodeTlsSettings,
    PathKeySource,
)
from airflow_provider_bloq.validation import connect_chain_of, node_id_of

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.stream import StreamEndpoint
    from airflow_provider_bloq.flow.async_driver import AsyncDriver
    from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
    from airflow_provider_bloq.nodes.models import Cluster, Node
    from airflow_provider_bloq.vault.client import VaultClient

__all__ = [
    "Account",
    "is_path_keyed",
    "locator_for",
    "network_of",
    "node_id_of",
    "path_key_locator",
    "rest_of",
    "stream_of",
]


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


def stream_of(settings: BloqSettings, chain: str, driver: AsyncDriver) -> StreamEndpoint:
    """Return where the stream of a chain is; it is for event loops only.

    :param settings: The connection's settings.
    :param chain: ``btc`` or ``bch``.
    :param driver: Opens its connections.
    :raises BloqConfigurationError: The chain is unknown.
    """
    from airflow_provider_bloq.connect.stream import StreamEndpoint

    name = require_rest_chain(chain)
    local = settings.environment is Environment.LOCAL
    return StreamEndpoint(
        driver,
        f"{_url_of(settings, name)}/socket.io/",
        _host_of(settings, name) if local else None,
        settings.timeout,
    )


def path_key_locator(
    settings: BloqSettings, chain: str, vault: PathKeySource | None
) -> ConnectEndpointResolver:
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
    return ConnectEndpointResolver(_url_of(settings, chain), chain, ConnectionPathKeys(settings, vault))


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


@dataclass(frozen=True, slots=True)
class Account:
    """One connection, wired up to the point where it takes a driver to act.

    :param settings: The connection's settings.
    :param source: Where the client keys come from; None in a reader of a shared token.
    :param policy: How patiently requests are repeated.
    :param store: Where a fleet shares its token; None where each task has its own.
    :param vault_path_keys: Connect's path keys beside the client keys in Vault; None where those are elsewhere.
    :param vault: The Vault connection in use for client keys or the shared token; None where there is none.
    """

    settings: BloqSettings
    source: KeySource | None
    policy: RetryPolicy
    store: SharedStore | None = None
    vault_path_keys: PathKeySource | None = None
    vault: VaultClient | None = None

    @classmethod
    def of(cls, settings: BloqSettings, mask: Callable[[str], None], policy: RetryPolicy) -> Account:
        """Wire up a connection; nothing is sent, and no other connection read.

        :param settings: Its settings.
        :param mask: Hides a Vault token wherever the process logs.
        :param policy: How patiently requests are repeated.
        """
        accesses = _Accesses(settings.timeout, mask)
        return cls(
            settings,
            _key_source_of(settings, accesses),
            policy,
            _store_of(settings, accesses),
            _vault_path_keys_of(settings, accesses),
            _vault_of(settings, accesses),
        )

    @property
    def key(self) -> str:
        """The credential key, by which token providers are shared. May read the Vault connection."""
        identity = self.source.identity if self.source is not None else ()
        if self.store is not None:
            identity += self.store.token.identity
        return credential_key(self.settings.accounts_url, identity)

    def ladder(self) -> ClientKeysTokenProvider:
        """Make the ladder from client keys to a token, which holds nothing yet.

        :raises BloqConfigurationError: The connection is a reader and has no client keys.
        """
        if self.source is None:
            raise BloqConfigurationError.of(
                "vault_path",
                "this takes client keys, and the connection has none: it only reads the shared token",
                "Use a connection with client keys, or give it vault_path",
                f"connection {self.settings.conn_id!r}",
            )
        return ClientKeysTokenProvider(
            AccountsTokenEndpoint(self.settings.accounts_url, self.policy), self.source
        )

    def provider(self) -> TokenProvider:
        """Make what gives the connection's tokens, which holds nothing yet."""
        if self.store is None:
            return self.ladder()
        # A holder of the lease that died has to be superseded before anybody gives up.
        max_wait = self.settings.timeout + self._lease_seconds
        return self.shared(self.ladder() if self.source is not None else None, max_wait=max_wait)

    def shared(self, minter: ClientKeysTokenProvider | None, *, max_wait: float) -> SharedTokenProvider:
        """Make what gives the shared token.

        :param minter: How a member renews it; None for one that only reads.
        :param max_wait: How long a needed token is waited for, in seconds.
        :raises BloqConfigurationError: The connection shares none.
        """
        if self.store is None:
            raise BloqConfigurationError.of(
                "sharing",
                "each task of this connection has an access token of its own",
                "Set sharing to vault and shared_vault_path to where the token is to be shared",
                f"connection {self.settings.conn_id!r}",
            )
        keys = self.settings.client_keys
        return SharedTokenProvider(
            self.store,
            self.settings.accounts_url,
            minter=minter,
            client_id=keys.client_id if keys is not None else None,
            max_wait=max_wait,
            lease_seconds=self._lease_seconds,
        )

    @property
    def _lease_seconds(self) -> float:
        # A holder that is only slow should not be taken for dead: each of its requests may take so long.
        return max(LEASE_SECONDS, self.settings.timeout)

    def bearer(self, provider: TokenProvider) -> BearerAuth:
        """Make what signs requests: for the origins of the connection, and those learned later."""
        return BearerAuth(provider, TrustedOrigins(_own_origins(self.settings)))

    def rate_limiter(self) -> RateLimiter | None:
        """The rate that this process keeps on the connection; None where there is none."""
        rate = self.settings.requests_per_second
        return shared_rate_limiters.of(self.settings.conn_id, rate) if rate is not None else None


class _Accesses:
    """Vault connections in use by their ids, so that keys and shared token cost one login.

    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Hides a Vault token wherever the process logs.
    """

    def __init__(self, timeout: float, mask: Callable[[str], None]) -> None:
        self._timeout = timeout
        self._mask = mask
        self._made: dict[str, VaultClient] = {}

    def of(self, vault_conn_id: str) -> VaultClient:
        """Return the one of a connection."""
        from airflow_provider_bloq.vault.client import VaultClient

        if vault_conn_id not in self._made:
            self._made[vault_conn_id] = VaultClient(vault_conn_id, timeout=self._timeout, mask=self._mask)
        return self._made[vault_conn_id]


def _key_source_of(settings: BloqSettings, accesses: _Accesses) -> KeySource | None:
    if settings.vault is not None:
        from airflow_provider_bloq.vault.key_source import VaultKeySource

        return VaultKeySource(settings.vault, vault=accesses.of(settings.vault.vault_conn_id))
    if settings.client_keys is not None:
        return ConnectionKeySource(settings.conn_id, settings.client_keys)
    return None


def _vault_path_keys_of(settings: BloqSettings, accesses: _Accesses) -> PathKeySource | None:
    if settings.vault is None:
        return None
    from airflow_provider_bloq.vault.key_source import VaultPathKeys

    return VaultPathKeys(settings.vault, accesses.of(settings.vault.vault_conn_id))


def _vault_of(settings: BloqSettings, accesses: _Accesses) -> VaultClient | None:
    location = settings.vault or settings.shared
    return accesses.of(location.vault_conn_id) if location is not None else None


def _store_of(settings: BloqSettings, accesses: _Accesses) -> SharedStore | None:
    if settings.shared is None:
        return None
    from airflow_provider_bloq.vault.token_store import VaultTokenStore

    access = accesses.of(settings.shared.vault_conn_id)
    return SharedStore(
        VaultTokenStore(access, settings.shared.path), VaultTokenStore(access, settings.shared.lease_path)
    )


def network_of(settings: BloqSettings) -> Network:
    """Return what a transport needs of the settings."""
    return Network(settings.timeout, settings.ca_bundle)


def locator_for(
    subject: Node | Cluster | Mapping[str, Any] | str,
    account: Account,
    *,
    nodes: NodesApi,
    clusters: ClustersApi,
    bearer: BearerAuth,
    tls_fingerprint: str | Iterable[str] | None = None,
    **options: Any,
) -> EndpointResolver:
    """Make what finds the JSON-RPC of a node, cluster or URL, or of a chain in Connect.

    :param subject: A node or cluster, the id of one, a URL, what an operator returned for one, or
        ``connect:<chain>``.
    :param account: The connection.
    :param nodes: Reads nodes.
    :param clusters: Reads clusters.
    :param bearer: Learns which origins may be shown the token.
    :param tls_fingerprint: SHA-256 fingerprints that the node may show.
    :raises BloqConfigurationError: The subject or a fingerprint is none.
    """
    settings = account.settings
    chain = connect_chain_of(subject, tls_fingerprint=tls_fingerprint, **options)
    if chain is not None:
        return path_key_locator(settings, chain, account.vault_path_keys)
    if isinstance(subject, Mapping):
        tls_fingerprint = tls_fingerprint or subject.get("tls_fingerprint")
        subject = node_id_of(subject)
    elif isinstance(subject, str):
        subject = node_id_of(subject)
    given = [tls_fingerprint] if isinstance(tls_fingerprint, str) else tls_fingerprint or ()
    try:
        fingerprints = frozenset(normalise_fingerprint(str(fingerprint)) for fingerprint in given)
    except ValueError as error:
        raise BloqConfigurationError.of(
            "tls_fingerprint", str(error), "Copy it as the create returned it."
        ) from None
    return NodeEndpointResolver(
        subject,
        nodes=nodes,
        clusters=clusters,
        origins=bearer.origins,
        tls=NodeTlsSettings(
            settings.node_tls, settings.node_fingerprints, settings.environment is Environment.LOCAL
        ),
        fingerprints=fingerprints,
        is_path_keyed=partial(is_path_keyed, settings),
        **options,
    )


def _own_origins(settings: BloqSettings) -> list[Origin]:
    connect = {settings.connect_url.replace("{chain}", chain) for chain in REST_CHAINS}
    urls = (settings.accounts_url, settings.nodes_url, *connect)
    return [*map(Origin.of, urls), *settings.rpc_origins]
