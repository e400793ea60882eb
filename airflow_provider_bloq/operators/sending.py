"""Operator that sends a signed transaction of Bitcoin or Bitcoin Cash through Connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator
from airflow_provider_bloq.operators.lineage import chain_dataset, operator_lineage

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_bloq.clients.bitcoin_raw import RawTransaction

__all__ = ["BloqSendTransactionOperator"]

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
        with failing_at_once():
            transaction = self._transaction()
            client = self.hook.connect(self.chain, self.network)
            from airflow_provider_bloq.clients.connect_sending import sent

            done = self.hook.run(sent(client, transaction))
        self.log.info("%s %s", done.txid, "was sent" if done.sent else "was known already")
        return {"txid": done.txid, "sent": done.sent}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was written to; it asks for this by this name."""
        client = self.hook.connect(self.chain, self.network)
        chain = chain_dataset(client.chain, client.network)
        return operator_lineage(outputs=[chain], operations=["send"])

    def _transaction(self) -> RawTransaction:
        from airflow_provider_bloq.clients.bitcoin_raw import RawTransaction

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
