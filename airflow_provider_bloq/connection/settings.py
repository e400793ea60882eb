"""Where client keys, and tokens that a fleet shares, lie in Vault."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret, is_path_key, shows_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection import fields
from airflow_provider_bloq.connection.fields import (
    SHARED_VAULT_CONN_ID,
    SHARED_VAULT_PATH,
    SHARING,
    VAULT_CONN_ID,
    VAULT_ID_FIELD,
    VAULT_KEY_FIELD,
    VAULT_PATH,
    Environment,
    Sharing,
)
from airflow_provider_bloq.connection.urls import read_accounts_url, read_rpc_origins, read_service_url
from airflow_provider_bloq.connection.validation import (
    ExtraReader,
    Problems,
    read_port,
    read_text,
    refuse_redacted,
    refuse_wrong_names,
)
from airflow_provider_bloq.rpc.certificates import NodeFingerprints, NodeTlsMode, normalise_fingerprint

__all__ = [
    "DEFAULT_ID_FIELDS",
    "DEFAULT_KEY_FIELDS",
    "DEFAULT_VAULT_CONN_ID",
    "BloqSettings",
    "PathKeys",
    "SharedLocation",
    "VaultLocation",
    "read_credentials",
    "read_path_keys",
    "read_sharing",
    "read_vault_path",
]


#: Names that the client ID is looked for under, in this order, where the location names none.
DEFAULT_ID_FIELDS = ("clientId", "client_id")

#: Names that the client secret is looked for under, in this order, where the location names none.
DEFAULT_KEY_FIELDS = ("clientSecret", "client_secret")


@dataclass(frozen=True, slots=True)
class VaultLocation:
    """A KV secret that holds client keys, and the names of its two fields.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is read.
    :param path: Path of the secret below its mount, without ``data/``; the mount is the ``schema`` of
        the Vault connection.
    :param id_field: Field that holds the client ID; None for ``clientId`` or ``client_id``.
    :param key_field: Field that holds the client secret; None for ``clientSecret`` or ``client_secret``.
    """

    vault_conn_id: str
    path: str
    id_field: str | None = None
    key_field: str | None = None

    @property
    def id_fields(self) -> tuple[str, ...]:
        """The names that the client ID may stand under, the preferred one first."""
        return (self.id_field,) if self.id_field else DEFAULT_ID_FIELDS

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The names that the client secret may stand under, the preferred one first."""
        return (self.key_field,) if self.key_field else DEFAULT_KEY_FIELDS


@dataclass(frozen=True, slots=True)
class SharedLocation:
    """A KV v2 secret through which a fleet shares its access token; its lease lies below it.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is reached.
    :param path: Path of the secret below the mount, without ``data/``.
    """

    vault_conn_id: str
    path: str

    @property
    def lease_path(self) -> str:
        """Path of the secret that is the right to renew the token."""
        return f"{self.path}/lease"


def read_vault_path(field: str, text: str, problems: Problems) -> str:
    """Read a path below a mount.

    :param field: Name of the field, for the problem.
    :param text: What was entered.
    :param problems: Where a problem is noted.
    :return: The path, without slashes around it.
    """
    path = text.strip("/")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        problems.add(
            field,
            "it has an empty part, or one of dots only",
            "Enter the path below the mount, such as bloq/client",
        )
    return path


_CHAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_REMEDY = 'Enter {"eth": "<path key>"}: the part behind /v1/ of the URL that Connect gave'


class PathKeys(Mapping[str, Secret]):
    """Path keys by chain; cannot be changed, and can be hashed. Shows none."""

    __slots__ = ("_by_chain",)

    def __init__(self, by_chain: Mapping[str, Secret]) -> None:
        self._by_chain = dict(by_chain)

    def __getitem__(self, chain: str) -> Secret:
        return self._by_chain[chain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_chain)

    def __len__(self) -> int:
        return len(self._by_chain)

    def __hash__(self) -> int:
        return hash(frozenset(self._by_chain.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self._by_chain)})"


def read_path_keys(field: str, table: Mapping[str, Any], problems: Problems) -> PathKeys:
    """Read a table from chain to key.

    :param field: Name of the field, for the problem, which quotes no key.
    :param table: The table.
    :param problems: Where a problem is noted.
    """
    keys: dict[str, Secret] = {}
    for name, value in table.items():
        chain = str(name).strip().lower()
        key = value.strip() if isinstance(value, str) else ""
        if not _CHAIN.fullmatch(chain):
            problems.add(field, "it has an entry that names no chain", _REMEDY)
        elif not is_path_key(key):
            problems.add(field, f"what stands for {chain} is no path key", _REMEDY)
        else:
            keys[chain] = Secret(key)
    return PathKeys(keys)


#: The Vault connection that holds where only a path is given.
DEFAULT_VAULT_CONN_ID = "vault_default"

_VAULT_FIELDS = (VAULT_CONN_ID, VAULT_PATH, VAULT_ID_FIELD, VAULT_KEY_FIELD)


