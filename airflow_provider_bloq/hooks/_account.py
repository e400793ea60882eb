"""Build token providers and the endpoints of nodes and of Connect from a connection's settings."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.arguments import connect_chain_of, node_id_of
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.cache import credential_key
from airflow_provider_bloq.auth.credentials import KeySource, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedStore, SharedTokenProvider
from airflow_provider_bloq.auth.shared_token_store import LEASE_SECONDS
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider, TokenProvider
from airflow_provider_bloq.connect.client import REST_CHAINS, RPC_CHAINS, require_network, require_rest_chain
from airflow_provider_bloq.connection.fields import Environment
from airflow_provider_bloq.connection.reading import ConnectionKeySource
from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.retry import RateLimiter, RetryPolicy, shared_rate_limiters
from airflow_provider_bloq.rpc.certificates import normalise_fingerprint
from airflow_provider_bloq.rpc.endpoint import (
    ConnectEndpointResolver,
    EndpointResolver,
    NodeEndpointResolver,
    NodeTlsSettings,
    PathKeySource,
)

if TYPE_CHECKING:
    from airflow_provider_bloq.connect.stream import StreamEndpoint
    from airflow_provider_bloq.flow.async_driver import AsyncDriver
    from airflow_provider_bloq.nodes.client import ClustersApi, NodesApi
    from airflow_provider_bloq.nodes.models import Cluster, Node
    from airflow_provider_bloq.vault.client import VaultClient

__all__ = [
    "Account",
    "endpoint_resolver",
    "network_of",
    "rest_arguments",
    "stream_endpoint",
]

log = logging.getLogger(__name__)

_CHAIN_IN_URL = "{chain}"
_ANY_LABEL = "any-chain"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def network_of(settings: BloqSettings) -> Network:
    """Return the settings that a driver needs."""
    return Network(settings.timeout, settings.ca_bundle)


@dataclass(frozen=True, slots=True)
class Account:
    """The credentials of a connection, ready for a driver.

    :param settings: The connection's settings.
    :param source: Where the client keys come from; None for a connection that only reads a shared token.
    :param policy: How requests are retried.
    :param store: Where a fleet shares its token; None if each task has its own.
    :param vault_path_keys: Connect's path keys beside the client keys in Vault; None if the keys are not in Vault.
    :param vault: The Vault client for client keys or the shared token; None if neither is in Vault.
    """

    settings: BloqSettings
    source: KeySource | None
    policy: RetryPolicy
    store: SharedStore | None = None
    vault_path_keys: PathKeySource | None = None
    vault: VaultClient | None = None

    @classmethod
    def of(cls, settings: BloqSettings, mask: Callable[[str], None], policy: RetryPolicy) -> Account:
        """Return the account of a connection. Sends nothing, and reads no other connection.

        :param settings: The connection's settings.
        :param mask: Hides a Vault token in logs.
        :param policy: How requests are retried.
        """
        location, shared = settings.vault, settings.shared
        if location is None and shared is None:
            keys = settings.client_keys
            source = ConnectionKeySource(settings.conn_id, keys) if keys is not None else None
            return cls(settings, source, policy)
        from airflow_provider_bloq.vault.client import VaultClient
        from airflow_provider_bloq.vault.key_source import VaultKeySource, VaultPathKeys

        # Client keys and shared token cost one login if they use the same Vault connection.
        conn_ids = [each.vault_conn_id for each in (location, shared) if each is not None]
        clients = {each: VaultClient(each, timeout=settings.timeout, mask=mask) for each in conn_ids}
        vault_source: KeySource | None = None
        path_keys = store = None
        if location is not None:
            client = clients[location.vault_conn_id]
            vault_source, path_keys = VaultKeySource(location, vault=client), VaultPathKeys(location, client)
        elif settings.client_keys is not None:
            vault_source = ConnectionKeySource(settings.conn_id, settings.client_keys)
        if shared is not None:
            from airflow_provider_bloq.vault.shared_token_store import VaultTokenStore

            client = clients[shared.vault_conn_id]
            store = SharedStore(
                VaultTokenStore(client, shared.path), VaultTokenStore(client, shared.lease_path)
            )
        return cls(settings, vault_source, policy, store, path_keys, clients[conn_ids[0]])

    @property
    def key(self) -> str:
        """The key by which token providers are shared. May read the Vault connection."""
        identity = self.source.identity if self.source is not None else ()
        if self.store is not None:
            identity += self.store.token.identity
        return credential_key(self.settings.accounts_url, identity)

    def client_keys_provider(self) -> ClientKeysTokenProvider:
        """Return a new token provider that mints with the client keys.

        :raises BloqConfigurationError: The connection has no client keys.
        """
        if self.source is None:
            raise BloqConfigurationError.of(
                "vault_path",
                "client keys are needed, but the connection has none: it only reads the shared token",
                "Use a connection with client keys, or set vault_path",
                f"connection {self.settings.conn_id!r}",
            )
        endpoint = AccountsTokenEndpoint(self.settings.accounts_url, self.policy)
        return ClientKeysTokenProvider(endpoint, self.source)

    def provider(self) -> TokenProvider:
        """Return a new token provider for the connection."""
        if self.store is None:
            return self.client_keys_provider()
        # Long enough to replace a lease holder that died.
        max_wait = self.settings.timeout + self._lease_seconds
        minter = self.client_keys_provider() if self.source is not None else None
        return self.shared_provider(minter, max_wait=max_wait)

    def shared_provider(
        self, minter: ClientKeysTokenProvider | None, *, max_wait: float
    ) -> SharedTokenProvider:
        """Return a new provider for the shared token.

        :param minter: Renews the token; None for a connection that only reads it.
        :param max_wait: Most seconds to wait for a token that is needed.
        :raises BloqConfigurationError: The connection shares no token.
        """
        if self.store is None:
            raise BloqConfigurationError.of(
                "sharing",
                "each task of this connection has its own access token",
                "Set sharing to vault, and shared_vault_path to the path of the shared token",
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
        # A slow holder must not be taken for dead. Each of its requests may take as long as the timeout.
        return max(LEASE_SECONDS, self.settings.timeout)

    def bearer(self, provider: TokenProvider) -> BearerAuth:
        """Return the signer of requests to the connection's origins and to origins learned later."""
        settings = self.settings
        connect = {settings.connect_url.replace(_CHAIN_IN_URL, chain) for chain in REST_CHAINS}
        urls = (settings.accounts_url, settings.nodes_url, *connect)
        return BearerAuth(provider, TrustedOrigins([*map(Origin.of, urls), *settings.rpc_origins]))

    def rate_limiter(self) -> RateLimiter | None:
        """Return this process's limiter for the connection; None without ``requests_per_second``."""
        rate = self.settings.requests_per_second
        return shared_rate_limiters.of(self.settings.conn_id, rate) if rate is not None else None


