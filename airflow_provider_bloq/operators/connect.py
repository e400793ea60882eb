"""Operators for Connect's REST API: any endpoint by name, the history of addresses, and sending a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.arguments import number_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator
from airflow_provider_bloq.operators._results import BloqStoringOperator, check_filter, load_filter

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_bloq.connect.client import ConnectClient
    from airflow_provider_bloq.connect.history import HistoryCursor
    from airflow_provider_bloq.connect.raw_transactions import RawTransaction
    from airflow_provider_bloq.operators._results import Filter

__all__ = [
    "BloqAddressHistoryOperator",
    "BloqConnectBaseOperator",
    "BloqConnectOperator",
    "BloqSendTransactionOperator",
    "addresses_of",
]


class BloqConnectBaseOperator(BloqStoringOperator):
    """An operator that reads one chain from Connect.

    Also takes the arguments of :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`.

    :param chain: ``btc`` or ``bch``.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default ``mainnet``, or ``regtest`` in the environment
        ``local``.
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
        """Names of the endpoints that are called."""
        return ()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was read and written. OpenLineage's provider calls this."""
        from airflow_provider_bloq.operators._lineage import chain_dataset, operator_lineage

        client = self.client
        chain = chain_dataset(client.chain, client.network)
        return operator_lineage(inputs=[chain], outputs=[self.stored_result], operations=self._operations)


class BloqConnectOperator(BloqConnectBaseOperator):
    """Call one operation of :class:`~airflow_provider_bloq.connect.client.ConnectApi`.

    Returns its result as JSON: values as dicts, amounts as whole numbers of satoshi. To send a transaction use
    :class:`~airflow_provider_bloq.operators.connect.BloqSendTransactionOperator`.

    Also takes the arguments of :class:`BloqConnectBaseOperator`.

    :param endpoint: Name of the operation, such as ``balance``, ``unspent`` or ``transaction``.
    :param parameters: Its parameters by name, such as ``{"address": "…"}``. Numbers may be strings, as templates
        render them.
    :param response_filter: Filter for the result: a JMESPath expression, or a function of one argument as
        ``package.module:function``. May be a template.
    :raises BloqConfigurationError: The operation or a parameter does not exist; names those that do. Raised when the
        DAG is parsed, except for templates.
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
        # A DAG that renders templates as native objects also turns other strings into values, such as "[0]" into a
        # list.
        self._own_filter = None if _is_template(response_filter) else response_filter
        check_filter(self._own_filter, self.task_id)
        if not _is_template(endpoint) and isinstance(parameters, Mapping | None):
            self._check()

    def execute(self, context: Any) -> Any:
        """Call the operation.

        :raises BloqResultTooLarge: The result exceeds ``result_limit``, and there is no ``result_path``.
        """
        with raise_as_fail_exception():
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
        from airflow_provider_bloq.connect.client import parse_numbers

        return parse_numbers(self.endpoint, self.parameters or {})

    @property
    def _filter(self) -> Filter:
        given = self.response_filter if self._own_filter is None else self._own_filter
        check_filter(given, self.task_id)
        return load_filter(given, self.task_id)

    def _check(self) -> None:
        from airflow_provider_bloq.connect.client import check_operation

        check_operation(self.endpoint, self.parameters or {}, self.task_id)


def _is_template(given: object) -> bool:
    """Whether a value is known only when the task runs: a template, or the output of a task."""
    is_text = isinstance(given, str) and any(mark in given for mark in ("{{", "{%", "{#"))
    return is_text or hasattr(given, "iter_references")


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [_plain(one) for one in result]
    to_json = getattr(result, "to_json", None)
    return to_json() if to_json is not None else result


def addresses_of(given: Any, where: str) -> list[str]:
    """Return addresses given as a list, or as a string with commas.

    :param where: The task.
    :raises BloqConfigurationError: They are given in another way, or there are none.
    """
    listed = given.split(",") if isinstance(given, str) else given
    if (
        isinstance(listed, list | tuple)
        and listed
        and all(isinstance(one, str) and one.strip() for one in listed)
    ):
        return [one.strip() for one in listed]
    raise BloqConfigurationError.of(
        "addresses",
        "they are not a list of strings, or the list is empty",
        "Give a list of addresses.",
        where,
    )


class BloqAddressHistoryOperator(BloqConnectBaseOperator):
    """Read the history of addresses since the last run.

    Returns a dict: ``rows``, or the path of the file with them if they are large; ``count``; ``from_height``, the first
    block that was read; ``cursor``, for the next run; and ``reorganised``. A row has ``txid``, ``height``,
    ``block_hash``, ``time`` (epoch seconds), ``address``, ``direction`` (``in`` or ``out``), ``index`` (of the output
    that pays, or of the input that spends), ``amount_sat`` and ``confirmations``.

    To maintain a table, in one transaction delete its rows of the blocks from ``from_height`` to the cursor's
    ``height`` and insert the new ones, so that a run can be repeated. After a reorg, which the cursor's hash reveals,
    the last hundred blocks are read again, but none before ``from_height``; ``reorganised`` is true, and only then
    must all rows from the result's ``from_height`` on be deleted. Let the task that inserts return the ``cursor``, and
    set ``max_active_runs=1`` on the DAG: what could not be inserted is then read again by the next run. While Connect
    has not indexed the cursor's block, a run reads nothing and returns the same cursor.

    Also takes the arguments of :class:`~airflow_provider_bloq.operators.connect.BloqConnectBaseOperator`.

    :param addresses: The addresses: a list, or a string with commas. Read fifty at a time.
    :param from_height: Height of the first block, if there is no cursor. After a reorg no earlier block is read.
    :param cursor: The ``cursor`` of an earlier result, or that result, also as JSON. From the previous run, if the task
        ``insert`` returns it:
        ``{{ ti.xcom_pull(task_ids='insert', map_indexes=-1, include_prior_dates=True) | tojson }}``.
        Without ``map_indexes``, Airflow may return a list of all earlier ones.
    :param confirmations: Confirmations that a block needs to be read, counted from the newest that Connect has indexed.
        With more than one, most reorgs go unnoticed.
    """

    template_fields: Sequence[str] = (
        *BloqConnectBaseOperator.template_fields,
        "addresses",
        "from_height",
        "cursor",
        "confirmations",
    )

    def __init__(
        self,
        *,
        addresses: Sequence[str] | str,
        from_height: int | str = 0,
        cursor: Mapping[str, Any] | str | None = None,
        confirmations: int | str = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.addresses = addresses
        self.from_height = from_height
        self.cursor = cursor
        self.confirmations = confirmations

    def execute(self, context: Any) -> dict[str, Any]:
        """Read the new rows.

        :raises BloqResultTooLarge: The rows exceed ``result_limit``, and there is no ``result_path``.
        """
        from airflow_provider_bloq.arguments import require_whole_number
        from airflow_provider_bloq.connect.addresses import require_address
        from airflow_provider_bloq.connect.history import read_history

        with raise_as_fail_exception():
            client = self.client
            addresses = list(
                dict.fromkeys(
                    require_address(client.chain, one, client.network, "addresses")
                    for one in addresses_of(self.addresses, self.task_id)
                )
            )
            first, confirmations = number_of(self.from_height), number_of(self.confirmations)
            require_whole_number("from_height", first, least=0)
            require_whole_number("confirmations", confirmations, least=1)
            cursor = self._cursor()
            destination = self._destination(context)
            history = self.hook.run(
                read_history(client, addresses, from_height=first, cursor=cursor, confirmations=confirmations)
            )
            if history.reorganised:
                self.log.warning(
                    "The chain was reorganised: replace all rows from block %s on.",
                    history.from_height,
                )
            if history.is_behind and cursor is not None:
                self.log.warning(
                    "Connect has not indexed block %s yet, where the last run ended: nothing is read.",
                    cursor.height,
                )
            return {
                "rows": self._returned(history.rows, destination),
                "count": len(history.rows),
                "from_height": history.from_height,
                "cursor": None if history.cursor is None else asdict(history.cursor),
                "reorganised": history.reorganised,
            }

    def _cursor(self) -> HistoryCursor | None:
        from airflow_provider_bloq.connect.history import HistoryCursor

        given: Any = self.cursor
        if isinstance(given, str):
            try:
                given = json.loads(given) if given.strip() not in ("", "None") else None
            except ValueError:
                raise self._invalid_cursor() from None
        if isinstance(given, Mapping) and "cursor" in given:
            given = given["cursor"]
        match given:
            case None:
                return None
            case {"height": int(height), "block_hash": str(block_hash)}:
                return HistoryCursor(height, block_hash)
        raise self._invalid_cursor()

    def _invalid_cursor(self) -> BloqConfigurationError:
        return BloqConfigurationError.of(
            "cursor",
            "this operator has not returned it",
            "Give the result of an earlier run, or its cursor; in a template with the filter tojson.",
            self.task_id,
        )


#: Errors of a store that a retry cannot help.
_NO_SUCH_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class BloqSendTransactionOperator(BloqOperator):
    """Send a signed transaction. It never signs and never sees private keys.

    Safe to retry: it computes the id from the bytes and looks for the transaction first, and again if the response is
    lost or is an error. So it neither sends a known transaction nor reports a sent one as failed.

    Returns ``{"txid": …, "sent": …}``; ``sent`` is False if the transaction was known before this try.

    :param chain: ``btc`` or ``bch``.
    :param raw_transaction: The transaction in hex, such as the output of the task that signs it.
    :param raw_transaction_path: URL of a file on object storage with the transaction in hex, instead of
        ``raw_transaction``.
    :param raw_transaction_conn_id: Connection of that storage, unless the URL names it.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default as for Connect's REST API.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "chain",
        "raw_transaction",
        "raw_transaction_path",
        "raw_transaction_conn_id",
        "network",
    )

    def __init__(
        self,
        *,
        chain: str,
        raw_transaction: str | None = None,
        raw_transaction_path: str | None = None,
        raw_transaction_conn_id: str | None = None,
        network: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (raw_transaction is None) == (raw_transaction_path is None):
            raise BloqConfigurationError.of(
                "raw_transaction",
                "neither it nor raw_transaction_path is given, or both are",
                "Give one of the two.",
                self.task_id,
            )
        self.chain = chain
        self.raw_transaction = raw_transaction
        self.raw_transaction_path = raw_transaction_path
        self.raw_transaction_conn_id = raw_transaction_conn_id
        self.network = network

    def execute(self, context: Any) -> dict[str, Any]:
        """Send it unless it is known.

        :raises BloqTransactionRefused: The node rejects it.
        """
        from airflow_provider_bloq.connect.client import send_once

        with raise_as_fail_exception():
            transaction = self._transaction()
            client = self.hook.connect(self.chain, self.network)
            done = self.hook.run(send_once(client, transaction))
        self.log.info("%s %s", done.txid, "was sent" if done.sent else "was known already")
        return {"txid": done.txid, "sent": done.sent}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the chain that was written to. OpenLineage's provider calls this."""
        from airflow_provider_bloq.operators._lineage import chain_dataset, operator_lineage

        client = self.hook.connect(self.chain, self.network)
        chain = chain_dataset(client.chain, client.network)
        return operator_lineage(outputs=[chain], operations=["send"])

    def _transaction(self) -> RawTransaction:
        from airflow_provider_bloq.connect.raw_transactions import RawTransaction

        if self.raw_transaction_path is None:
            return RawTransaction.read(self.raw_transaction)
        return RawTransaction.read(self._content(self.raw_transaction_path), "raw_transaction_path")

    def _content(self, path: str) -> str:
        file = self._file(path)
        try:
            content: bytes = file.fs.cat_file(file.path)
            return content.decode("ascii")
        # No other OSError: the store may be unreachable, in which case a retry may help.
        except (*_NO_SUCH_FILE, UnicodeDecodeError) as unreadable:
            raise self._unusable(
                f"it cannot be read ({type(unreadable).__name__})",
                "Give the URL of a file with the transaction in hex.",
            ) from unreadable

    def _file(self, path: str) -> ObjectStoragePath:
        if not path or path.endswith("/"):
            raise self._unusable(
                "it names a folder" if path else "it is empty",
                "Give the URL of a file with the transaction in hex.",
            )
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        try:
            file = ObjectStoragePath(path, conn_id=self.raw_transaction_conn_id)
            # Fails now if the provider of the store is not installed.
            _ = file.fs
        except (ImportError, ValueError) as unknown:
            scheme = path.partition("://")[0] if "://" in path else "file"
            raise self._unusable(
                f"Airflow has no storage for {scheme}:// here ({type(unknown).__name__})",
                "Install the provider of that storage, or give another path.",
            ) from unknown
        return file

    def _unusable(self, problem: str, remedy: str) -> BloqConfigurationError:
        return BloqConfigurationError.of("raw_transaction_path", problem, remedy, self.task_id)
