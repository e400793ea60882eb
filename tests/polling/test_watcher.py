"""A watcher whose chain or state store fails: it pauses after each failure, and longer after each further one."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from airflow_provider_bloq.chains.blocks import BlockHeader
from airflow_provider_bloq.chains.event_builders import BlockEventBuilder
from airflow_provider_bloq.chains.sources import ChainSource
from airflow_provider_bloq.exceptions import BloqNotFound, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.polling import shared_polls
from airflow_provider_bloq.polling.conditions import PollFunction, Reader, Target
from airflow_provider_bloq.polling.watcher import ChainSnapshot, CheckpointStore, Watcher, WatcherSettings
from airflow_provider_bloq.rpc.client import RpcApi
from tests.polling.test_shared_polls import World
from tests.support.drivers import awaiting_driver
from tests.support.virtual_time import in_virtual_time

pytestmark = pytest.mark.logic


def block(height: int) -> BlockHeader:
    return BlockHeader(height, f"hash-{height}", f"hash-{height - 1}", 1_750_000_000 + height)


@dataclass
class Chain:
    """A chain that gets a final block with each poll. Polls and reads fail by their numbers."""

    failed_polls: dict[int, Exception] = field(default_factory=dict)
    failed_reads: set[int] = field(default_factory=set)
    polls: int = 0
    reads: int = 0

    def poll(self) -> Flow[ChainSnapshot]:
        yield from ()
        self.polls += 1
        if self.polls in self.failed_polls:
            raise self.failed_polls[self.polls]
        client = cast("RpcApi", awaiting_driver())
        return ChainSnapshot(block(self.polls), client, cast("ChainSource", self))

    def headers(self, first: int, last: int) -> Flow[Sequence[BlockHeader]]:
        yield from ()
        self.reads += 1
        if self.reads in self.failed_reads:
            raise BloqUnavailable("away")
        return [block(height) for height in range(first, last + 1)]


@dataclass(frozen=True, eq=False)
class ScriptedTarget(Target):
    chain: Chain

    def poll_with(self, reader: Reader) -> PollFunction:
        def poll_once(_: frozenset[Hashable]) -> Flow[Any]:
            return self.chain.poll()

        return poll_once


@dataclass
class AssetState:
    """The state store of an asset, which fails a number of times."""

    failures: int = 0
    value: Any = None

    def _answer(self) -> None:
        if self.failures:
            self.failures -= 1
            raise BloqUnavailable("locked")

    async def aget(self, key: str, default: Any = None) -> Any:
        self._answer()
        return self.value

    async def aset(self, key: str, value: Any) -> None:
        self._answer()
        self.value = value


def watched(chain: Chain, state: AssetState, last: int) -> tuple[list[int], list[float]]:
    """Watch until a block has been reported; return the reported heights, and the watcher's pauses."""
    heights: list[int] = []
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    async def main() -> None:
        shared_polls._by_loop[asyncio.get_running_loop()] = shared_polls.Polls(World().open)
        settings = WatcherSettings(
            "bloq_default", ScriptedTarget(chain), BlockEventBuilder.of(max_range=1), start=1, interval=10.0
        )
        watcher = Watcher(settings, CheckpointStore(state, "key"), sleep=note)
        async with aclosing(watcher.batches()) as batches:
            async for events in batches:
                heights.extend(event["first"] for event in events)
                if heights[-1] >= last:
                    break

    in_virtual_time(main)
    return heights, pauses


def are_backoffs(pauses: list[float], failures: list[int]) -> bool:
    """Return whether pauses are those after so many consecutive failures."""
    longest = [2.0 ** (count - 1) for count in failures]
    return len(pauses) == len(longest) and all(
        most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True)
    )


def test_it_pauses_after_each_failure_of_the_state_store() -> None:
    heights, pauses = watched(Chain(), AssetState(failures=3), last=2)
    assert heights == [1, 2]
    assert are_backoffs(pauses, [1, 2, 3])


def test_pauses_after_failed_reads_begin_anew_after_a_successful_one() -> None:
    heights, pauses = watched(Chain(failed_reads={1, 2, 4}), AssetState(), last=5)
    assert heights == [1, 2, 3, 4, 5]
    assert are_backoffs(pauses, [1, 2, 1])


def test_pauses_after_failed_polls_begin_anew_after_a_successful_one() -> None:
    # A transient failure is not in the list: after that the poll itself pauses.
    failed = {
        1: BloqNotFound("gone"),
        2: BloqNotFound("gone"),
        4: BloqUnavailable("away"),
        6: BloqNotFound("gone"),
    }
    heights, pauses = watched(Chain(failed_polls=cast("dict[int, Exception]", failed)), AssetState(), last=7)
    assert heights == list(range(1, 8))
    assert are_backoffs(pauses, [1, 2, 1])
