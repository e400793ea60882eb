"""The settings of a ``bloq`` connection: immutable, and validated as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from airflow_provider_bloq.auth.credentials import ClientKeys, Secret, is_path_key
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.connection import fields
from airflow_provider_bloq.connection.fields import Environment, Sharing
from airflow_provider_bloq.connection.validation import (
    ExtraReader,
    Problems,
    read_accounts_url,
    read_connect_url,
    read_nodes_url,
    read_port,
    read_rpc_origins,
    read_text,
    reject_misplaced_names,
    reject_redacted,
)
from airflow_provider_bloq.rpc.certificates import NodeTlsMode, normalise_fingerprint

__all__ = [
    "BloqSettings",
    "SharedLocation",
    "VaultLocation",
]

V = TypeVar("V")


@dataclass(frozen=True)
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
        """The possible names of the client ID's field, the preferred one first."""
        return (self.id_field,) if self.id_field else ("clientId", "client_id")

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The possible names of the client secret's field, the preferred one first."""
        return (self.key_field,) if self.key_field else ("clientSecret", "client_secret")


@dataclass(frozen=True)
class SharedLocation:
    """A KV v2 secret through which a fleet shares its access token.

    :param vault_conn_id: Id of the Airflow connection (type ``vault``) through which it is reached.
    :param path: Path of the secret below the mount, without ``data/``.
    """

    vault_conn_id: str
    path: str

    @property
    def lease_path(self) -> str:
        """Path of the lease: the secret whose holder may renew the token."""
        return f"{self.path}/lease"


class FrozenMapping(Mapping[str, V]):
    """A mapping that cannot be changed, and can be hashed, copied and pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


@dataclass(frozen=True)
class BloqSettings:
    """The content of a ``bloq`` connection.

    Either ``client_keys`` or ``vault`` is given; neither if the connection only reads a shared token.

    :param conn_id: Id of the connection.
    :param accounts_url: Base URL of Accounts; like all URLs here without a trailing slash.
    :param nodes_url: Base URL of Nodes.
    :param connect_url: Base URL of Connect; may contain ``{chain}`` for the name of a chain.
    :param connect_api_keys: Path keys of Connect's JSON-RPC by chain.
    :param client_keys: The client keys, if the connection itself holds them.
    :param vault: Where the client keys are, if in Vault.
    :param shared: Where a fleet shares its access token; None if each task has its own.
    :param timeout: Seconds for connecting and for each wait for an answer.
    :param requests_per_second: The most requests per second of one process; None for no limit.
    :param ca_bundle: Path of a file or folder of CA certificates; None for the usual ones.
    :param node_tls: How node certificates are checked.
    :param node_fingerprints: Node id to SHA-256 fingerprints in lower-case hex, without colons.
    :param rpc_origins: Origins that may receive the token besides Bloq's own.
    :param environment: The environment.
    """

    conn_id: str
    accounts_url: str
    nodes_url: str
    connect_url: str
    connect_api_keys: Mapping[str, Secret]
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

        :param conn_id: Id of the connection.
        :param host: Accounts: a name or a URL; empty for that of the environment.
        :param port: Port of Accounts; 0 or None if it is not given.
        :param login: Client ID, if the connection holds the client keys.
        :param password: Client secret, likewise.
        :param extra: The extra fields, see :mod:`airflow_provider_bloq.connection.fields`.
        :raises BloqConfigurationError: A field is wrong; lists all wrong fields with their remedies.
        """
        revealed = password.reveal() if isinstance(password, Secret) else password
        problems = Problems(f"connection {conn_id!r}", revealed.strip() if isinstance(revealed, str) else "")
        reject_misplaced_names(extra, problems)
        standard = {"host": host, "port": port, "login": login, "password": revealed}
        for field, value in (*standard.items(), *extra.items()):
            reject_redacted(field, value, problems)

        reader = ExtraReader(extra, problems)
        environment = reader.choice(fields.ENVIRONMENT)
        client_keys, vault = _read_credentials(conn_id, login, password, reader, problems)
        settings = cls(
            conn_id=conn_id,
            accounts_url=read_accounts_url(
                read_text("host", host, problems), read_port(port, problems), environment, problems
            ),
            nodes_url=read_nodes_url(reader.text(fields.NODES_URL), environment, problems),
            connect_url=read_connect_url(reader.text(fields.CONNECT_URL), environment, problems),
            connect_api_keys=_read_path_keys(reader.table(fields.CONNECT_API_KEYS), problems),
            client_keys=client_keys,
            vault=vault,
            shared=_read_sharing(conn_id, vault, reader, problems),
            timeout=reader.number(fields.TIMEOUT),
            requests_per_second=reader.optional_number(fields.REQUESTS_PER_SECOND),
            ca_bundle=_read_ca_bundle(reader.text(fields.CA_BUNDLE), problems),
            node_tls=reader.choice(fields.NODE_TLS),
            node_fingerprints=_read_fingerprints(reader.table(fields.NODE_FINGERPRINTS), problems),
            rpc_origins=read_rpc_origins(reader.texts(fields.RPC_ORIGINS), problems),
            environment=environment,
        )
        problems.raise_if_any()
        return settings

    def __copy__(self) -> BloqSettings:
        return self

    def __deepcopy__(self, memo: Any) -> BloqSettings:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Secrets are not pickled, so unpickled settings would fail later with a misleading error.
        if self.client_keys is not None or self.connect_api_keys:
            return _refuse_to_unpickle, (self.conn_id,)
        return object.__reduce_ex__(self, protocol)


