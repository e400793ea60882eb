"""How transactions stand on a Bitcoin chain."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.answers import ask, fields_of, hash_in, number_in, result_of
from airflow_provider_bloq.chains.head import BITCOIN_INFO, Head, bitcoin_head
from airflow_provider_bloq.chains.standing import Mined, Standing, Uses
from airflow_provider_bloq.clients.jsonrpc import RpcApi, RpcCall
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError, BloqUnavailable

__all__ = ["bitcoin_standings"]

#: "No such transaction", with the reason in words only.
_NO_SUCH_TRANSACTION = -5
#: How often a look begins anew since a block came while it was under way.
_TRIES = 3
#: Inputs of one transaction that are remembered; more would make the memory of a large one grow too much.
_INPUTS_KEPT = 20


def bitcoin_standings(rpc: RpcApi, wanted: Mapping[str, Uses]) -> Flow[tuple[Head, dict[str, Standing]]]:
    """Look at many transactions at once.

    :param rpc: A node, which must have an index of transactions (``txindex=1``).
    :param wanted: Their hashes, and what each is known to use from a look before: outputs that it spends.
    :return: The head, and the transactions by their hashes.
    :raises BloqConfigurationError: The node has no such index.
    :raises BloqUnavailable: Blocks come faster than the node can be asked, or its index is not complete.
    """
    for _ in range(_TRIES):
        questions = [RpcCall("getrawtransaction", [tx_hash.removeprefix("0x"), True]) for tx_hash in wanted]
        info, *answers, last = yield from ask(rpc, [BITCOIN_INFO, *questions, RpcCall("getbestblockhash")])
        head = yield from bitcoin_head(rpc, info)
        # Confirmations are counted by the node, heights from them by the head: it must be the same one.
        if result_of(last) == head.hash:
            break
    else:
        raise BloqUnavailable("The node's head changes faster than its transactions can be read.")
    found = {
        tx_hash: _standing(head, uses, answer)
        for (tx_hash, uses), answer in zip(wanted.items(), answers, strict=True)
    }
    lost = {
        tx_hash: standing.uses
        for tx_hash, standing in found.items()
        if standing.mined is None and not standing.pending and standing.uses
    }
    for tx_hash in (yield from _overtaken(rpc, lost)):
        found[tx_hash] = Standing(uses=found[tx_hash].uses, overtaken=True)
    return head, found


def _standing(head: Head, known: Uses, outcome: Any) -> Standing:
    if _is_unknown(outcome):
        return Standing(uses=known)
    transaction = fields_of(outcome, "transaction")
    uses = tuple(_inputs(transaction))
    if transaction.get("blockhash") is None:
        return Standing(pending=True, uses=uses)
    confirmations = number_in(transaction, "confirmations") if "confirmations" in transaction else 0
    if confirmations < 1:
        # The index still finds it in a block that is no longer part of the chain.
        return Standing(uses=uses)
    height = head.height - confirmations + 1
    return Standing(mined=Mined(height, hash_in(transaction, "blockhash"), confirmations), uses=uses)


def _inputs(transaction: dict[str, Any]) -> list[tuple[str, int]]:
    inputs = transaction.get("vin")
    spent = [item for item in inputs if isinstance(item, dict) and "txid" in item] if inputs else []
    return [(hash_in(item, "txid"), number_in(item, "vout")) for item in spent[:_INPUTS_KEPT]]


def _is_unknown(outcome: Any) -> bool:
    if not isinstance(outcome, BloqRpcError) or outcome.code != _NO_SUCH_TRANSACTION:
        return False
    reason = outcome.message.lower()
    if "-txindex" in reason:
        raise BloqConfigurationError.of(
            "node",
            "it keeps no index of transactions, so that it cannot tell of those in blocks",
            "Wait on a node that runs with txindex=1.",
        )
    if "being indexed" in reason:
        raise BloqUnavailable("The node's index of transactions is not complete yet.", acted=False)
    return True


def _overtaken(rpc: RpcApi, lost: Mapping[str, Uses]) -> Flow[set[str]]:
    """Return those of which an output that they would spend was spent by another, in a block."""
    outputs = sorted(set(chain.from_iterable(lost.values())))
    if not outputs:
        return set()
    unspent = [RpcCall("gettxout", [tx_hash, number, False]) for tx_hash, number in outputs]
    origins = [RpcCall("getrawtransaction", [tx_hash, True]) for tx_hash, _ in outputs]
    answers = yield from ask(rpc, [*unspent, *origins])
    spent = {
        output
        for output, left, origin in zip(outputs, answers, answers[len(outputs) :], strict=False)
        # An output that never was in a block is not among the unspent ones either.
        if result_of(left) is None and not _is_unknown(origin) and _is_in_chain(origin)
    }
    return {tx_hash for tx_hash, uses in lost.items() if not spent.isdisjoint(uses)}


def _is_in_chain(outcome: Any) -> bool:
    confirmations = fields_of(outcome, "transaction").get("confirmations")
    return isinstance(confirmations, int) and confirmations > 0