def endpoint_resolver(
    subject: Node | Cluster | Mapping[str, Any] | str,
    account: Account,
    *,
    nodes: NodesApi,
    clusters: ClustersApi,
    bearer: BearerAuth,
    tls_fingerprint: str | Iterable[str] | None = None,
    **options: Any,
) -> EndpointResolver:
    """Return the resolver of the JSON-RPC endpoint of a node, cluster or URL, or of a chain in Connect.

    :param subject: A node or cluster, its id, the result of an operator, a URL, or ``connect:<chain>``.
    :param account: The connection.
    :param nodes: Reads nodes.
    :param clusters: Reads clusters.
    :param bearer: Learns which origins may get the token.
    :param tls_fingerprint: SHA-256 fingerprints of the node's certificate.
    :raises BloqConfigurationError: The subject or a fingerprint is invalid.
    """
    settings = account.settings
    chain = connect_chain_of(subject, tls_fingerprint=tls_fingerprint, **options)
    if chain is not None:
        return _connect_resolver(settings, chain, account.vault_path_keys)
    if isinstance(subject, Mapping):
        tls_fingerprint = tls_fingerprint or subject.get("tls_fingerprint")
    if isinstance(subject, Mapping | str):
        subject = node_id_of(subject)
    given = [tls_fingerprint] if isinstance(tls_fingerprint, str) else tls_fingerprint or ()
    try:
        fingerprints = frozenset(normalise_fingerprint(str(fingerprint)) for fingerprint in given)
    except ValueError as error:
        raise BloqConfigurationError.of(
            "tls_fingerprint", str(error), "Copy it from the result of the create."
        ) from None
    local = settings.environment is Environment.LOCAL
    return NodeEndpointResolver(
        subject,
        nodes=nodes,
        clusters=clusters,
        origins=bearer.origins,
        tls=NodeTlsSettings(settings.node_tls, settings.node_fingerprints, local),
        fingerprints=fingerprints,
        is_path_keyed=partial(_is_path_keyed, settings),
        **options,
    )


