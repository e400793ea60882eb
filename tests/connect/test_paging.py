"""Pagination of a list that changes while it is read: each item once, none missed, or an error."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice

import pytest

from airflow_provider_bloq.connect.client import ConnectClient
from airflow_provider_bloq.connect.paging import OffsetPages
from airflow_provider_bloq.exceptions import BloqListShifted
from airflow_provider_bloq.flow.effects import Flow, sleep
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import address_of, fresh_payment
from tests.support.scripted_bloq import ScriptedBloq


@dataclass(frozen=True)
class TextPage:
    items: tuple[str, ...]
    total: int


class ChangingList:
    """A list with its newest item first, which others change."""

    def __init__(self, length: int) -> None:
        self.items = [f"old-{number}" for number in range(length)]
        self._added = 0

    def read(self, begin: int, end: int) -> Flow[TextPage]:
        yield from sleep(0)
        return TextPage(tuple(self.items[begin:end]), len(self.items))

    def add(self, index: int = 0) -> None:
        self._added += 1
        self.items.insert(index, f"new-{self._added}")

    def pages(self, first: int = 0, size: int = 3) -> OffsetPages[str]:
        return OffsetPages(self.read, str, first, size)


def next_items(pages: OffsetPages[str]) -> list[str]:
    return list(ScriptedBloq().run(pages.next_items()))


def rest(pages: OffsetPages[str]) -> list[str]:
    found: list[str] = []
    while items := next_items(pages):
        found += items
    return found


def test_an_unchanged_list_is_returned_in_order() -> None:
    for length in range(9):
        for size in (2, 3, 50):
            unchanged = ChangingList(length)
            assert rest(unchanged.pages(size=size)) == unchanged.items
            assert rest(unchanged.pages(first=2, size=size)) == unchanged.items[2:]


def test_items_added_at_the_front_are_not_returned() -> None:
    growing = ChangingList(8)
    before = list(growing.items)
    pages = growing.pages()
    found = next_items(pages)
    for _ in range(4):
        growing.add()
    found += next_items(pages)
    growing.add()
    assert found + rest(pages) == before


def test_items_added_behind_are_returned() -> None:
    growing = ChangingList(6)
    pages = growing.pages()
    found = next_items(pages)
    growing.add(4)
    assert found + rest(pages) == growing.items


def test_a_removed_item_is_an_error() -> None:
    shrinking = ChangingList(8)
    pages = shrinking.pages()
    next_items(pages)
    del shrinking.items[0]
    with pytest.raises(BloqListShifted) as shifted:
        rest(pages)
    assert (shifted.value.given, shifted.value.retryable) == (3, True)


def test_an_item_that_moves_from_behind_to_the_front_is_an_error() -> None:
    changing = ChangingList(8)
    pages = changing.pages()
    next_items(pages)
    changing.items.insert(0, changing.items.pop(6))
    with pytest.raises(BloqListShifted):
        rest(pages)


def test_changes_that_cancel_each_other_out_are_found_by_the_version() -> None:
    changing = ChangingList(8)
    blocks = dict.fromkeys(changing.items, "a")
    pages = OffsetPages(changing.read, str, 0, 3, blocks.get)
    next_items(pages)
    # A reorg: an item that was returned is gone, and one that was not is now at the front.
    changing.items[0] = changing.items.pop(4)
    blocks |= dict.fromkeys(changing.items[:3], "b")
    changing.items.insert(5, "in its place")
    with pytest.raises(BloqListShifted):
        rest(pages)


def test_random_changes_never_repeat_or_lose_an_item() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        changing = ChangingList(chance.randrange(1, 25))
        kept = set(changing.items)
        pages = changing.pages(size=chance.randrange(2, 6))
        found: list[str] = []
        try:
            while items := next_items(pages):
                found += items
                for _ in range(chance.randrange(3)):
                    change_randomly(changing, kept, chance)
        except BloqListShifted:
            continue
        assert len(found) == len(set(found)), seed
        assert kept <= set(found), seed


def change_randomly(changing: ChangingList, kept: set[str], chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 | 1:
            changing.add(chance.randrange(3) if chance.random() < 0.8 else len(changing.items))
        case 2 if changing.items:
            kept.discard(changing.items.pop(chance.randrange(len(changing.items))))
        case _ if changing.items:
            item = changing.items.pop(chance.randrange(len(changing.items)))
            changing.items.insert(chance.randrange(len(changing.items) + 1), item)


@pytest.fixture
def client(bloq: LocalBloq) -> ConnectClient:
    return BloqHook().connect("btc")


@pytest.fixture
def address(bitcoin: Bitcoind) -> str:
    """An address with a payment in each of at least six blocks."""
    payments = [fresh_payment(bitcoin) for _ in range(6)]
    for payment in payments:
        bitcoin.mine_only(payment)
    return address_of(bitcoin, payments[0])


@pytest.mark.bitcoind
def test_payments_that_arrive_meanwhile_are_not_returned(
    client: ConnectClient, bitcoin: Bitcoind, address: str
) -> None:
    whole = [one.txid for one in client.history(address)]
    history = client.history(address, size=3)
    read = [one.txid for one in islice(history, 3)]
    bitcoin.mine_only(fresh_payment(bitcoin), fresh_payment(bitcoin))
    bitcoin.send(fresh_payment(bitcoin))
    assert read + [one.txid for one in history] == whole


@pytest.mark.bitcoind
def test_a_reorg_that_removes_what_was_read_is_an_error(
    client: ConnectClient, bitcoin: Bitcoind, address: str
) -> None:
    source = bitcoin.coin()
    bitcoin.mine_only(pay([source], fee=2_000))
    history = client.history(address, size=2)
    assert len(list(islice(history, 2))) == 2
    bitcoin.fork(3)
    # What was read first can never return: another payment spends its coin.
    bitcoin.mine_only(pay([source], fee=3_000))
    with pytest.raises(BloqListShifted) as shifted:
        list(history)
    assert (shifted.value.retryable, shifted.value.given) == (True, 2)
