"""Sending a transaction so that it is never reported as failed when it was sent, and never sent in vain again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.bitcoin_raw import RawTransaction
from airflow_provider_bloq.clients.connect import ConnectApi
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqNotFound,
    BloqRateLimited,
    BloqTransactionRefused,
    BloqUnavailable,
)

__all__ = ["Sending", "sent"]

#: What nodes answer where they have the transaction: in the mempool, or in a block with its outputs unspent.
_KNOWN = re.compile(
    r"already[ -](?:in[ -])?(?:the[ -])?(?:mempool|known|block ?chain|utxo)|code:? ?-27\b", re.IGNORECASE
)
#: Refusals that pass: what it spends has not come yet, or fees are high at present.
_PASSES = re.compile(
    r"missing ?inputs|missingorspent|non-(?:BIP68-)?final|mempool (?:full|min fee)|too-long-mempool|code:? ?-25\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sending:
    """What came of sending a transaction.

    :param txid: Its id.
    :param sent: Whether it was sent now; False where it was known already.
    """

    txid: str
    sent: bool


def sent(api: ConnectApi, transaction: RawTransaction) -> Flow[Sending]:
    """Send a transaction unless it is known already; a flow.

    It may be run again whatever came of it the last time: it looks for the transaction first, by the id that its
    bytes have. Where the answer to the sending is lost or speaks against it, it looks once more.

    :param api: Connect.
    :param transaction: The transaction.
    :raises BloqTransactionRefused: The node does not take it. Some such refusals pass: ``retryable`` tells.
    :raises BloqUnavailable: Whether it arrived is not known; run it again.
    """
    if (yield from _is_known(api, transaction.txid)):
        return Sending(transaction.txid, sent=False)
    try:
        named = yield from ConnectApi.send.flow(api, transaction.raw)
    except BloqRateLimited:
        raise
    except BloqUnavailable:
        if (yield from _is_known(api, transaction.txid)):
            return Sending(transaction.txid, sent=True)
        raise
    except BloqApiError as error:
        told = f"{error.code or ''} {error.detail or ''} {error.title or ''}"
        if _KNOWN.search(told) or (yield from _is_known(api, transaction.txid)):
            return Sending(transaction.txid, sent=False)
        raise _refused(error, told, transaction.txid) from None
    if named.lower() != transaction.txid and not (yield from _is_known(api, transaction.txid)):
        raise BloqUnavailable(
            f"Connect says to have sent the transaction {named[:64]}, but {transaction.txid} was given to it."
        )
    return Sending(transaction.txid, sent=True)


def _is_known(api: ConnectApi, txid: str) -> Flow[bool]:
    try:
        yield from ConnectApi.transaction.flow(api, txid)
    except BloqNotFound:
        return False
    return True


def _refused(error: BloqApiError, told: str, txid: str) -> BloqTransactionRefused:
    refusal = BloqTransactionRefused(f"{txid} is not taken: {error}", tx_hash=txid)
    refusal.retryable = _PASSES.search(told) is not None
    return refusal