def read_credentials(
    conn_id: str, login: object, password: object, reader: ExtraReader, problems: Problems
) -> tuple[ClientKeys | None, VaultLocation | None]:
    """Read the client keys, or the place in Vault that holds them.

    :param conn_id: Id of the connection that is read.
    :param login: Its login: the client ID.
    :param password: Its password: the client secret.
    :param reader: Reads its extra.
    :param problems: Where problems are noted.
    :return: The one that is given, and None for the other. Both None where something is wrong, or where
        the connection shares a token and has no keys: it is a reader.
    """
    client_id = read_text("login", login, problems)
    client_secret = read_text("password", password, problems)
    vault = {field.name: reader.text(field) for field in _VAULT_FIELDS}
    if any(name in problems for name in ("login", "password", *vault)):
        # With one of them unread, it cannot be told whether too few are given or too many.
        return None, None

    given = [name for name, value in vault.items() if value is not None]
    shares = reader.choice(SHARING) is Sharing.VAULT
    if shares and given == ["vault_conn_id"]:
        if client_id or client_secret:
            problems.add(
                "vault_conn_id",
                "client keys are given in the connection (login, password), so none are read through it",
                "Enter it as shared_vault_conn_id, if it is for the shared token",
            )
        # It only says through which connection the shared token is read.
        given = []
    if shares and not given and not client_id and not client_secret:
        return None, None
    if given and (client_id or client_secret):
        problems.add(
            given[0],
            f"client keys are given in the connection (login, password) and by Vault ({', '.join(given)})",
            "Empty login and password, or remove the Vault fields",
        )
        return None, None
    if given:
        return None, _vault_location(conn_id, vault, given, problems)
    return _inline_keys(client_id, client_secret, problems), None


def _inline_keys(client_id: str | None, client_secret: str | None, problems: Problems) -> ClientKeys | None:
    if client_id and client_secret:
        return ClientKeys(client_id, Secret(client_secret))
    if client_id:
        problems.add("password", "the client ID is given, but no client secret", "Enter the client secret")
    elif client_secret:
        problems.add("login", "the client secret is given, but no client ID", "Enter the client ID")
    else:
        problems.add(
            "login",
            "no client keys are given",
            "Enter the client ID as login and the client secret as password, or vault_path to read them from Vault",
        )
    return None


def _vault_location(
    conn_id: str, vault: dict[str, str | None], given: list[str], problems: Problems
) -> VaultLocation | None:
    vault_conn_id = vault["vault_conn_id"] or DEFAULT_VAULT_CONN_ID
    path = ""
    if vault["vault_path"] is not None:
        path = read_vault_path("vault_path", vault["vault_path"], problems)
    else:
        problems.add(
            "vault_path",
            f"it is missing, while {', '.join(given)} is given",
            "Enter the path of the client keys in Vault, or remove the Vault fields",
        )
    if vault_conn_id == conn_id:
        problems.add(
            "vault_conn_id", "it names this very connection", "Enter the id of a connection of type vault"
        )
    return VaultLocation(vault_conn_id, path, vault["vault_id_field"], vault["vault_key_field"])


#: The Vault connection that holds where only a path is given.
_DEFAULT_CONN_ID = "vault_default"


def read_sharing(
    conn_id: str,
    keys_vault_conn_id: str | None,
    keys: VaultLocation | None,
    reader: ExtraReader,
    problems: Problems,
) -> SharedLocation | None:
    """Read where the access token is shared.

    :param conn_id: Id of the connection that is read.
    :param keys_vault_conn_id: Its ``vault_conn_id``, through which the token is shared, too, unless
        another is named.
    :param keys: Where in Vault the client keys are, if there.
    :param reader: Reads its extra.
    :param problems: Where problems are noted.
    :return: The place; None with ``sharing: task``, or where something is wrong.
    """
    path, vault_conn_id = reader.text(SHARED_VAULT_PATH), reader.text(SHARED_VAULT_CONN_ID)
    if reader.choice(SHARING) is Sharing.TASK:
        for name, value in (("shared_vault_path", path), ("shared_vault_conn_id", vault_conn_id)):
            if value is not None and "sharing" not in problems:
                problems.add(
                    name,
                    "it is given, but sharing is not vault: each task has a token of its own",
                    "Set sharing to vault, or remove it",
                )
        return None
    if path is None:
        problems.add(
            "shared_vault_path",
            "it is missing, while sharing is vault",
            "Enter a path in Vault that nothing else uses, such as bloq/shared",
        )
        return None
    location = SharedLocation(
        vault_conn_id or keys_vault_conn_id or _DEFAULT_CONN_ID,
        read_vault_path("shared_vault_path", path, problems),
    )
    if location.vault_conn_id == conn_id:
        problems.add(
            "shared_vault_conn_id",
            "it names this very connection",
            "Enter the id of a connection of type vault",
        )
    if keys is not None and keys.path in (location.path, location.lease_path):
        problems.add(
            "shared_vault_path",
            "the client keys lie there or right below",
            "Enter a path of its own: whoever may read it would read the client keys",
        )
    return location


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
    node_tls: NodeTlsMode
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
        :param extra: The extra fields, see :mod:`airflow_provider_bloq.connection.fields`.
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
