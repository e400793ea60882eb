"""The extra fields of a ``bloq`` connection: names, types, limits, and how the form shows them.

``get_provider_info.py`` repeats them as plain data, since every Airflow process loads that module and it must
import nothing; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_bloq.rpc.certificates import NodeTlsMode

__all__ = [
    "CA_BUNDLE",
    "CONNECT_API_KEYS",
    "CONNECT_URL",
    "ENVIRONMENT",
    "EXTRA_FIELDS",
    "NODES_URL",
    "NODE_FINGERPRINTS",
    "NODE_TLS",
    "REQUESTS_PER_SECOND",
    "RPC_ORIGINS",
    "SHARED_VAULT_CONN_ID",
    "SHARED_VAULT_PATH",
    "SHARING",
    "TIMEOUT",
    "VAULT_CONN_ID",
    "VAULT_ID_FIELD",
    "VAULT_KEY_FIELD",
    "VAULT_PATH",
    "ChoiceField",
    "ChoiceT",
    "Environment",
    "ListField",
    "NumberField",
    "OptionalNumberField",
    "SecretTableField",
    "Sharing",
    "TableField",
    "TextField",
]


class Environment(StrEnum):
    """A Bloq Cloud environment, named as in Bloq's command-line client."""

    PROD = "prod"
    STAGING = "staging"
    LOCAL = "local"

    @property
    def presets(self) -> Presets:
        """The URLs to use if the connection gives none."""
        return _PRESETS[self]


@dataclass(frozen=True)
class Presets:
    """Base URLs of an environment's services, without a trailing slash.

    :param accounts_url: Accounts (https://docs.bloq.com, "Accounts API").
    :param nodes_url: Nodes (https://docs.bloq.com, "Nodes API").
    :param connect_url: Connect; ``{chain}`` stands for the chain if each chain has its own host.
    """

    accounts_url: str
    nodes_url: str
    connect_url: str


_PRESETS = {
    Environment.PROD: Presets(
        accounts_url="https://accounts.bloq.cloud",
        nodes_url="https://nodes.bloq.cloud",
        connect_url="https://{chain}.connect.bloq.cloud",
    ),
    Environment.STAGING: Presets(
        accounts_url="https://accounts.bloqclouddev.com",
        nodes_url="https://nodes.bloqclouddev.com",
        connect_url="https://{chain}.connect.bloqclouddev.com",
    ),
    Environment.LOCAL: Presets(
        accounts_url="http://localhost:4000",
        nodes_url="http://localhost:4002",
        connect_url="http://localhost:4006",
    ),
}


class Sharing(StrEnum):
    """Which tasks use the same access token."""

    #: Each task has its own token.
    TASK = "task"
    #: All tasks of a fleet share one token through Vault.
    VAULT = "vault"


