"""The environments of Bloq Cloud and where their services are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

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
    "Environment",
    "ExtraField",
    "ListField",
    "NumberField",
    "OptionalNumberField",
    "Presets",
    "SecretTableField",
    "Sharing",
    "TableField",
    "TextField",
]


class Environment(StrEnum):
    """Which Bloq Cloud is spoken to; the names are those of Bloq's own command-line client."""

    PROD = "prod"
    STAGING = "staging"
    LOCAL = "local"

    @property
    def presets(self) -> Presets:
        """The addresses that hold where the connection names none."""
        return _PRESETS[self]


@dataclass(frozen=True, slots=True)
class Presets:
    """Base URLs of the services of one environment, without a trailing slash.

    :param accounts_url: Accounts (https://docs.bloq.com, "Accounts API").
    :param nodes_url: Nodes (https://docs.bloq.com, "Nodes API").
    :param connect_url: Connect; ``{chain}`` stands for the chain where each has a host of its own.
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


ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class Sharing(StrEnum):
    """Who uses one access token."""

    #: Each task has one of its own.
    TASK = "task"
    #: All tasks of a fleet share one, through Vault.
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class ExtraField(ABC):
    """One extra field; its class says what it holds.

    A default is shown by the form, which stores it even if nobody touched it. So only fields have one
    in which the stored default does the same as nothing: no URL (it would beat the environment) and no
    field about Vault (it would contradict keys in the connection).

    :param name: Key in the connection's extra.
    :param label: Name in the form.
    :param help: Sentence below the field in the form.
    """

    name: str
    label: str
    help: str

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value as the form wants it; null is an empty field."""


class TextField(ExtraField):
    """Holds a text."""

    __slots__ = ()

    @property
    def schema(self) -> dict[str, Any]:
        """Any text."""
        return {"type": ["string", "null"]}


@dataclass(frozen=True, slots=True)
class ChoiceField(ExtraField, Generic[ChoiceT]):
    """Holds one of the values of an enum.

    :param default: The value that holds where none is given.
    """

    default: ChoiceT

    @property
    def choices(self) -> dict[str, ChoiceT]:
        """The allowed values by their names in the connection."""
        return {choice.value: choice for choice in type(self.default)}

    @property
    def schema(self) -> dict[str, Any]:
        """One of the choices."""
        return {"type": ["string", "null"], "enum": list(self.choices), "default": self.default.value}


@dataclass(frozen=True, slots=True)
class NumberField(ExtraField):
    """Holds a number between two limits.

    :param minimum: Smallest number allowed.
    :param maximum: Largest number allowed.
    :param default: The number that holds where none is given.
    """

    minimum: int
    maximum: int
    default: int

    @property
    def schema(self) -> dict[str, Any]:
        """A number within the limits."""
        return {
            "type": ["number", "null"],
            "minimum": self.minimum,
            "maximum": self.maximum,
            "default": self.default,
        }


@dataclass(frozen=True, slots=True)
class OptionalNumberField(ExtraField):
    """Holds a number between two limits, or none.

    :param minimum: Smallest number allowed.
    :param maximum: Largest number allowed.
    """

    minimum: float
    maximum: float

    @property
    def schema(self) -> dict[str, Any]:
        """A number within the limits."""
        return {"type": ["number", "null"], "minimum": self.minimum, "maximum": self.maximum}


class TableField(ExtraField):
    """Holds a JSON object."""

    __slots__ = ()

    @property
    def schema(self) -> dict[str, Any]:
        """Any object."""
        return {"type": ["object", "null"]}


class SecretTableField(TableField):
    """Holds a JSON object with secrets in it: no error quotes it, and Airflow hides it by its name."""

    __slots__ = ()


class ListField(ExtraField):
    """Holds a list of texts."""

    __slots__ = ()

    @property
    def schema(self) -> dict[str, Any]:
        """A list of texts."""
        return {"type": ["array", "null"], "items": {"type": "string"}}


ENVIRONMENT = ChoiceField(
    "environment",
    "Environment",
    "Sets all addresses of Bloq that are not given one by one.",
    Environment.PROD,
)
VAULT_CONN_ID = TextField(
    "vault_conn_id",
    "Vault connection",
    "Airflow connection of type vault that the client keys are read through; "
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
    "task: each task has an access token of its own; vault: all share one, through Vault.",
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
NODES_URL = TextField("nodes_url", "Nodes URL", "Empty: the address of the environment.")
CONNECT_URL = TextField(
    "connect_url",
    "Connect URL",
    "May hold {chain}, as in https://{chain}.connect.bloq.cloud. Empty: the address of the environment.",
)
CONNECT_API_KEYS = SecretTableField(
    "connect_api_keys",
    "Path keys of Connect",
    'Chain to path key, such as {"eth": "<key>"}, for JSON-RPC by Connect. Keys that are not here are read from '
    "the fields connect_<chain> beside the client keys in Vault.",
)
TIMEOUT = NumberField(
    "timeout",
    "Timeout (seconds)",
    "For the connect and for each wait on an answer; 1 to 600.",
    minimum=1,
    maximum=600,
    default=30,
)
REQUESTS_PER_SECOND = OptionalNumberField(
    "requests_per_second",
    "Requests per second",
    "The most that one process sends through this connection, not counting those for tokens. "
    "Empty: as many as it likes.",
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
    "pinned: by fingerprint, as nodes sign their own; verify: by CA; insecure: not checked at all.",
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
    "Other origins, one per line, that may be shown the access token, such as https://rpc.example.com:8545.",
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
