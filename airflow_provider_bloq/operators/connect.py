"""Operators for the REST API of Connect: any endpoint, by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator
from airflow_provider_bloq.operators._lineage import chain_dataset, operator_lineage
from airflow_provider_bloq.operators._results import BloqStoringOperator, check_filter, load_filter
from airflow_provider_bloq.validation import number_of

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
    """An operator that asks Connect about one chain.

    The arguments of :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator` are taken as well.

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
    """Ask Connect once, by an operation of :class:`~airflow_provider_bloq.connect.client.ConnectApi`.

    Returns what that gives as JSON: values as dicts, amounts as whole numbers of satoshi. Sending is for
    :class:`~airflow_provider_bloq.operators.connect.BloqSendTransactionOperator`.

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


class BloqAddressHistoryOperator(BloqConnectBaseOperator):
    """Read what went in and out of addresses.

    Returns a dict: ``rows``, or, where they are large, the path of the file that has them; ``count``;
    ``from_height``, the first block that was read; ``cursor``, to be given to the next run; and ``reorganised``.
    A row has ``txid``, ``height``, ``block_hash``, ``time`` (seconds since the epoch), ``address``, ``direction``
    (``in`` or ``out``), ``index`` (of the output that pays, or of the input that spends), ``amount_sat`` and
    ``confirmations``.

    To keep a table: in one transaction delete what it has of the blocks from ``from_height`` to the cursor's
    ``height`` and insert the rows. So a run can be repeated. After a reorg, which is found out by the cursor's
    hash, the last hundred blocks are read anew, but none before ``from_height``; then, where ``reorganised`` is
    true, and only then, delete everything from the result's ``from_height`` on. Let the task that inserts return
    the ``cursor``, take it from there, and give the DAG ``max_active_runs=1``: then what could not be inserted is
    read again by the next run. While Connect has not taken in the cursor's block, as when its index is behind, a run
    reads nothing and returns the cursor as it was given.

    The arguments of :class:`~airflow_provider_bloq.operators.connect.BloqConnectBaseOperator` are taken as well.

    :param addresses: The addresses: a list, or a text with commas. Fifty are asked about at once.
    :param from_height: Number of the first block, where there is no cursor. After a reorg none before it is read.
    :param cursor: ``cursor`` of an earlier result, or that result, also as JSON text. Of the run before, where the
        task ``insert`` returns it:
        ``{{ ti.xcom_pull(task_ids='insert', map_indexes=-1, include_prior_dates=True) | tojson }}``.
        Without ``map_indexes`` Airflow may give a list of all that there were.
    :param confirmations: How many a block must have to be read, counted from the newest that Connect has taken in.
        With more than one, most reorgs pass unnoticed.
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
        """Read what is new.

        :raises BloqResultTooLarge: The rows are over their limit, and there is no ``result_path``.
        """
        from airflow_provider_bloq.connect.addresses import require_address
        from airflow_provider_bloq.connect.history import read_history
        from airflow_provider_bloq.validation import require_whole_number

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
                    "The chain was reorganised: what is known from block %s on is to be replaced.",
                    history.from_height,
                )
            if history.is_behind and cursor is not None:
                self.log.warning(
                    "Connect has not taken in block %s yet, up to which was read before: nothing is read.",
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
                raise self._no_cursor() from None
        if isinstance(given, Mapping) and "cursor" in given:
            given = given["cursor"]
        match given:
            case None:
                return None
            case {"height": int(height), "block_hash": str(block_hash)}:
                return HistoryCursor(height, block_hash)
        raise self._no_cursor()

    def _no_cursor(self) -> BloqConfigurationError:
        return BloqConfigurationError.of(
            "cursor",
            "it is none that this operator has returned",
            "Give the result of an earlier run, or its cursor; as text only with the filter tojson.",
            self.task_id,
        )


#: What a store says of a path that will not be right at the next try either.
_NO_SUCH_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class BloqSendTransactionOperator(BloqOperator):
    """Send a signed transaction. It never signs, and has no business with keys.

    It can be tried again whatever came of the try before: it computes the id from the bytes and looks for the
    transaction first, and once more where an answer is lost or speaks against it. So it neither sends what is
    known already nor reports as failed what was sent.

    Returns ``{"txid": …, "sent": …}``; ``sent`` is False where the transaction was known before this try.

    :param chain: ``btc`` or ``bch``.
    :param raw_transaction: The transaction in hex, such as the output of the task that has it signed.
    :param raw_transaction_path: Instead, URL of a file on object storage that holds it in hex.
    :param raw_transaction_conn_id: Connection of that storage, where it does not stand in the URL.
    :param network: ``mainnet``, ``testnet`` or ``regtest``; by default the usual one of the connection.
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
        """Send it, unless it is known.

        :raises BloqTransactionRefused: The node does not take it.
        """
        with raise_as_fail_exception():
            transaction = self._transaction()
            client = self.hook.connect(self.chain, self.network)
            from airflow_provider_bloq.connect.client import send_once

            done = self.hook.run(send_once(client, transaction))
        self.log.info("%s %s", done.txid, "was sent" if done.sent else "was known already")
        return {"txid": done.txid, "sent": done.sent}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was written to; it asks for this by this name."""
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
        # No other OSError: it may be the way to the store that is broken, which another try may find mended.
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
            # Only now the store is looked for.
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
