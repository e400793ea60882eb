"""Operator for the JSON-RPC of a node or cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.operators.base import BloqOperator

__all__ = ["BloqJsonRpcOperator"]


class BloqJsonRpcOperator(BloqOperator):
    """Call a node or cluster by JSON-RPC, once or with a batch of calls.

    Returns the result of the call; for a batch the list of results in the order of the calls.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, or a URL. A URL is
        shown the access token only if it is one of the connection's ``rpc_origins``.
    :param method: Method, such as ``eth_blockNumber``.
    :param params: Positional parameters of the method, as a list. (A dict is what it is on every
        operator: Airflow's own ``params``.)
    :param rpc_params: The same under a name of its own, which mapping (``expand``) and parameters by name
        need.
    :param batch: Instead of one method many calls: each a method, or ``[method, params]``, or a dict of
        the two.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id
        and the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "node",
        "method",
        "rpc_params",
        "batch",
        "tls_fingerprint",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"rpc_params": "json", "batch": "json"}

    def __init__(
        self,
        *,
        node: str | Mapping[str, Any],
        method: str | None = None,
        params: Sequence[Any] | dict[str, Any] | None = None,
        rpc_params: Sequence[Any] | dict[str, Any] | None = None,
        batch: Sequence[Any] | None = None,
        tls_fingerprint: str | None = None,
        port: int | None = None,
        path: str | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(params, list | tuple):
            rpc_params = params if rpc_params is None else rpc_params
        elif params is not None:
            kwargs["params"] = params
        super().__init__(**kwargs)
        if (method is None) == (batch is None):
            raise BloqConfigurationError.of(
                "method", "neither it nor batch is given, or both are", "Give one of the two.", self.task_id
            )
        self.node = node
        self.method = method
        self.rpc_params = rpc_params
        self.batch = batch
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path

    def execute(self, context: Any) -> Any:
        """Make the call or calls.

        :return: The result, or the list of results.
        """
        rpc = self.hook.rpc(self.node, tls_fingerprint=self.tls_fingerprint, port=self.port, path=self.path)
        if self.batch is not None:
            return rpc.batch(self.batch)
        return rpc.call(self.method or "", self.rpc_params or ())