def _refuse_to_unpickle(conn_id: str) -> NoReturn:
    raise TypeError(
        f"A pickle does not contain the secrets of connection {conn_id!r}: make the hook where it is used."
    )


#: The Vault connection to use if only a path is given.
_DEFAULT_VAULT_CONN_ID = "vault_default"

_VAULT_FIELDS = (fields.VAULT_CONN_ID, fields.VAULT_PATH, fields.VAULT_ID_FIELD, fields.VAULT_KEY_FIELD)


def _read_credentials(
    conn_id: str, login: object, password: object, reader: ExtraReader, problems: Problems
) -> tuple[ClientKeys | None, VaultLocation | None]:
    """Read the client keys, or where in Vault they are.

    Both are None if something is wrong, or if the connection shares a token and has no client keys: it only
    reads the shared token.
    """
    client_id = read_text("login", login, problems)
    client_secret = read_text("password", password, problems)
    vault = {field.name: reader.text(field) for field in _VAULT_FIELDS}
    if any(name in problems for name in ("login", "password", *vault)):
        # With an unreadable field, it is unknown whether too few are given or too many.
        return None, None

    given = [name for name, value in vault.items() if value is not None]
    shares = reader.choice(fields.SHARING) is Sharing.VAULT
    if shares and given == ["vault_conn_id"]:
        if client_id or client_secret:
            problems.add(
                "vault_conn_id",
                "client keys are given in the connection (login, password), so none are read through it",
                "Enter it as shared_vault_conn_id if it is for the shared token",
            )
        # It only names the Vault connection of the shared token.
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
    if client_id and client_secret:
        return ClientKeys(client_id, Secret(client_secret)), None
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
    return None, None


def _vault_location(
    conn_id: str, vault: dict[str, str | None], given: list[str], problems: Problems
) -> VaultLocation:
    vault_conn_id = vault["vault_conn_id"] or _DEFAULT_VAULT_CONN_ID
    path = ""
    if vault["vault_path"] is not None:
        path = _read_vault_path("vault_path", vault["vault_path"], problems)
    else:
        problems.add(
            "vault_path",
            f"it is missing, while {', '.join(given)} is given",
            "Enter the path of the client keys in Vault, or remove the Vault fields",
        )
    _reject_own_id("vault_conn_id", vault_conn_id, conn_id, problems)
    return VaultLocation(vault_conn_id, path, vault["vault_id_field"], vault["vault_key_field"])


