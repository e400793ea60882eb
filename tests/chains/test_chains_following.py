"""Following a chain: each final block once, in order, and a word of every one that was replaced."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_bloq.chains.cursor import WINDOW, Advance, ChainCursor, Reorg, next_step
from tests.chains.chain_model import ChainModel, Follower, ended

pytestmark = pytest.mark.logic


def step(
    chain: ChainModel, cursor: ChainCursor, *, confirmations: int = 1, last: int | None = None
) -> Advance | Reorg | None:
    final = chain.final(confirmations)
    return ended(next_step(chain.read, cursor, final, final.height if last is None else last))


def followed(chain: ChainModel, start: int = 1) -> ChainCursor:
    """Return the cursor of somebody who has followed the chain to its head."""
    found = step(chain, ChainCursor.before(start))
    assert isinstance(found, Advance)
    return found.cursor


def test_new_blocks_come_in_order_and_the_cursor_is_after_them() -> None:
    chain = ChainModel(5)
    cursor = ChainCursor.after(chain.blocks[2])
    found = step(chain, cursor)
    assert found == Advance(tuple(chain.blocks[3:]), cursor.past(chain.blocks[3:]))
    assert found.cursor.height == 4
    assert found.cursor.hash_at(2) == chain.blocks[2].hash
    assert step(chain, found.cursor) is None


def test_nothing_comes_of_blocks_that_are_not_final() -> None:
    chain = ChainModel(5)
    cursor = ChainCursor.after(chain.blocks[2])
    assert step(chain, cursor, confirmations=3) is None
    found = step(chain, cursor, confirmations=2)
    assert isinstance(found, Advance)
    assert [header.height for header in found.headers] == [3]


def test_no_more_comes_than_is_wanted() -> None:
    chain = ChainModel(10)
    found = step(chain, ChainCursor.after(chain.blocks[2]), last=5)
    assert isinstance(found, Advance)
    assert [header.height for header in found.headers] == [3, 4, 5]


def test_the_first_block_can_be_the_genesis_block() -> None:
    chain = ChainModel(3)
    found = step(chain, ChainCursor.before(0))
    assert isinstance(found, Advance)
    assert [header.height for header in found.headers] == [0, 1, 2]


@pytest.mark.parametrize("depth", [1, 2, WINDOW - 1])
@pytest.mark.parametrize("longer", [0, 1, 5])
def test_a_reorg_names_exactly_the_replaced_blocks(depth: int, longer: int) -> None:
    chain = ChainModel(100)
    cursor = followed(chain)
    chain.reorg(depth, depth + longer)
    found = step(chain, cursor)
    assert isinstance(found, Reorg)
    assert (found.first, found.last, found.is_complete) == (100 - depth, 99, True)
    new = step(chain, found.cursor)
    assert isinstance(new, Advance)
    assert new.headers == tuple(chain.blocks[100 - depth :])


def test_a_shorter_branch_is_noticed_as_soon_as_it_contradicts() -> None:
    chain = ChainModel(100)
    cursor = followed(chain)
    chain.reorg(10, 4)
    found = step(chain, cursor)
    assert isinstance(found, Reorg)
    assert (found.first, found.last) == (90, 99)


def test_a_node_that_lags_behind_contradicts_nothing() -> None:
    chain = ChainModel(100)
    cursor = followed(chain)
    del chain.blocks[80:]
    assert step(chain, cursor) is None


def test_a_fork_below_all_that_is_remembered_is_said_to_be_incomplete() -> None:
    chain = ChainModel(200)
    cursor = followed(chain)
    chain.reorg(150, 151)
    found = step(chain, cursor)
    assert isinstance(found, Reorg)
    assert (found.first, found.last, found.is_complete) == (200 - WINDOW, 199, False)
    new = step(chain, found.cursor)
    assert isinstance(new, Advance)
    assert new.headers == tuple(chain.blocks[200 - WINDOW :])


def test_a_reorg_reaches_no_further_than_what_was_told() -> None:
    chain = ChainModel(50)
    cursor = followed(chain, start=40)
    chain.reorg(20, 21)
    found = step(chain, cursor)
    assert isinstance(found, Reorg)
    assert (found.first, found.last, found.is_complete) == (40, 49, True)
    new = step(chain, found.cursor)
    assert isinstance(new, Advance)
    assert new.headers == tuple(chain.blocks[40:])


def test_of_a_replaced_block_that_nobody_was_told_of_nothing_is_said() -> None:
    chain = ChainModel(50)
    cursor = ChainCursor.after(chain.blocks[-1])
    chain.reorg(3, 5)
    found = step(chain, cursor)
    assert isinstance(found, Advance)
    assert found.headers == ()
    new = step(chain, found.cursor)
    assert isinstance(new, Advance)
    assert new.headers == tuple(chain.blocks[50:])


def test_a_reorg_between_two_readings_is_looked_at_again() -> None:
    chain = ChainModel(10)
    cursor = ChainCursor.after(chain.blocks[2])
    final = chain.final(1)
    chain.reorg(3, 4)
    assert ended(next_step(chain.read, cursor, final, 9)) is None
    found = step(chain, cursor)
    assert isinstance(found, Advance)
    assert found.headers == tuple(chain.blocks[3:])


def test_headers_of_two_branches_are_not_taken_for_one() -> None:
    chain, other = ChainModel(10), ChainModel(10)
    other.reorg(8, 8)

    def torn(first: int, last: int):  # type: ignore[no-untyped-def]
        yield from ()
        middle = (first + last) // 2
        return chain.blocks[first:middle] + other.blocks[middle : last + 1]

    assert ended(next_step(torn, ChainCursor.after(chain.blocks[2]), chain.final(1), 8)) is None


def test_a_cursor_survives_json_and_stays_small() -> None:
    chain = ChainModel(1_000)
    cursor = followed(chain)
    assert len(cursor.hashes) == WINDOW
    assert ChainCursor.from_json(json.loads(json.dumps(cursor.to_json()))) == cursor
    real = ChainCursor(0, 999, tuple(f"0x{number:064x}" for number in range(WINDOW)))
    assert len(json.dumps(real.to_json())) < 5_000


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), confirmations=st.integers(1, 6), start=st.integers(0, 8))
def test_whatever_the_chain_does_a_follower_has_it_right(seed: int, confirmations: int, start: int) -> None:
    dice = random.Random(seed)
    chain = ChainModel(10)
    cursor, follower = ChainCursor.before(start), Follower(start - 1)
    for _ in range(40):
        if dice.random() < 0.3:
            depth = dice.randint(1, min(len(chain.blocks) - 1, 10))
            chain.reorg(depth, dice.randint(max(1, depth - 2), depth + 3))
        else:
            chain.mine(dice.randint(1, 5))
        # Some looks are missed, and some end before all is read.
        for _ in range(dice.randint(0, 3)):
            final = chain.final(confirmations)
            found = ended(next_step(chain.read, cursor, final, min(final.height, cursor.height + 7)))
            cursor = told(found, follower, cursor)
            cursor = ChainCursor.from_json(json.loads(json.dumps(cursor.to_json())))
    chain.mine(WINDOW)
    final = chain.final(confirmations)
    for _ in range(WINDOW):
        cursor = told(ended(next_step(chain.read, cursor, final, final.height)), follower, cursor)
    assert follower.blocks == chain.blocks[start : final.height + 1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), confirmations=st.integers(2, 8))
def test_reorgs_that_are_not_deeper_than_finality_go_unnoticed(seed: int, confirmations: int) -> None:
    dice = random.Random(seed)
    chain = ChainModel(10)
    cursor, follower = ChainCursor.before(1), Follower(0)
    for _ in range(60):
        if dice.random() < 0.4:
            depth = dice.randint(1, confirmations - 1)
            chain.reorg(depth, depth + dice.randint(0, 2))
        else:
            chain.mine(dice.randint(1, 3))
        final = chain.final(confirmations)
        found = ended(next_step(chain.read, cursor, final, final.height))
        assert not isinstance(found, Reorg)
        cursor = told(found, follower, cursor)
    assert follower.blocks == chain.blocks[1 : chain.final(confirmations).height + 1]
    assert set(Counter(follower.told).values()) == {1}


def told(found: Advance | Reorg | None, follower: Follower, cursor: ChainCursor) -> ChainCursor:
    match found:
        case Reorg(first=first, last=last):
            assert found.is_complete
            follower.undo(first, last)
            return found.cursor
        case Advance(headers=headers):
            follower.add(headers)
            return found.cursor
    return cursor
