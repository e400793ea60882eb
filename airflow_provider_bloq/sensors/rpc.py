"""What the sensors have in common that look at a chain through the JSON-RPC of one of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.clients.templated import number_of
from airflow_provider_bloq.sensors.base import BloqSensor

if TYPE_CHECKING:
    from airflow_provider_bloq.conditions.rpc_subject import RpcSubject

__all__ = ["BloqRpcSensor", "number_of"]


class BloqRpcSensor(BloqSensor):
    """A sensor that looks through the JSON-RPC of a node, cluster or URL.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for the
        JSON-RPC that Connect has for a chain, or a URL. A URL stands in Airflow's database while the task is
        deferred, so it must not hold a key.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id and
        the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param family: Whether it answers like Ethereum's nodes (``evm``) or Bitcoin's (``bitcoin``); only for a
        URL and for chains of which it is not known.
    """

    template_fields: Sequence[str] = (
        *BloqSensor.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
        "family",
    )

    def __init__(
        self,
        *,
        node: str | Mapping[str, Any],
        tls_fingerprint: str | None = None,
        port: int | str | None = None,
        path: str | None = None,
        family: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path
        self.family = family

    @property
    def subject(self) -> RpcSubject:
        """Whose JSON-RPC is looked through, as conditions name it.

        :raises BloqConfigurationError: The arguments name nothing that has one.
        """
        from airflow_provider_bloq.conditions.rpc_subject import RpcSubject

        return RpcSubject.of(
            self.node,
            tls_fingerprint=self.tls_fingerprint,
            port=number_of(self.port),
            path=self.path,
            family=self.family,
        )
