"""What the operators have in common whose result may be too large for XCom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.lineage import StoredFile, stored_at
from airflow_provider_bloq.operators.links import LINKS, BloqResultLink
from airflow_provider_bloq.operators.results import RESULT_LIMIT, destination_of, returned

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, ObjectStoragePath

__all__ = ["BloqStoringOperator"]


class BloqStoringOperator(BloqOperator):
    """An operator that returns its result, or puts a large one into a file and returns the file's path.

    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to ``result_path``.
        None: none do. Without ``do_xcom_push`` and ``result_path`` there is no limit.
    :param bloq_conn_id: Id of the connection.
    :raises BloqConfigurationError: The limit is no number of bytes.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "result_path", "result_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (*LINKS, BloqResultLink())
    #: The file that the result went to, once the task has run.
    stored_result: StoredFile | None = None

    def __init__(
        self,
        *,
        result_path: str | None = None,
        result_conn_id: str | None = None,
        result_limit: int | None = RESULT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.result_path = result_path
        self.result_conn_id = result_conn_id
        self.result_limit = result_limit
        if result_path is None:
            self.operator_extra_links = LINKS
        if result_limit is not None:
            from airflow_provider_bloq.clients.limits import require_whole_number

            require_whole_number("result_limit", result_limit, least=0)

    def _destination(self, context: Any) -> ObjectStoragePath | None:
        return destination_of(self.result_path, self.result_conn_id, context, self.task_id)

    def _returned(self, result: Any, destination: ObjectStoragePath | None) -> Any:
        # What goes nowhere may be of any size.
        limit = self.result_limit if self.do_xcom_push or destination is not None else None
        value = returned(result, limit, destination, self.task_id)
        if value is not result and destination is not None:
            self.log.info("The result is at %s", value)
            self.stored_result = stored_at(destination)
        return value
