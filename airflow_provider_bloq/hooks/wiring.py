"""From settings to the parts that act on them: key source, token provider, origins, clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.cache import credential_key
from airflow_provider_bloq.auth.keys import KeySource
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.accounts import AccountsTokenEndpoint
from airflow_provider_bloq.clients.node_tls import normalise_fingerprint
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.clients.rpc_target import RpcLocator, TlsRules
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.connection import ConnectionKeySource
from airflow_provider_bloq.settings.connection import BloqSettings
from airflow_provider_bloq.settings.environment import Environment
from airflow_provider_bloq.transport.network import Network

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.clusters import ClustersApi
    from airflow_provider_bloq.clients.models import Cluster, Node
    from airflow_provider_bloq.clients.nodes import NodesApi

__all__ = ["Account", "key_source_of", "locator_for", "network_of", "node_id_of"]

#: The chains that Connect has a host for each, with REST and the access token.
CONNECT_CHAINS = ("btc", "bch")


@dataclass(frozen=True, slots=True)
class Account:
    """One connection, wired up to the point where it takes a driver to act.

    :param settings: The connection's settings.
    :param source: Where the client keys come from.
    :param policy: How patiently requests are repeated.
    """

    settings: BloqSettings
    source: KeySource
    policy: RetryPolicy

    @property
    def key(self) -> str:
        """The credential key, by which token providers are shared. May read the Vault connection."""
        return credential_key(self.settings.accounts_url, self.source.identity)

    def provider(self) -> TokenProvider:
        """Make a token provider, which holds nothing yet."""
        return TokenProvider(AccountsTokenEndpoint(self.settings.accounts_url, self.policy), self.source)

    def bearer(self, provider: TokenProvider) -> BearerAuth:
        """Make what signs requests: for the origins of the connection, and those learned later."""
        return BearerAuth(provider, TrustedOrigins(_own_origins(self.settings)))


def key_source_of(settings: BloqSettings, mask: Callable[[str], None]) -> KeySource:
    """Return where a connection's client keys come from.

    :param settings: The connection's settings.
    :param mask: Hides a Vault token wherever the process logs.
    """
    if settings.vault is not None:
        from airflow_provider_bloq.vault.source import VaultKeySource

        return VaultKeySource(settings.vault, timeout=settings.timeout, mask=mask)
    if settings.client_keys is None:
        raise BloqConfigurationError.of("login", "there are no client keys", "Give them, or a vault_path.")
    return ConnectionKeySource(settings.conn_id, settings.client_keys)


def network_of(settings: BloqSettings) -> Network:
    """Return what a transport needs of the settings."""
    return Network(settings.timeout, settings.ca_bundle)


def locator_for(
    subject: Node | Cluster | Mapping[str, Any] | str,
    settings: BloqSettings,
    *,
    nodes: NodesApi,
    clusters: ClustersApi,
    bearer: BearerAuth,
    tls_fingerprint: str | Iterable[str] | None = None,
    **options: Any,
) -> RpcLocator:
    """Make what finds the JSON-RPC of a node, cluster or URL.

    :param subject: A node or cluster, the id of one, a URL, or what an operator returned for one.
    :param settings: The connection's settings.
    :param nodes: Reads nodes.
    :param clusters: Reads clusters.
    :param bearer: Learns which origins may be shown the token.
    :param tls_fingerprint: SHA-256 fingerprints that the node may show.
    :raises BloqConfigurationError: The subject or a fingerprint is none.
    """
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
        **options,
    )


def node_id_of(node: Mapping[str, Any] | str) -> str:
    """Return the id of a node or cluster that is given by its id or by what an operator returned.

    :raises BloqConfigurationError: It is neither.
    """
    node_id = node.get("id") if isinstance(node, Mapping) else node
    if not isinstance(node_id, str) or not node_id.strip():
        raise BloqConfigurationError.of(
            "node", "it has no id", "Give the id of the node, or what the create operator returned."
        )
    if node_id.lstrip().startswith("{"):
        # What Jinja makes of a dict unless the DAG renders templates as native objects.
        raise BloqConfigurationError.of(
            "node",
            "it is the text of a dict",
            "Hand on the output of the task itself (create.output), or its id: \"{{ ti.xcom_pull('create')['id'] }}\".",
        )
    return node_id.strip()


def _own_origins(settings: BloqSettings) -> list[Origin]:
    connect = {settings.connect_url.replace("{chain}", chain) for chain in CONNECT_CHAINS}
    urls = (settings.accounts_url, settings.nodes_url, *connect)
    return [*map(Origin.of, urls), *settings.rpc_origins]
