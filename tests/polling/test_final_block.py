"""The poll that all watchers of a chain share: what it asks for, and how long reads are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import Finality
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.queries import ChainFamily
from airflow_provider_bloq.polling.watcher import ChainSnapshot, FinalBlock
from tests.chains.asked import Asked
from tests.clients.conftest import kind, node, open_clients, serve
from tests.clients.scripted_node import StartNode

__all__ = ["kind", "node", "open_clients", "serve"]

Look = Callable[[], ChainSnapshot]


@pytest.fixture
def asked(node: StartNode) -> Asked:
    return Asked(node, 120)


def looking(asked: Asked, **finality: Any) -> Look:
    target = FinalBlock(RpcSubject("node-1"), Finality.of(**finality))
    look = target.poll_function(asked.rpc)

    def once() -> ChainSnapshot:
        sight: ChainSnapshot = asked.run(look(ChainFamily.EVM, frozenset()))
        return sight

    return once


def test_as_long_as_the_head_stays_a_look_is_one_question(asked: Asked) -> None:
    look = looking(asked, confirmations=10)
    assert look().final == asked.evm.blocks[110]
    assert len(asked.evm.methods) == 2
    assert look().final == asked.evm.blocks[110]
    assert len(asked.evm.methods) == 3


def test_a_block_that_the_node_calls_final_is_one_question(asked: Asked) -> None:
    asked.evm.finalized = 100
    look = looking(asked, tag="finalized")
    assert look().final == asked.evm.blocks[100]
    asked.evm.finalized = 101
    assert look().final == asked.evm.blocks[101]
    assert len(asked.evm.methods) == 2


def test_a_chain_that_is_too_short_has_no_final_block(asked: Asked) -> None:
    assert looking(asked, confirmations=200)().final is None


def test_what_was_read_after_one_look_is_read_anew_after_the_next(asked: Asked) -> None:
    look = looking(asked, confirmations=10)
    sight = look()
    before = len(asked.evm.methods)
    assert (
        asked.run(sight.source.headers(3, 5))
        == asked.run(sight.source.headers(3, 5))
        == asked.evm.blocks[3:6]
    )
    assert len(asked.evm.methods) == before + 3
    # The head is the same, and yet what was read then may have been torn by a reorg.
    again = look()
    asked.run(again.source.headers(3, 5))
    assert len(asked.evm.methods) == before + 3 + 1 + 3