def _connect_resolver(
    settings: BloqSettings, chain: str, vault: PathKeySource | None
) -> ConnectEndpointResolver:
    if chain in REST_CHAINS:
        raise BloqConfigurationError.of(
            "chain", f"Connect has no JSON-RPC for {chain!r}", f"Use connect({chain!r}), its REST API."
        )
    if chain not in RPC_CHAINS and not (chain in settings.connect_api_keys and _LABEL.fullmatch(chain)):
        raise BloqConfigurationError.of(
            "chain",
            f"{chain[:80]!r} is unknown",
            f"Use one of {', '.join(RPC_CHAINS)}, or add its key to connect_api_keys.",
        )
    return ConnectEndpointResolver(_url_of(settings, chain), chain, ConnectionPathKeys(settings, vault))


class ConnectionPathKeys:
    """The path keys of a connection: first those of its extra, then those beside its client keys in Vault.

    :param settings: The connection's settings.
    :param vault: The path keys in Vault; None if the client keys are not in Vault.
    """

    def __init__(self, settings: BloqSettings, vault: PathKeySource | None) -> None:
        self._settings = settings
        self._vault = vault

    def load(self, chain: str) -> Secret:
        key = self._settings.connect_api_keys.get(chain)
        if key is not None:
            return key
        if self._vault is not None:
            return self._vault.load(chain)
        raise BloqConfigurationError.of(
            "connect_api_keys",
            f"it has no path key for {chain}",
            f'Add {{"{chain}": "<path key>"}}, or keep the client keys in Vault with the path key beside them in '
            f"the field connect_{chain}",
            f"connection {self._settings.conn_id!r}",
        )


def _is_path_keyed(settings: BloqSettings, url: str) -> bool:
    """Whether a URL is a JSON-RPC endpoint of Connect, at its configured or public host, with a key in its path."""
    try:
        origin = Origin.of(url)
    except ValueError:
        return False
    segments = unquote(urlsplit(url).path).split("/")
    # The key follows "v1". Other URLs also contain "v1", but nothing after it.
    if "v1" not in segments or not any(segments[segments.index("v1") + 1 :]):
        return False
    bases = {settings.connect_url, *(each.presets.connect_url for each in Environment)}
    return any(_is_at(origin, base) for base in bases)


def _is_at(origin: Origin, base: str) -> bool:
    """Whether an origin is that of a base URL, for any chain if the URL holds ``{chain}``.

    Scheme and, except on this machine, port are ignored: a wrong one would reveal the key just the same.
    """
    known = Origin.of(base.replace(_CHAIN_IN_URL, _ANY_LABEL))
    if known.is_loopback and _CHAIN_IN_URL not in base:
        return origin == known
    host = re.escape(known.host).replace(re.escape(_ANY_LABEL), "[^.]+")
    return re.fullmatch(host, origin.host) is not None


def rest_arguments(settings: BloqSettings, chain: str, network: str | None) -> dict[str, Any]:
    """Return the arguments of the client for a chain's REST API in Connect.

    :param settings: The connection's settings.
    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default ``mainnet``, or ``regtest`` in the
        environment ``local``.
    :raises BloqConfigurationError: The chain or the network is unknown.
    """
    name = require_rest_chain(chain)
    local = settings.environment is Environment.LOCAL
    default = "regtest" if local else "mainnet"
    return {
        "chain": name,
        "network": default if network is None else require_network(network),
        "url": f"{_url_of(settings, name)}/api/v1",
        "host": _host_of(settings, name) if local else None,
    }


def stream_endpoint(settings: BloqSettings, chain: str, driver: AsyncDriver) -> StreamEndpoint:
    """Return the endpoint of a chain's stream in Connect.

    :raises BloqConfigurationError: The chain is unknown.
    """
    from airflow_provider_bloq.connect.stream import StreamEndpoint

    name = require_rest_chain(chain)
    host = _host_of(settings, name) if settings.environment is Environment.LOCAL else None
    return StreamEndpoint(driver, f"{_url_of(settings, name)}/socket.io/", host, settings.timeout)


def _url_of(settings: BloqSettings, chain: str) -> str:
    """Return Connect's base URL for a chain.

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
            f"it is the host of {label}, but {chain} is needed",
            f"Replace {label} by {_CHAIN_IN_URL}, or use another connection for {chain}",
            f"connection {settings.conn_id!r}",
        )
    if chain in REST_CHAINS:
        # REST requests do not name the chain, so this cannot be checked.
        log.warning(
            "connect_url of connection %r does not name a chain; it is assumed to be that of %s. Put %s into it, or "
            "use a connection for each chain.",
            settings.conn_id,
            chain,
            _CHAIN_IN_URL,
        )
    return url


def _host_of(settings: BloqSettings, chain: str) -> str | None:
    """Return the Host header by which the local service, with one port for all chains, knows the chain."""
    if _CHAIN_IN_URL in settings.connect_url:
        return None
    return f"{chain}.localhost:{Origin.of(settings.connect_url).port}"