@dataclass(frozen=True)
class ExtraField:
    """One extra field.

    The form stores a default even if the user does not touch the field. So a field has a default only if
    storing it changes nothing: never a URL (it would override the environment) and never a Vault field (it
    would contradict client keys in the connection).

    :param name: Key in the connection's extra.
    :param label: Name in the form.
    :param help: Sentence below the field in the form.
    """

    _json_type: ClassVar[str]

    name: str
    label: str
    help: str

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value in the form; null is an empty field."""
        return {"type": [self._json_type, "null"], **self._limits()}

    def _limits(self) -> dict[str, Any]:
        return {}


class TextField(ExtraField):
    """A text."""

    _json_type = "string"


ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


@dataclass(frozen=True)
class ChoiceField(ExtraField, Generic[ChoiceT]):
    """One of the values of an enum.

    :param default: The value if none is given.
    """

    _json_type = "string"

    default: ChoiceT

    @property
    def choices(self) -> dict[str, ChoiceT]:
        """The allowed values by their names in the connection."""
        return {choice.value: choice for choice in type(self.default)}

    def _limits(self) -> dict[str, Any]:
        return {"enum": list(self.choices), "default": self.default.value}


@dataclass(frozen=True)
class OptionalNumberField(ExtraField):
    """A number between two limits, or none.

    :param minimum: Smallest number allowed.
    :param maximum: Largest number allowed.
    """

    _json_type = "number"

    minimum: float
    maximum: float

    def _limits(self) -> dict[str, Any]:
        return {"minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class NumberField(OptionalNumberField):
    """A number between two limits.

    :param default: The number if none is given.
    """

    default: float

    def _limits(self) -> dict[str, Any]:
        return {**super()._limits(), "default": self.default}


class TableField(ExtraField):
    """A JSON object."""

    _json_type = "object"


class SecretTableField(TableField):
    """A JSON object that holds secrets: errors do not quote it, and Airflow masks it by its name."""


class ListField(ExtraField):
    """A list of texts."""

    _json_type = "array"

    def _limits(self) -> dict[str, Any]:
        return {"items": {"type": "string"}}


ENVIRONMENT = ChoiceField(
    "environment",
    "Environment",
    "Sets every Bloq URL that is not given below.",
    Environment.PROD,
)
VAULT_CONN_ID = TextField(
    "vault_conn_id",
    "Vault connection",
    "Airflow connection of type vault through which the client keys are read; "
    "vault_default if a Vault path is given and this is empty.",
)
VAULT_PATH = TextField(
    "vault_path",
    "Vault path",
    "Path of the client keys below the mount, without data/. Leave client ID and client secret empty then.",
)
VAULT_ID_FIELD = TextField("vault_id_field", "Vault field of the client ID", "Empty: clientId or client_id.")
VAULT_KEY_FIELD = TextField(
    "vault_key_field", "Vault field of the client secret", "Empty: clientSecret or client_secret."
)
SHARING = ChoiceField(
    "sharing",
    "Sharing of tokens",
    "task: each task has its own access token; vault: all tasks share one through Vault.",
    Sharing.TASK,
)
SHARED_VAULT_PATH = TextField(
    "shared_vault_path",
    "Vault path of the shared token",
    "With sharing: vault. Path below the mount (KV version 2) that nothing else uses. "
    "Without client keys, the connection only reads there.",
)
SHARED_VAULT_CONN_ID = TextField(
    "shared_vault_conn_id",
    "Vault connection of the shared token",
    "Empty: the Vault connection of the client keys, or vault_default.",
)
NODES_URL = TextField("nodes_url", "Nodes URL", "Empty: the URL of the environment.")
CONNECT_URL = TextField(
    "connect_url",
    "Connect URL",
    "May contain {chain}, as in https://{chain}.connect.bloq.cloud. Empty: the URL of the environment.",
)
CONNECT_API_KEYS = SecretTableField(
    "connect_api_keys",
    "Path keys of Connect",
    'Chain to path key, such as {"eth": "<key>"}, for JSON-RPC through Connect. Other keys are read from '
    "the fields connect_<chain> next to the client keys in Vault.",
)
TIMEOUT = NumberField(
    "timeout",
    "Timeout (seconds)",
    "For connecting and for each wait for an answer; 1 to 600.",
    minimum=1,
    maximum=600,
    default=30,
)
REQUESTS_PER_SECOND = OptionalNumberField(
    "requests_per_second",
    "Requests per second",
    "The most that one process sends through this connection, not counting token requests. Empty: no limit.",
    minimum=0.01,
    maximum=1000,
)
CA_BUNDLE = TextField(
    "ca_bundle",
    "CA bundle",
    "File or folder of CA certificates to trust instead of the usual ones, on each machine that runs tasks.",
)
NODE_TLS = ChoiceField(
    "node_tls",
    "Certificates of nodes",
    "pinned: checked by fingerprint, as nodes sign their own; verify: checked by CA; insecure: not checked.",
    NodeTlsMode.PINNED,
)
NODE_FINGERPRINTS = TableField(
    "node_fingerprints",
    "Fingerprints of nodes",
    'Node id to SHA-256 fingerprints of its certificate, such as {"node-1": ["9f:86:…"]}.',
)
RPC_ORIGINS = ListField(
    "rpc_origins",
    "Origins for JSON-RPC",
    "Other origins, one per line, that may receive the access token, such as https://rpc.example.com:8545.",
)

_IN_FORM_ORDER: tuple[ExtraField, ...] = (
    ENVIRONMENT,
    VAULT_CONN_ID,
    VAULT_PATH,
    VAULT_ID_FIELD,
    VAULT_KEY_FIELD,
    SHARING,
    SHARED_VAULT_PATH,
    SHARED_VAULT_CONN_ID,
    NODES_URL,
    CONNECT_URL,
    CONNECT_API_KEYS,
    TIMEOUT,
    REQUESTS_PER_SECOND,
    CA_BUNDLE,
    NODE_TLS,
    NODE_FINGERPRINTS,
    RPC_ORIGINS,
)

#: Every extra field by its name, in the order of the form.
EXTRA_FIELDS: Mapping[str, ExtraField] = MappingProxyType({field.name: field for field in _IN_FORM_ORDER})
