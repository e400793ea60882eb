"""Operators for the REST API of Connect: any endpoint, by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.lineage import StoredFile, chain_dataset, operator_lineage, stored_at
from airflow_provider_bloq.operators.links import LINKS, BloqResultLink
from airflow_provider_bloq.operators.response_filter import check_filter, load_filter
from airflow_provider_bloq.operators.results import RESULT_LIMIT, destination_of, returned

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, ObjectStoragePath

    from airflow_provider_bloq.clients.connect import ConnectClient

__all__ = ["BloqConnectBaseOperator", "BloqConnectOperator", "addresses_of"]


class BloqConnectBaseOperator(BloqOperator):
    """An operator that asks Connect about one chain.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default ``mainnet``, and ``regtest`` in the
        environment ``local``.
    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to
        ``result_path``. None: none do.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "chain",
        "network",
        "result_path",
        "result_conn_id",
    )
    operator_extra_links: Collection[BaseOperatorLink] = (*LINKS, BloqResultLink())
    #: The file that the result went to, once the task has run.
    stored_result: StoredFile | None = None

    def __init__(
        self,
        *,
        chain: str,
        network: str | None = None,
        result_path: str | None = None,
        result_conn_id: str | None = None,
        result_limit: int | None = RESULT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.chain = chain
        self.network = network
        self.result_path = result_path
        self.result_conn_id = result_conn_id
        self.result_limit = result_limit
        if result_path is None:
            self.operator_extra_links = LINKS
        if result_limit is not None:
            from airflow_provider_bloq.clients.limits import require_whole_number

            require_whole_number("result_limit", result_limit, least=0)

    @property
    def client(self) -> ConnectClient:
        """The client of the chain."""
        return self.hook.connect(self.chain, self.network)

    def _destination(self, context: Any) -> ObjectStoragePath | None:
        return destination_of(self.result_path, self.result_conn_id, context, self.task_id)

    def _returned(self, result: Any, destination: ObjectStoragePath | None) -> Any:
        value = returned(result, self.result_limit, destination, self.task_id)
        if value is not result and destination is not None:
            self.log.info("The result is at %s", value)
            self.stored_result = stored_at(destination)
        return value

    @property
    def _operations(self) -> tuple[str, ...]:
        """What is asked of Connect, by name."""
        return ()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was asked and written; it asks for this by this name."""
        chain = chain_dataset(self.chain, self.client.network)
        return operator_lineage(inputs=[chain], outputs=[self.stored_result], operations=self._operations)


class BloqConnectOperator(BloqConnectBaseOperator):
    """Ask Connect once, by an operation of :class:`~airflow_provider_bloq.clients.connect.ConnectApi`.

    Returns what that gives as JSON: values as dicts, amounts as whole numbers of satoshi. Sending is for
    :class:`~airflow_provider_bloq.operators.sending.BloqSendTransactionOperator`.

    The arguments of :class:`BloqConnectBaseOperator` are taken as well.

    :param endpoint: Name of the operation, such as ``balance``, ``unspent`` or ``transaction``.
    :param parameters: Its parameters by their names, such as ``{"address": "…"}``. Numbers may be texts, as
        templates make them.
    :param response_filter: What is taken of the result: a JMESPath expression, or a function of one argument as
        ``package.module:function``.
    :raises BloqConfigurationError: There is no such operation, or it has no such parameters; names those that
        there are. At once, unless a template is in the way.
    """

    template_fields: Sequence[str] = (*BloqConnectBaseOperator.template_fields, "endpoint", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def __init__(
        self,
        *,
        endpoint: str,
        parameters: Mapping[str, Any] | None = None,
        response_filter: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.parameters = parameters
        self.response_filter = response_filter
        check_filter(response_filter, self.task_id)
        if isinstance(endpoint, str) and "{{" not in endpoint and isinstance(parameters, Mapping | None):
            self._check()

    def execute(self, context: Any) -> Any:
        """Ask.

        :return: The result, or the path of the file that has it.
        :raises BloqResultTooLarge: The result is over its limit, and there is no ``result_path``.
        """
        with failing_at_once():
            self._check()
            destination = self._destination(context)
            pick = load_filter(self.response_filter, self.task_id)
            result = getattr(self.client, self.endpoint)(**self._arguments)
            return self._returned(pick(_plain(result)), destination)

    @property
    def _operations(self) -> tuple[str, ...]:
        return (self.endpoint,)

    @property
    def _arguments(self) -> dict[str, Any]:
        from airflow_provider_bloq.clients.connect_operations import with_numbers

        return with_numbers(self.endpoint, self.parameters or {})

    def _check(self) -> None:
        from airflow_provider_bloq.clients.connect_operations import check_call

        check_call(self.endpoint, self.parameters or {}, self.task_id)


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [_plain(one) for one in result]
    to_json = getattr(result, "to_json", None)
    return to_json() if to_json is not None else result


def addresses_of(given: Any, where: str) -> list[str]:
    """Return addresses that are given as a list, or as a text with commas between them.

    :param where: The task.
    :raises BloqConfigurationError: They are given otherwise, or there are none.
    """
    listed = given.split(",") if isinstance(given, str) else given
    if (
        isinstance(listed, list | tuple)
        and listed
        and all(isinstance(one, str) and one.strip() for one in listed)
    ):
        return [one.strip() for one in listed]
    raise BloqConfigurationError.of(
        "addresses", "they are no list of texts, or none at all", "Give a list of addresses.", where
    )
