"""Which pair of client keys a create without an answer has made: a decision on two lists and the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from airflow_provider_bloq.clients.client_keys import KeyListing, ListedKeys

__all__ = ["SKEW", "Claim", "claimed"]

#: How far the clocks of Accounts' machines may be apart, in seconds; its Date header has whole seconds.
SKEW = 5.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What may have come of the create.

    :param own: The pair that it made, beyond doubt; None where it made none, or there is doubt.
    :param candidates: Where there is doubt, every pair that it may have made.
    """

    own: ListedKeys | None = None
    candidates: tuple[ListedKeys, ...] = ()


def claimed(
    listing: KeyListing, *, known: Collection[str], in_vault: str, begun_at: float, patience: float
) -> Claim:
    """Tell which pair a create has made whose answer is not known.

    It is beyond doubt where exactly one pair is new since the list before the create, was created while
    that create can have been under way, and is not what Vault holds: that one was written by somebody who
    knows its secret. A pair whose time of creation cannot be read may be anybody's.

    What this cannot see is a person who makes a pair by hand within these same seconds in which a worker
    dies before its own create has left: theirs is then the only new one.

    :param listing: The account's pairs now.
    :param known: Client IDs of the list before the create.
    :param in_vault: Client ID that Vault holds now.
    :param begun_at: When that list was served, in epoch seconds by Accounts' clock.
    :param patience: Seconds after which the create has surely come to its end.
    """
    candidates = tuple(
        pair
        for pair in listing.keys
        if pair.client_id not in known
        and pair.client_id != in_vault
        and (pair.created is None or begun_at - SKEW <= pair.created <= begun_at + patience + SKEW)
    )
    if len(candidates) == 1 and candidates[0].created is not None:
        return Claim(own=candidates[0])
    return Claim(candidates=candidates)
