"""Nodes, clusters, and the services and chains on offer.

The API's objects are read tolerantly: missing and unknown fields are accepted.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = [
    "STARTED",
    "STOPPED",
    "Cluster",
    "Deployment",
    "Node",
    "NodeAuth",
    "Offer",
]


#: The two known states. ``stopped`` is final; any other state means "not started yet".
STARTED = "started"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class NodeAuth:
    """How a node or cluster authenticates its callers.

    :param type: ``basic`` (user and password), ``jwt`` (the access token), or ``none`` (clusters).
    :param user: User name; for ``basic`` only.
    :param password: Password; for ``basic`` only.
    """

    type: str
    user: Secret | None = None
    password: Secret | None = None

    @classmethod
    def from_json(cls, fields: Any) -> NodeAuth | None:
        """Read the ``auth`` of a node or cluster; None if it has none."""
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            return None
        return cls(
            type=fields["type"].lower(), user=_secret(fields, "user"), password=_secret(fields, "pass")
        )

    def basic_header(self) -> str:
        """Return the Authorization header for user and password. The header is a secret."""
        user, password = (part.reveal() if part else "" for part in (self.user, self.password))
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A node or a cluster.

    The password is a :class:`~airflow_provider_bloq.auth.credentials.Secret`: Airflow writes every field of a
    dataclass that a task returns into its database.
    """

    #: The fields of :meth:`public`: all that Bloq documents, except those with undocumented contents, which may
    #: include a password.
    PUBLIC: ClassVar[tuple[str, ...]] = (
        "id", "user", "chain", "network", "state", "service", "serviceData", "createdAt", "updatedAt", "stoppedAt",
        "ttl",
    )  # fmt: skip
    KIND: ClassVar[str] = "object"
    ADDRESS: ClassVar[str]

    id: str
    chain: str
    network: str
    state: str
    service: str | None
    auth: NodeAuth | None
    created_at: str | None
    #: IP address of a node, domain of a cluster; None while it has none.
    address: str | None
    #: The fields of :meth:`public`.
    shown: Mapping[str, Any] = field(repr=False, hash=False)

    @classmethod
    def from_json(cls, fields: Any) -> Self:
        """Read an object of the API.

        :raises BloqUnavailable: It is not an object with an id.
        """
        if not isinstance(fields, dict) or not _text(fields, "id"):
            raise BloqUnavailable(f"The service returned a {cls.KIND} without an id.")
        auth = NodeAuth.from_json(fields.get("auth"))
        return cls(
            id=fields["id"],
            chain=(_text(fields, "chain") or "").lower(),
            network=(_text(fields, "network") or "").lower(),
            state=_text(fields, "state") or "",
            service=_text(fields, "service"),
            auth=auth,
            created_at=_text(fields, "createdAt"),
            address=_text(fields, cls.ADDRESS),
            shown=_shown(fields, cls.PUBLIC, auth),
        )

    def public(self) -> dict[str, Any]:
        """Return the fields under the API's names, without secrets: safe for XCom."""
        return deepcopy(dict(self.shown))


@dataclass(frozen=True, slots=True)
class Node(Deployment):
    """A node; see https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api."""

    PUBLIC: ClassVar[tuple[str, ...]] = (*Deployment.PUBLIC, "ip")
    KIND: ClassVar[str] = "node"
    ADDRESS: ClassVar[str] = "ip"


@dataclass(frozen=True, slots=True)
class Cluster(Deployment):
    """A cluster of nodes behind one domain."""

    PUBLIC: ClassVar[tuple[str, ...]] = (
        *Deployment.PUBLIC, "name", "alias", "domain", "capacity", "healthCount", "region", "updatingService",
    )  # fmt: skip
    KIND: ClassVar[str] = "cluster"
    ADDRESS: ClassVar[str] = "domain"


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be created: a chain's software (``/chains``) or a service (``/services``).

    :param id: Service id, for a create; None for a chain.
    :param chain: Chain, such as ``eth``.
    :param network: Network, such as ``mainnet``.
    :param software: Software with its version.
    :param performance: Size of the machine, for services.
    :param region: Region of the vendor, for services.
    :param disabled: Whether it can no longer be created.
    """

    id: str | None
    chain: str
    network: str
    software: str | None
    performance: str | None = None
    region: str | None = None
    disabled: bool = False

    @classmethod
    def from_json(cls, fields: Any) -> Offer:
        """Read an item of ``/chains`` or ``/services``."""
        fields = fields if isinstance(fields, dict) else {}
        metadata = fields["metadata"] if isinstance(fields.get("metadata"), dict) else fields
        vendor = fields["vendor"] if isinstance(fields.get("vendor"), dict) else {}
        return cls(
            id=_text(fields, "id"),
            chain=(_text(fields, "chain") or "").lower(),
            network=(_text(fields, "network") or "").lower(),
            software=_text(metadata, "software"),
            performance=_text(metadata, "performance"),
            region=_text(vendor, "region"),
            disabled=fields.get("disabled") is True,
        )


def _shown(fields: dict[str, Any], names: tuple[str, ...], auth: NodeAuth | None) -> dict[str, Any]:
    shown = {name: fields[name] for name in names if name in fields}
    if isinstance(shown.get("user"), dict):
        shown["user"] = {name: value for name, value in shown["user"].items() if name in ("id", "email")}
    if auth is not None:
        shown["auth"] = {"type": auth.type}
    return shown


def _secret(fields: Mapping[str, Any], name: str) -> Secret | None:
    value = _text(fields, name)
    return Secret(value) if value is not None else None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
