"""What the operators have in common that call the JSON-RPC of a node or cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqRpcError
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.lineage import (
    StoredFile,
    distinct,
    node_dataset,
    operator_lineage,
    stored_at,
)
from airflow_provider_bloq.operators.links import LINKS, BloqResultLink
from airflow_provider_bloq.operators.response_filter import Filter, check_filter, load_filter
from airflow_provider_bloq.operators.results import RESULT_LIMIT, destination_of, returned

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, ObjectStoragePath

    from airflow_provider_bloq.clients.jsonrpc import RpcCall

__all__ = ["BloqRpcOperator", "error_json"]


class BloqRpcOperator(BloqOperator):
    """An operator that calls one node, cluster or URL, and returns what it answers.

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
    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to
        ``result_path``. None: none do.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
        "result_path",
        "result_conn_id",
    )
    operator_extra_links: Collection[BaseOperatorLink] = (*LINKS, BloqResultLink())
    #: The file that the result went to, and the methods that were called, once the task has run.
    stored_result: StoredFile | None = None
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
        result_path: str | None = None,
        result_conn_id: str | None = None,
        result_limit: int | None = RESULT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path
        self.repeatable = repeatable
        self.response_filter = response_filter
        self.result_path = result_path
        self.result_conn_id = result_conn_id
        self.result_limit = result_limit
        if result_path is None:
            self.operator_extra_links = LINKS
        self._check_options()

    def _check_options(self) -> None:
        from airflow_provider_bloq.clients.limits import require_whole_number

        check_filter(self.response_filter, self.task_id)
        if self.result_limit is not None:
            require_whole_number("result_limit", self.result_limit, least=0)

    @property
    def _rpc_options(self) -> dict[str, Any]:
        from airflow_provider_bloq.clients.limits import untemplated

        port = untemplated(self.port)
        return {"tls_fingerprint": self.tls_fingerprint, "port": port, "path": self.path}

    def _destination(self, context: Any) -> ObjectStoragePath | None:
        return destination_of(self.result_path, self.result_conn_id, context, self.task_id)

    def _filter(self) -> Filter:
        return load_filter(self.response_filter, self.task_id)

    def _returned(self, result: Any, destination: ObjectStoragePath | None) -> Any:
        # A result that is not stored in XCom may be of any size.
        limit = self.result_limit if self.do_xcom_push or destination is not None else None
        value = returned(result, limit, destination, self.task_id)
        if value is not result and destination is not None:
            self.log.info("The result is at %s", value)
            self.stored_result = stored_at(destination)
        return value

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
