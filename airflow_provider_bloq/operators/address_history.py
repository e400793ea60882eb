"""Operator that reads what went in and out of addresses of Bitcoin or Bitcoin Cash, carried on from run to run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.clients.templated import number_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.connect import BloqConnectBaseOperator, addresses_of

if TYPE_CHECKING:
    from airflow_provider_bloq.clients.connect_history import Cursor

__all__ = ["BloqAddressHistoryOperator"]


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
        from airflow_provider_bloq.clients.bitcoin_addresses import require_address
        from airflow_provider_bloq.clients.connect_history import read_history
        from airflow_provider_bloq.clients.limits import require_whole_number

        with failing_at_once():
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

    def _cursor(self) -> Cursor | None:
        from airflow_provider_bloq.clients.connect_history import Cursor

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
                return Cursor(height, block_hash)
        raise self._no_cursor()

    def _no_cursor(self) -> BloqConfigurationError:
        return BloqConfigurationError.of(
            "cursor",
            "it is none that this operator has returned",
            "Give the result of an earlier run, or its cursor; as text only with the filter tojson.",
            self.task_id,
        )
