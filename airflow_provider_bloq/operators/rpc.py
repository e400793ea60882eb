"""What the operators have in common that call the JSON-RPC of a node or cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.operators.lineage import distinct, node_dataset, operator_lineage
from airflow_provider_bloq.operators.response_filter import Filter, check_filter, load_filter
from airflow_provider_bloq.operators.storing import BloqStoringOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.jsonrpc import RpcCall

__all__ = ["BloqRpcOperator", "error_json"]


class BloqRpcOperator(BloqStoringOperator):
    """An operator that calls one node, cluster or URL, and returns what it answers.

    The arguments of :class:`~airflow_provider_bloq.operators.storing.BloqStoringOperator` are taken as well.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for
        the JSON-RPC that Connect has for a chain, or a URL. A URL is shown the access token only if it is one
        of the connection's ``rpc_origins``.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id
        and the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param repeatable: Whether calls may be sent again where an answer was lost. None: those may whose methods are
        known to do nothing but read.
    :param response_filter: What is taken of the result of each call: a JMESPath expression, or a function
        of one argument as ``package.module:function``.
    """

    template_fields: Sequence[str] = (
        *BloqStoringOperator.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
    )
    #: The methods that were called, once the task has run.
    called_methods: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        node: str | Mapping[str, Any],
        tls_fingerprint: str | None = None,
        port: int | str | None = None,
        path: str | None = None,
        repeatable: bool | None = None,
        response_filter: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path
        self.repeatable = repeatable
        self.response_filter = response_filter
        self._check_options()

    def _check_options(self) -> None:
        check_filter(self.response_filter, self.task_id)

    @property
    def _rpc_options(self) -> dict[str, Any]:
        from airflow_provider_bloq.clients.limits import untemplated

        port = untemplated(self.port)
        return {"tls_fingerprint": self.tls_fingerprint, "port": port, "path": self.path}

    def _filter(self) -> Filter:
        return load_filter(self.response_filter, self.task_id)

    def _note_methods(self, calls: Sequence[RpcCall]) -> None:
        self.called_methods = distinct(call.method for call in calls)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was called and written; it asks for this by this name."""
        return operator_lineage(
            inputs=[node_dataset(self.node)], outputs=[self.stored_result], operations=self.called_methods
        )


def error_json(error: BloqRpcError) -> dict[str, Any]:
    """Return what a node answered in place of a result as JSON."""
    return {"code": error.code, "message": error.message, "data": error.data, "method": error.method}
