"""Operators for the REST API of Connect: any endpoint, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.lineage import chain_dataset, operator_lineage
from airflow_provider_bloq.operators.response_filter import check_filter, load_filter
from airflow_provider_bloq.operators.storing import BloqStoringOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.connect import ConnectClient
    from airflow_provider_bloq.operators.response_filter import Filter

__all__ = ["BloqConnectBaseOperator", "BloqConnectOperator", "addresses_of"]


class BloqConnectBaseOperator(BloqStoringOperator):
    """An operator that asks Connect about one chain.

    The arguments of :class:`~airflow_provider_bloq.operators.storing.BloqStoringOperator` are taken as well.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default ``mainnet``, and ``regtest`` in the
        environment ``local``.
    """

    template_fields: Sequence[str] = (*BloqStoringOperator.template_fields, "chain", "network")

    def __init__(
        self,
        *,
        chain: str,
        network: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.chain = chain
        self.network = network

    @property
    def client(self) -> ConnectClient:
        """The client of the chain."""
        return self.hook.connect(self.chain, self.network)

    @property
    def _operations(self) -> tuple[str, ...]:
        """What is asked of Connect, by name."""
        return ()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was asked and written; it asks for this by this name."""
        client = self.client
        chain = chain_dataset(client.chain, client.network)
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
        ``package.module:function``. It may be a template.
    :raises BloqConfigurationError: There is no such operation, or it has no such parameters; names those that
        there are. At once, unless a template is in the way.
    """

    template_fields: Sequence[str] = (
        *BloqConnectBaseOperator.template_fields,
        "endpoint",
        "parameters",
        "response_filter",
    )
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
        # A DAG that renders templates as native objects makes values of texts that are no template as well, such as
        # a list of "[0]".
        self._own_filter = None if _is_template(response_filter) else response_filter
        check_filter(self._own_filter, self.task_id)
        if not _is_template(endpoint) and isinstance(parameters, Mapping | None):
            self._check()

    def execute(self, context: Any) -> Any:
        """Ask.

        :return: The result, or the path of the file that has it.
        :raises BloqResultTooLarge: The result is over its limit, and there is no ``result_path``.
        """
        with failing_at_once():
            self._check()
            destination = self._destination(context)
            pick = self._filter
            result = getattr(self.client, self.endpoint)(**self._arguments)
            return self._returned(pick(_plain(result)), destination)

    @property
    def _operations(self) -> tuple[str, ...]:
        return (self.endpoint,)

    @property
    def _arguments(self) -> dict[str, Any]:
        from airflow_provider_bloq.clients.connect_operations import with_numbers

        return with_numbers(self.endpoint, self.parameters or {})

    @property
    def _filter(self) -> Filter:
        given = self.response_filter if self._own_filter is None else self._own_filter
        check_filter(given, self.task_id)
        return load_filter(given, self.task_id)

    def _check(self) -> None:
        from airflow_provider_bloq.clients.connect_operations import check_call

        check_call(self.endpoint, self.parameters or {}, self.task_id)


def _is_template(given: object) -> bool:
    """Tell whether a value will be known only when the task runs: a text for Jinja, or the output of a task."""
    is_text = isinstance(given, str) and any(mark in given for mark in ("{{", "{%", "{#"))
    return is_text or hasattr(given, "iter_references")


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