def _read_vault_path(field: str, text: str, problems: Problems) -> str:
    path = text.strip("/")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        problems.add(
            field,
            "it has an empty part, or one that is only dots",
            "Enter the path below the mount, such as bloq/client",
        )
    return path


def _reject_own_id(field: str, vault_conn_id: str, conn_id: str, problems: Problems) -> None:
    if vault_conn_id == conn_id:
        problems.add(field, "it names this connection itself", "Enter the id of a connection of type vault")


def _read_sharing(
    conn_id: str, keys: VaultLocation | None, reader: ExtraReader, problems: Problems
) -> SharedLocation | None:
    """Read where the access token is shared.

    :return: The location; None with ``sharing: task``, or if something is wrong.
    """
    path = reader.text(fields.SHARED_VAULT_PATH)
    vault_conn_id = reader.text(fields.SHARED_VAULT_CONN_ID)
    if reader.choice(fields.SHARING) is Sharing.TASK:
        for name, value in (("shared_vault_path", path), ("shared_vault_conn_id", vault_conn_id)):
            if value is not None and "sharing" not in problems:
                problems.add(
                    name,
                    "it is given, but sharing is not vault: each task has its own token",
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
        vault_conn_id or reader.text(fields.VAULT_CONN_ID) or _DEFAULT_VAULT_CONN_ID,
        _read_vault_path("shared_vault_path", path, problems),
    )
    _reject_own_id("shared_vault_conn_id", location.vault_conn_id, conn_id, problems)
    if keys is not None and keys.path in (location.path, location.lease_path):
        problems.add(
            "shared_vault_path",
            "the client keys are there or right below",
            "Enter a path that nothing else uses: its readers could otherwise read the client keys",
        )
    return location


_CHAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def _read_path_keys(table: Mapping[str, Any], problems: Problems) -> FrozenMapping[Secret]:
    keys: dict[str, Secret] = {}
    remedy = 'Enter {"eth": "<path key>"}: the part after /v1/ of the URL that Connect gave'
    for name, value in table.items():
        chain = str(name).strip().lower()
        key = value.strip() if isinstance(value, str) else ""
        # The problems quote no key, nor a name, which may be a misplaced key.
        if not _CHAIN.fullmatch(chain):
            problems.add("connect_api_keys", "it has an entry whose name is not a chain", remedy)
        elif not is_path_key(key):
            problems.add("connect_api_keys", f"the value for {chain} is not a path key", remedy)
        else:
            keys[chain] = Secret(key)
    return FrozenMapping(keys)


def _read_ca_bundle(path: str | None, problems: Problems) -> str | None:
    if path is not None and not (os.path.isfile(path) or os.path.isdir(path)):
        problems.add(
            "ca_bundle",
            f"there is no file or folder {problems.quote(path)} on this machine",
            "Enter a path of CA certificates that exists on every machine that runs tasks, or leave it empty",
        )
    return path


def _read_fingerprints(table: Mapping[str, Any], problems: Problems) -> FrozenMapping[frozenset[str]]:
    by_node: dict[str, frozenset[str]] = {}
    wrong: list[str] = []
    for node_id, entry in table.items():
        texts = [entry] if isinstance(entry, str) else entry
        try:
            if not node_id.strip():
                raise ValueError("it has no id")
            if not isinstance(texts, (list, tuple)) or not texts:
                raise ValueError("it is neither a fingerprint nor a list of fingerprints")
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("it contains something that is not a text")
            by_node[node_id.strip()] = frozenset(map(normalise_fingerprint, texts))
        except ValueError as error:
            wrong.append(f"node {problems.quote(node_id)}: {error}")
    if wrong:
        problems.add(
            "node_fingerprints",
            "; ".join(wrong),
            'Enter {"<node id>": ["<SHA-256 fingerprint of its certificate>"]}',
        )
    return FrozenMapping(by_node)
