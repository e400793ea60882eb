"""The transactions of many addresses from a block on, whole although the list changes while it is read."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.connect import LARGEST_PART, ConnectApi
from airflow_provider_bloq.clients.connect_models import Transaction
from airflow_provider_bloq.exceptions import BloqListShifted

__all__ = ["transactions_since"]

#: How often a list is read where it changes meanwhile.
_ATTEMPTS = 5


def transactions_since(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    """Read the transactions of addresses in a block and those after it, and those that wait for one; a flow.

    :param api: Connect.
    :param addresses: The addresses; fifty are asked about at once. A transaction that touches several is there
        once for each fifty of them that it touches.
    :param height: Number of the block.
    :return: For each fifty addresses those that wait, then the others, the newest first. There may be a few of
        earlier blocks among the last.
    :raises BloqListShifted: A list changed again and again while it was read.
    """
    found: list[Transaction] = []
    for begin in range(0, len(addresses), LARGEST_PART):
        found += yield from _of_part(api, addresses[begin : begin + LARGEST_PART], height)
    return found


def _of_part(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return (yield from _walked(api, addresses, height))
        except BloqListShifted:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _walked(api: ConnectApi, addresses: Sequence[str], height: int) -> Flow[list[Transaction]]:
    walk = ConnectApi.history.begin(api, addresses)
    found: list[Transaction] = []
    while items := (yield from walk.step()):
        found += items
        # The newest come first, and before them those that wait for a block.
        if all(one.height is not None and one.height < height for one in items):
            break
    return found
