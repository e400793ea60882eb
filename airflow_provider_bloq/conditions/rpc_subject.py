"""Whose JSON-RPC a condition looks at, in a form that can be stored; and looking at it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.chains.families import Family, family_named, family_of
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.clients.models import Cluster, Node
from airflow_provider_bloq.clients.naming import CONNECT, connect_chain_of, node_id_of
from airflow_provider_bloq.clients.node_tls import normalise_fingerprint
from airflow_provider_bloq.clients.path_key import shows_path_key
from airflow_provider_bloq.conditions.condition import Observer, Reader, Target
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["Look", "RpcSubject", "SubjectTarget"]

#: Looks once at a chain of a family, on behalf of those interests.
Look: TypeAlias = Callable[[Family, frozenset[Hashable]], Flow[Any]]


@dataclass(frozen=True, slots=True)
class RpcSubject:
    """Whose JSON-RPC is meant. Make it by :meth:`of`, which brings equal ones into one form.

    It is stored in Airflow's database, so a URL with a key in its path does not belong here.

    :param node: Id of a node or cluster, a URL, or ``connect:<chain>``.
    :param tls_fingerprint: SHA-256 fingerprint of its certificate, 64 lower-case hex characters.
    :param port: The port, instead of the chain's own.
    :param path: The path, instead of the chain's own.
    :param family: ``evm`` or ``bitcoin``; None to find it out when the node is first looked at.
    """

    node: str
    tls_fingerprint: str | None = None
    port: int | None = None
    path: str | None = None
    family: str | None = None

    @classmethod
    def of(
        cls,
        node: Node | Cluster | Mapping[str, Any] | str,
        *,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
        family: str | None = None,
    ) -> RpcSubject:
        """Name a node, cluster or URL.

        :param node: A node or cluster, what ``BloqCreateNodeOperator`` returned for one, its id, a URL, or
            ``connect:<chain>`` for the JSON-RPC that Connect has for a chain like Ethereum's.
        :param tls_fingerprint: SHA-256 fingerprint of its certificate, where ``node`` does not tell it.
        :param port: The port, where it is not the usual one of the chain.
        :param path: The path, likewise.
        :param family: Whether it answers like Ethereum's nodes (``evm``) or Bitcoin's (``bitcoin``); for a
            URL and for chains of which it is not known.
        :raises BloqConfigurationError: One of these cannot be used, or the family is missing.
        """
        fields = node.public() if isinstance(node, Node | Cluster) else node
        node_id = node_id_of(fields)
        if (
            connected := connect_chain_of(node_id, tls_fingerprint=tls_fingerprint, port=port, path=path)
        ) is not None:
            return cls(f"{CONNECT}{connected}", family=family_named(family or Family.EVM).value)
        chain = None
        if isinstance(fields, Mapping):
            tls_fingerprint = tls_fingerprint or fields.get("tls_fingerprint")
            chain = fields.get("chain")
        if "://" in node_id:
            _refuse_unusable(node_id)
        if family is not None:
            family = family_named(family).value
        elif chain is not None or "://" in node_id:
            family = family_of(chain).value
        return cls(node_id, _normalised(tls_fingerprint), port, path, family)


@dataclass(frozen=True, slots=True)
class SubjectTarget(Target):
    """Something that the JSON-RPC of one subject tells. Its client is made once, and found once.

    :param subject: Whose JSON-RPC.
    """

    subject: RpcSubject

    def observer(self, reader: Reader) -> Observer:
        """See :meth:`Target.observer`."""
        subject = self.subject
        rpc = reader.rpc(
            subject.node, tls_fingerprint=subject.tls_fingerprint, port=subject.port, path=subject.path
        )
        look = self.looking_by(rpc)

        def observe(interests: frozenset[Hashable]) -> Flow[Any]:
            if subject.family is not None:
                family = family_named(subject.family)
            else:
                family = family_of((yield from rpc.locator.locate()).chain)
            return (yield from look(family, interests))

        return observe

    @abstractmethod
    def looking_by(self, rpc: RpcApi) -> Look:
        """Return what looks by this client, again and again."""


def _refuse_unusable(url: str) -> None:
    # Before it is stored: it might hold a password or a key. None of it is quoted.
    try:
        Origin.of(url)
    except ValueError as odd:
        raise BloqConfigurationError.of(
            "node", f"it is no URL that can be used: {odd}", "Correct it."
        ) from None
    if shows_path_key(url):
        raise BloqConfigurationError.of(
            "node",
            "it is a URL of Connect, whose path is a credential that Airflow's database would hold",
            "Give the key to the connection, in connect_api_keys or beside the client keys in Vault, and write "
            'node="connect:<chain>". Change the key: it may stand in pages and logs by now',
        )
    if "?" in url or "#" in url:
        raise BloqConfigurationError.of(
            "node",
            "it is a URL with a query or a fragment, where keys stand that Airflow's database would hold",
            'Give a URL without one; for a chain in Connect, node="connect:<chain>"',
        )


def _normalised(fingerprint: Any) -> str | None:
    if fingerprint is None:
        return None
    try:
        return normalise_fingerprint(str(fingerprint))
    except ValueError as error:
        raise BloqConfigurationError.of(
            "tls_fingerprint", str(error), "Copy it as the create returned it."
        ) from None
