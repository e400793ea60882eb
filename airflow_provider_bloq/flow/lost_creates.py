"""What a create whose answer was lost may have made.

Bloq has no idempotency keys: only the lists before and after the create can tell.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from airflow_provider_bloq.exceptions import BloqApiError, BloqError, BloqUnavailable

__all__ = [
    "Listed",
    "epoch_seconds",
    "may_have_created",
    "may_have_made",
]


class Listed(Protocol):
    """An item of a list, as far as it matters here."""

    @property
    def id(self) -> str:
        """Id of the item."""

    @property
    def created_at(self) -> str | None:
        """When the item was created, as the service writes it; None if it does not say."""


def may_have_created(error: BloqError, create_url: str) -> bool:
    """Return whether the service may have acted on a create that failed with this error.

    :param error: What the create raised. An error with another URL, such as that of a token endpoint, was raised
        before the create was sent.
    :param create_url: The URL of the create.
    """
    if not isinstance(error, BloqApiError) or error.url not in (None, create_url):
        return False
    if isinstance(error, BloqUnavailable):
        return error.acted
    return error.status is not None and error.status < 400


def may_have_made(
    item: Listed, *, known: Collection[str], sent_at: float, settle_seconds: float | None, skew: float
) -> bool:
    """Return whether an item on the list now may be the result of a create without an answer.

    An item without a readable time of creation may be.

    :param item: The item.
    :param known: Ids on the list before the create.
    :param sent_at: When the create was sent, in epoch seconds.
    :param settle_seconds: Seconds after which the service has acted on the create if it ever does; None if unknown.
    :param skew: By how many seconds the clocks involved may differ.
    """
    if item.id in known:
        return False
    created = epoch_seconds(item.created_at)
    if created is None:
        return True
    too_late = settle_seconds is not None and created > sent_at + settle_seconds + skew
    return created >= sent_at - skew and not too_late


def epoch_seconds(moment: str | None) -> float | None:
    """Read an ISO 8601 time; None if it is missing, unreadable or without a time zone."""
    try:
        parsed = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo else None
