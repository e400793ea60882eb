"""From settings to the parts that act on them: key source, token provider, origins, clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.cache import credential_key
from airflow_provider_bloq.auth.keys import KeySource
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.lease import LEASE_SECONDS
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared import SharedStore, SharedTokenProvider
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.clients.accounts import AccountsTokenEndpoint
from airflow_provider_bloq.clients.connect_chains import REST_CHAINS
from airflow_provider_bloq.clients.connect_rpc import PathKeySource
from airflow_provider_bloq.clients.naming import connect_chain_of, node_id_of
from airflow_provider_bloq.clients.node_tls import normalise_fingerprint
from airflow_provider_bloq.clients.pace import Pace, shared_paces
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.clients.rpc_target import Locator, RpcLocator, TlsRules
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.connecting import is_path_keyed, path_key_locator
from airflow_provider_bloq.hooks.connection import ConnectionKeySource
from airflow_provider_bloq.settings.connection import BloqSettings
from airflow_provider_bloq.settings.environment import Environment
from airflow_provider_bloq.transport.network import Network

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.clusters import ClustersApi
    from airflow_provider_bloq.clients.models import Cluster, Node
    from airflow_provider_bloq.clients.nodes import NodesApi
    from airflow_provider_bloq.vault.access import VaultAccess

__all__ = ["Account", "locator_for", "network_of", "node_id_of"]


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
    vault: VaultAccess | None = None

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

    def ladder(self) -> TokenProvider:
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
        return TokenProvider(AccountsTokenEndpoint(self.settings.accounts_url, self.policy), self.source)

    def provider(self) -> TokenSupply:
        """Make what gives the connection's tokens, which holds nothing yet."""
        if self.store is None:
            return self.ladder()
        # A holder of the lease that died has to be superseded before anybody gives up.
        patience = self.settings.timeout + self._lease_seconds
        return self.shared(self.ladder() if self.source is not None else None, patience=patience)

    def shared(self, minter: TokenProvider | None, *, patience: float) -> SharedTokenProvider:
        """Make what gives the shared token.

        :param minter: How a member renews it; None for one that only reads.
        :param patience: How long a needed token is waited for, in seconds.
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
            patience=patience,
            lease_seconds=self._lease_seconds,
        )

    @property
    def _lease_seconds(self) -> float:
        # A holder that is only slow should not be taken for dead: each of its requests may take so long.
        return max(LEASE_SECONDS, self.settings.timeout)

    def bearer(self, provider: TokenSupply) -> BearerAuth:
        """Make what signs requests: for the origins of the connection, and those learned later."""
        return BearerAuth(provider, TrustedOrigins(_own_origins(self.settings)))

    def pace(self) -> Pace | None:
        """The rate that this process keeps on the connection; None where there is none."""
        rate = self.settings.requests_per_second
        return shared_paces.of(self.settings.conn_id, rate) if rate is not None else None


class _Accesses:
    """Vault connections in use by their ids, so that keys and shared token cost one login.

    :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
    :param mask: Hides a Vault token wherever the process logs.
    """

    def __init__(self, timeout: float, mask: Callable[[str], None]) -> None:
        self._timeout = timeout
        self._mask = mask
        self._made: dict[str, VaultAccess] = {}

    def of(self, vault_conn_id: str) -> VaultAccess:
        """Return the one of a connection."""
        from airflow_provider_bloq.vault.access import VaultAccess

        if vault_conn_id not in self._made:
            self._made[vault_conn_id] = VaultAccess(vault_conn_id, timeout=self._timeout, mask=self._mask)
        return self._made[vault_conn_id]


def _key_source_of(settings: BloqSettings, accesses: _Accesses) -> KeySource | None:
    if settings.vault is not None:
        from airflow_provider_bloq.vault.source import VaultKeySource

        return VaultKeySource(settings.vault, access=accesses.of(settings.vault.vault_conn_id))
    if settings.client_keys is not None:
        return ConnectionKeySource(settings.conn_id, settings.client_keys)
    return None


def _vault_path_keys_of(settings: BloqSettings, accesses: _Accesses) -> PathKeySource | None:
    if settings.vault is None:
        return None
    from airflow_provider_bloq.vault.path_keys import VaultPathKeys

    return VaultPathKeys(settings.vault, accesses.of(settings.vault.vault_conn_id))


def _vault_of(settings: BloqSettings, accesses: _Accesses) -> VaultAccess | None:
    location = settings.vault or settings.shared
    return accesses.of(location.vault_conn_id) if location is not None else None


def _store_of(settings: BloqSettings, accesses: _Accesses) -> SharedStore | None:
    if settings.shared is None:
        return None
    from airflow_provider_bloq.vault.slot import VaultSlot

    access = accesses.of(settings.shared.vault_conn_id)
    return SharedStore(VaultSlot(access, settings.shared.path), VaultSlot(access, settings.shared.lease_path))


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
) -> Locator:
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
    return RpcLocator(
        subject,
        nodes=nodes,
        clusters=clusters,
        origins=bearer.origins,
        tls=TlsRules(
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
