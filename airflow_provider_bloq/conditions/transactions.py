"""Conditions on a transaction: it is in the chain, so deep that it will stay there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.chains.families import Family
from airflow_provider_bloq.chains.standing import Mined, Standings, Uses
from airflow_provider_bloq.chains.transactions import read_standings
from airflow_provider_bloq.clients.jsonrpc import RpcApi
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.conditions.condition import (
    Condition,
    Failed,
    Memory,
    Met,
    Target,
    Verdict,
    Waiting,
)
from airflow_provider_bloq.conditions.rpc_subject import Look, RpcSubject, SubjectTarget
from airflow_provider_bloq.conditions.transaction_past import Past
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqTransactionReverted,
)

__all__ = ["TransactionConfirmed", "TransactionInterest", "Transactions"]

_HASH = re.compile(r"(?:0x)?[0-9a-f]{64}")
_HASH_BITS = 256


@dataclass(frozen=True, slots=True)
class TransactionInterest:
    """A transaction that a look must ask for.

    :param tx_hash: Its hash.
    :param uses: What it uses, where that is known from a look before.
    """

    tx_hash: str
    uses: Uses = ()


@dataclass(frozen=True, slots=True)
class Transactions(SubjectTarget):
    """The transactions that are waited for, as the subject knows them; seen as :class:`Standings`.

    It remembers from one look to the next what each of them uses: of one that is gone, the node cannot be
    asked that any more.

    :param clock: Tells the seconds since the epoch.
    """

    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def looking_by(self, rpc: RpcApi) -> Look:
        """See :meth:`SubjectTarget.looking_by`."""
        known: dict[str, Uses] = {}

        def look(family: Family, interests: frozenset[Hashable]) -> Flow[Standings]:
            wanted = _wanted(interests, known)
            standings = yield from read_standings(rpc, family, wanted, clock=self.clock)
            known.clear()
            known.update({tx_hash: standing.uses for tx_hash, standing in standings.of.items()})
            return standings

        return look


@dataclass(frozen=True, slots=True)
class TransactionConfirmed(Condition):
    """A transaction is in the chain with so many confirmations.

    It has one when its block is the head, two when one more block was built on that. Until it has as many as
    wanted, a reorg that takes it out of the chain again only means to wait on.

    What ends the wait otherwise, each after as many confirmations, too:

    - It failed when it was executed: ``BloqTransactionReverted`` (EVM).
    - Another transaction used its nonce or an input of it: ``BloqTransactionReplaced``. To tell this the
      transaction must have been seen once, pending or in a block.
    - The node does not know it, neither in the chain nor pending, for ``unseen_for`` seconds on end, whether it
      has been seen before or never: ``BloqTransactionDropped``. So the wait may begin before the transaction
      is sent.

    Bitcoin's nodes must have an index of transactions (``txindex=1``) for this. The members of a cluster may lag
    behind each other by a block: there, wait for two confirmations or more.

    :param subject: A node or cluster of the chain.
    :param tx_hash: The transaction's hash, in hex; or as a number, which a DAG that renders templates as native
        objects makes of ``0x…``.
    :param confirmations: How many, at least 1.
    :param unseen_for: Seconds that the node may not know it.
    :raises BloqConfigurationError: One of these cannot be.
    """

    kind: ClassVar[str] = "transaction_confirmed"

    subject: RpcSubject
    tx_hash: str
    confirmations: int = 1
    unseen_for: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tx_hash", _hash_of(self.tx_hash))
        require_whole_number("confirmations", self.confirmations, least=1)
        seconds = self.unseen_for
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
            raise BloqConfigurationError.of(
                "unseen_for", f"{seconds!r} does not fit", "Use a number of seconds, 0 or more."
            )

    @property
    def target(self) -> Target:
        """See :attr:`Condition.target`."""
        return Transactions(self.subject)

    @property
    def interest(self) -> TransactionInterest:
        """See :attr:`Condition.interest`."""
        return self.interest_after(None)

    def interest_after(self, memory: Memory | None) -> TransactionInterest:
        """See :meth:`Condition.interest_after`."""
        return TransactionInterest(self.tx_hash.strip().lower(), Past.from_json(memory).uses)

    def judge(self, seen: Standings, memory: Memory | None) -> Verdict:
        """See :meth:`Condition.judge`; the result tells hash, height, block hash and confirmations."""
        standing = seen.of.get(self.interest.tx_hash)
        if standing is None:
            return Waiting("it has not been looked for yet", memory)
        past = Past.from_json(memory).with_uses(standing.uses)
        if standing.mined is not None:
            return self._in_chain(standing.mined, past)
        if standing.overtaken:
            return self._overtaken(seen.head.height, past)
        past = replace(past, overtaken_at=None)
        if standing.pending:
            return self._pending(past)
        return self._unknown(seen.observed_at, past)

    def _in_chain(self, mined: Mined, past: Past) -> Verdict:
        if mined.confirmations < self.confirmations:
            return Waiting(
                f"{self.tx_hash} has {mined.confirmations} of {self.confirmations} confirmations",
                past.seen_in(mined.height).to_json(),
            )
        if mined.reverted:
            return Failed(
                BloqTransactionReverted(
                    f"{self.tx_hash} is in block {mined.height}, but was reverted: it had no effect but its fee.",
                    tx_hash=self.tx_hash,
                    height=mined.height,
                    block_hash=mined.block_hash,
                )
            )
        return Met(
            {
                "tx_hash": self.tx_hash,
                "height": mined.height,
                "block_hash": mined.block_hash,
                "confirmations": mined.confirmations,
            }
        )

    def _overtaken(self, height: int, past: Past) -> Verdict:
        # Never at the first such look: this transaction may be what came between its questions.
        if past.overtaken_at is None:
            past = replace(past, overtaken_at=height)
        elif height - past.overtaken_at + 1 >= self.confirmations:
            return Failed(
                BloqTransactionReplaced(
                    f"Another transaction came into the chain in the place of {self.tx_hash}: {past.how_used()}.",
                    tx_hash=self.tx_hash,
                )
            )
        return Waiting(
            f"another transaction came in the place of {self.tx_hash}; a reorg may undo it", past.to_json()
        )

    def _pending(self, past: Past) -> Verdict:
        past = replace(past, unknown_since=None)
        return Waiting(f"{self.tx_hash} is pending{past.after_reorg()}", past.to_json())

    def _unknown(self, now: float, past: Past) -> Verdict:
        since = past.unknown_since if past.unknown_since is not None else now
        if now - since >= self.unseen_for:
            what = "is not known any more" if past.was_seen else "has never been known"
            return Failed(
                BloqTransactionDropped(
                    f"{self.tx_hash} {what} to the node, for {now - since:.0f} seconds.",
                    tx_hash=self.tx_hash,
                )
            )
        reason = f"{self.tx_hash} is not known to the node{past.after_reorg()}"
        return Waiting(reason, replace(past, unknown_since=since).to_json())


def _hash_of(given: object) -> str:
    if isinstance(given, int):
        if not isinstance(given, bool) and 0 <= given < 1 << _HASH_BITS:
            return f"0x{given:064x}"
        # Python refuses to write very large numbers in decimal.
        told = "a number like that"
    else:
        if isinstance(given, str) and _HASH.fullmatch(given.strip().lower()):
            return given
        told = repr(str(given)[:80])
    raise BloqConfigurationError.of("tx_hash", f"{told} is no hash of a transaction", "Give 32 bytes in hex.")


def _wanted(interests: frozenset[Hashable], known: dict[str, Uses]) -> dict[str, Uses]:
    wanted: dict[str, Uses] = {}
    for interest in interests:
        if isinstance(interest, TransactionInterest):
            told = wanted.get(interest.tx_hash) or interest.uses
            wanted[interest.tx_hash] = told or known.get(interest.tx_hash, ())
    return dict(sorted(wanted.items()))
