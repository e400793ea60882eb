"""The settings of one ``bloq`` connection, parsed once and right from then on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.clients.node_tls import NodeFingerprints, NodeTls, normalise_fingerprint
from airflow_provider_bloq.clients.path_key import shows_path_key
from airflow_provider_bloq.settings import fields
from airflow_provider_bloq.settings.addresses import read_accounts_url, read_rpc_origins, read_service_url
from airflow_provider_bloq.settings.credentials import read_credentials
from airflow_provider_bloq.settings.environment import Environment
from airflow_provider_bloq.settings.names import refuse_wrong_names
from airflow_provider_bloq.settings.path_keys import PathKeys, read_path_keys
from airflow_provider_bloq.settings.problems import Problems
from airflow_provider_bloq.settings.redaction import refuse_redacted
from airflow_provider_bloq.settings.sharing import read_sharing
from airflow_provider_bloq.settings.values import ExtraReader, read_port, read_text
from airflow_provider_bloq.vault.location import SharedLocation, VaultLocation

__all__ = ["BloqSettings"]


@dataclass(frozen=True, slots=True)
class BloqSettings:
    """All that a ``bloq`` connection says. Exactly one of ``client_keys`` and ``vault`` is given; neither
    where the connection is a reader of a shared token.

    :param conn_id: Id of the connection.
    :param accounts_url: Base URL of Accounts, without a trailing slash, as all of them.
    :param nodes_url: Base URL of Nodes.
    :param connect_url: Base URL of Connect; may hold ``{chain}`` for the name of a chain.
    :param connect_api_keys: Path keys of Connect's JSON-RPC by chain.
    :param client_keys: The keys, where the connection itself holds them.
    :param vault: Where the keys are, if in Vault.
    :param shared: Where a fleet shares its access token; None where each task has its own.
    :param timeout: Seconds for a connect and for each wait on an answer.
    :param requests_per_second: The most requests per second of one process; None for as many as it likes.
    :param ca_bundle: Path of a file or folder of CA certificates; None for the usual ones.
    :param node_tls: How certificates of nodes are checked.
    :param node_fingerprints: Node id to SHA-256 fingerprints in lower-case hex, without colons.
    :param rpc_origins: Origins that may be shown the token besides Bloq's own.
    :param environment: The environment.
    """

    conn_id: str
    accounts_url: str
    nodes_url: str
    connect_url: str
    connect_api_keys: PathKeys
    client_keys: ClientKeys | None
    vault: VaultLocation | None
    shared: SharedLocation | None
    timeout: float
    requests_per_second: float | None
    ca_bundle: str | None
    node_tls: NodeTls
    node_fingerprints: Mapping[str, frozenset[str]]
    rpc_origins: frozenset[Origin]
    environment: Environment

    @classmethod
    def parse(
        cls,
        conn_id: str,
        host: str | None,
        port: int | None,
        login: str | None,
        password: str | Secret | None,
        extra: Mapping[str, Any],
    ) -> BloqSettings:
        """Read the parts of a connection.

        Host and URLs: a bare name means https; in the environment ``local`` the name of a loopback
        host means http.

        :param conn_id: Id of the connection.
        :param host: Accounts: a name or a URL; empty for that of the environment.
        :param port: Port of Accounts; 0 and None mean that it is not given.
        :param login: Client ID, where the connection holds the keys.
        :param password: Client secret, likewise.
        :param extra: The extra fields, see :mod:`airflow_provider_bloq.settings.fields`.
        :return: The settings.
        :raises BloqConfigurationError: Something is wrong; names all wrong fields with their remedies.
        """
        hidden = password.reveal() if isinstance(password, Secret) else password
        problems = Problems(f"connection {conn_id!r}", hidden.strip() if isinstance(hidden, str) else "")
        refuse_wrong_names(extra, problems)
        for field, value in (("host", host), ("port", port), ("login", login), ("password", hidden)):
            refuse_redacted(field, value, problems)
        for field, value in extra.items():
            refuse_redacted(field, value, problems)

        reader = ExtraReader(extra, problems)
        environment = reader.choice(fields.ENVIRONMENT)
        presets = environment.presets
        client_keys, vault = read_credentials(conn_id, login, password, reader, problems)
        shared = read_sharing(conn_id, reader.text(fields.VAULT_CONN_ID), vault, reader, problems)
        settings = cls(
            conn_id=conn_id,
            accounts_url=read_accounts_url(
                read_text("host", host, problems),
                read_port(port, problems),
                environment,
                problems,
            ),
            nodes_url=read_service_url(
                "nodes_url", reader.text(fields.NODES_URL), presets.nodes_url, environment, problems
            ),
            connect_url=read_service_url(
                "connect_url",
                reader.text(fields.CONNECT_URL),
                presets.connect_url,
                environment,
                problems,
                by_chain=True,
            ),
            connect_api_keys=read_path_keys(
                "connect_api_keys", reader.table(fields.CONNECT_API_KEYS), problems
            ),
            client_keys=client_keys,
            vault=vault,
            shared=shared,
            timeout=reader.number(fields.TIMEOUT),
            requests_per_second=reader.optional_number(fields.REQUESTS_PER_SECOND),
            ca_bundle=_read_ca_bundle(reader.text(fields.CA_BUNDLE), problems),
            node_tls=reader.choice(fields.NODE_TLS),
            node_fingerprints=_read_fingerprints(reader.table(fields.NODE_FINGERPRINTS), problems),
            rpc_origins=read_rpc_origins(reader.texts(fields.RPC_ORIGINS), problems),
            environment=environment,
        )
        for field in ("accounts_url", "nodes_url", "connect_url"):
            _refuse_path_key(field, getattr(settings, field), problems)
        problems.raise_if_any()
        return settings

    def __copy__(self) -> BloqSettings:
        return self

    def __deepcopy__(self, memo: Any) -> BloqSettings:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A pickle holds no secret. What came out of one would fail later, where nobody sees why.
        if self.client_keys is not None or self.connect_api_keys:
            return _refuse_to_load, (self.conn_id,)
        return object.__reduce_ex__(self, protocol)


def _refuse_to_load(conn_id: str) -> NoReturn:
    raise TypeError(
        f"The secrets of connection {conn_id!r} are not carried in a pickle: make the hook where it is used."
    )


def _refuse_path_key(field: str, url: str, problems: Problems) -> None:
    """Refuse a URL whose path is a credential: it would stand in logs, errors and pages."""
    if shows_path_key(url):
        problems.add(
            "host" if field == "accounts_url" else field,
            "it is a URL of Connect's JSON-RPC, with a path key in it",
            "Enter the URL without /v1/ and what follows, and the key in connect_api_keys or beside the client keys in "
            "Vault. Change the key: it may stand in pages and logs by now",
        )


def _read_ca_bundle(path: str | None, problems: Problems) -> str | None:
    if path is not None and not (os.path.isfile(path) or os.path.isdir(path)):
        problems.add(
            "ca_bundle",
            f"there is no file or folder {problems.shown(path)} on this machine",
            "Enter the path of CA certificates that every machine has which runs tasks, or leave it empty",
        )
    return path


def _read_fingerprints(table: Mapping[str, Any], problems: Problems) -> NodeFingerprints:
    by_node: dict[str, frozenset[str]] = {}
    wrong: list[str] = []
    for node_id, entry in table.items():
        texts = [entry] if isinstance(entry, str) else entry
        try:
            if not node_id.strip():
                raise ValueError("it has no id")
            if not isinstance(texts, (list, tuple)) or not texts:
                raise ValueError("it is neither a fingerprint nor a list of some")
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("it holds something that is no text")
            by_node[node_id.strip()] = frozenset(map(normalise_fingerprint, texts))
        except ValueError as error:
            wrong.append(f"node {problems.shown(node_id)}: {error}")
    if wrong:
        problems.add(
            "node_fingerprints",
            "; ".join(wrong),
            'Enter {"<node id>": ["<SHA-256 fingerprint of its certificate>"]}',
        )
    return NodeFingerprints(by_node)
