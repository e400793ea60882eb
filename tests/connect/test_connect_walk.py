"""A walk through a list that changes meanwhile: each item once, none lost, or an error."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from airflow_provider_bloq.connect.paging import OffsetPages
from airflow_provider_bloq.exceptions import BloqListShifted
from airflow_provider_bloq.flow.effects import Flow, sleep
from tests.support.scripted_bloq import ScriptedBloq


@dataclass(frozen=True)
class StringPage:
    items: tuple[str, ...]
    total: int


class Changing:
    """A list, the newest item first, which others change."""

    def __init__(self, length: int) -> None:
        self.items = [f"old-{number}" for number in range(length)]
        self._made = 0

    def read(self, begin: int, end: int) -> Flow[StringPage]:
        yield from sleep(0)
        return StringPage(tuple(self.items[begin:end]), len(self.items))

    def grow(self, place: int = 0) -> None:
        self._made += 1
        self.items.insert(place, f"new-{self._made}")

    def walk(self, first: int = 0, size: int = 3) -> OffsetPages[str]:
        return OffsetPages(self.read, str, first, size)


def step(walk: OffsetPages[str]) -> list[str]:
    return list(ScriptedBloq().run(walk.next_items()))


def rest(walk: OffsetPages[str]) -> list[str]:
    found: list[str] = []
    while items := step(walk):
        found += items
    return found


@pytest.mark.parametrize("length", range(9))
@pytest.mark.parametrize("size", [2, 3, 50])
def test_all_of_a_list_at_rest_is_given_in_its_order(length: int, size: int) -> None:
    still = Changing(length)
    assert rest(still.walk(size=size)) == still.items
    assert rest(still.walk(first=2, size=size)) == still.items[2:]


def test_what_comes_in_front_is_no_part_of_it_and_shifts_nothing() -> None:
    growing = Changing(8)
    before = list(growing.items)
    walk = growing.walk()
    found = step(walk)
    for _ in range(4):
        growing.grow()
    found += step(walk)
    growing.grow()
    assert found + rest(walk) == before


def test_what_comes_behind_is_given() -> None:
    growing = Changing(6)
    walk = growing.walk()
    found = step(walk)
    growing.grow(4)
    assert found + rest(walk) == growing.items


def test_what_went_is_told() -> None:
    shrinking = Changing(8)
    walk = shrinking.walk()
    step(walk)
    del shrinking.items[0]
    with pytest.raises(BloqListShifted) as shifted:
        rest(walk)
    assert (shifted.value.given, shifted.value.retryable) == (3, True)


def test_an_item_that_goes_from_behind_to_the_front_is_not_lost_unseen() -> None:
    changing = Changing(8)
    walk = changing.walk()
    step(walk)
    changing.items.insert(0, changing.items.pop(6))
    with pytest.raises(BloqListShifted):
        rest(walk)


def test_changes_that_make_up_for_one_another_are_told_where_the_standing_tells_of_them() -> None:
    changing = Changing(8)
    blocks = dict.fromkeys(changing.items, "a")
    walk = OffsetPages(changing.read, str, 0, 3, blocks.get)
    step(walk)
    # A reorg: one that was given is gone, and one that was not comes to stand in front.
    changing.items[0] = changing.items.pop(4)
    blocks |= dict.fromkeys(changing.items[:3], "b")
    changing.items.insert(5, "in its place")
    with pytest.raises(BloqListShifted):
        rest(walk)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_nothing_is_given_twice_and_nothing_that_stayed_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    changing = Changing(chance.randrange(1, 25))
    stayed = set(changing.items)
    walk = changing.walk(size=chance.randrange(2, 6))
    found: list[str] = []
    try:
        while items := step(walk):
            found += items
            for _ in range(chance.randrange(3)):
                match chance.randrange(4):
                    case 0 | 1:
                        changing.grow(chance.randrange(3) if chance.random() < 0.8 else len(changing.items))
                    case 2 if changing.items:
                        stayed.discard(changing.items.pop(chance.randrange(len(changing.items))))
                    case _ if changing.items:
                        item = changing.items.pop(chance.randrange(len(changing.items)))
                        changing.items.insert(chance.randrange(len(changing.items) + 1), item)
    except BloqListShifted:
        return
    assert len(found) == len(set(found))
    assert stayed <= set(found)
