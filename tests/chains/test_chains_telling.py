"""What is told of blocks: in which pieces, and what is wanted of logs and transfers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import Finality
from airflow_provider_bloq.chains.event_builders import EVENTS_AT_ONCE, BlockEventBuilder, first_batch
from airflow_provider_bloq.chains.logs import LogFilter
from airflow_provider_bloq.chains.sources import ChainSource
from airflow_provider_bloq.chains.transfers import TransferFilter
from airflow_provider_bloq.exceptions import BloqConfigurationError
from tests.chains.chain_model import ChainModel, ended

pytestmark = pytest.mark.logic

NOWHERE: ChainSource = None  # type: ignore[assignment]
ADDRESS = "0x" + "ab" * 20


def ranges(telling: BlockEventBuilder, first: int, last: int) -> list[tuple[int, int]]:
    headers = ChainModel(last + 1).blocks[first:]
    events = ended(telling.events(NOWHERE, headers))
    return [(event["first"], event["last"]) for event in events]


@pytest.mark.parametrize(
    ("every", "max_range", "passed", "final", "last"),
    [
        (1, 1, 10, 10, None),
        (1, 1, 10, 11, 11),
        (1, 1, 10, 9, None),
        (1, 1, 10, 1_000, 60),
        (1, 100, 10, 1_000, 510),
        (5, 5, 10, 14, None),
        (5, 5, 10, 15, 15),
        (5, 5, 12, 15, 15),
        (5, 5, 10, 29, 25),
        (1_000, 1_000, 10, 999, None),
        (1_000, 1_000, 10, 2_500, 1_000),
        (1_000, 1_000, 1_000, 2_500, 2_000),
    ],
)
def test_blocks_are_told_of_up_to(
    every: int, max_range: int, passed: int, final: int, last: int | None
) -> None:
    assert BlockEventBuilder(every, max_range).last_height(passed, final) == last


@pytest.mark.parametrize(
    ("every", "max_range", "told"),
    [
        (1, 1, [(7, 7), (8, 8), (9, 9), (10, 10), (11, 11), (12, 12)]),
        (1, 5, [(7, 10), (11, 12)]),
        (1, 100, [(7, 12)]),
        (3, 3, [(7, 9), (10, 12)]),
        (3, 8, [(7, 12)]),
    ],
)
def test_ranges_end_at_the_same_heights_wherever_they_begin(
    every: int, max_range: int, told: list[tuple[int, int]]
) -> None:
    assert ranges(BlockEventBuilder(every, max_range), 7, 12) == told


def test_no_more_events_are_told_at_once_than_can_be_repeated() -> None:
    headers = ChainModel(200).blocks[1:]
    events = [{"height": height} for height in range(1, 200)]
    told, some = first_batch(headers, events)
    assert told == headers[:EVENTS_AT_ONCE]
    assert some == events[:EVENTS_AT_ONCE]
    assert first_batch(headers, events[:EVENTS_AT_ONCE]) == (headers, events[:EVENTS_AT_ONCE])


def test_a_block_is_told_of_as_a_whole() -> None:
    headers = ChainModel(20).blocks[1:]
    parts = [{"height": 3}, *[{"height": 8}] * 60, {"height": 9}]
    told, some = first_batch(headers, parts)
    assert (told, some) == (headers[:3], parts[:1])
    told, some = first_batch(headers[3:], parts[1:])
    assert (told, some) == (headers[3:8], parts[1:61])


def test_a_filter_of_logs_is_brought_into_one_form() -> None:
    topic = "0x" + "AB" * 32
    wanted = LogFilter.of(ADDRESS.upper().replace("X", "x"), [topic, None, [topic, "0x" + "00" * 32]])
    assert wanted.to_json() == {
        "address": [ADDRESS],
        "topics": [[topic.lower()], None, ["0x" + "00" * 32, topic.lower()]],
    }
    assert LogFilter.of(wanted.addresses, wanted.to_json()["topics"]) == wanted
    assert LogFilter.of().to_json() == {"topics": []}


@pytest.mark.parametrize(
    ("addresses", "topics", "field"),
    [
        ("0x12", (), "address"),
        ([5], (), "address"),
        ((), "0xab", "topics"),
        ((), ["0xab"], "topics"),
        ((), [7], "topics"),
        ((), [None] * 5, "topics"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(addresses: Any, topics: Any, field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        LogFilter.of(addresses, topics)
    assert wrong.value.fields == (field,)


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (ADDRESS.upper().replace("X", "x"), ADDRESS),
        ("BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
        ("1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"),
    ],
)
def test_addresses_are_written_as_nodes_write_them(address: str, written: str) -> None:
    assert TransferFilter.of(address).addresses == {written}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"addresses": []}, "addresses"),
        ({"addresses": [None]}, "addresses"),
        ({"addresses": "two words"}, "addresses"),
        ({"addresses": "0x12"}, "addresses"),
        ({"addresses": ADDRESS, "direction": "in"}, "direction"),
        ({"addresses": ADDRESS, "tokens": ["0x12"]}, "tokens"),
        ({"addresses": ADDRESS, "native": False, "tokens": []}, "native"),
    ],
)
def test_a_wish_for_transfers_that_cannot_be_is_refused(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        TransferFilter.of(**arguments)
    assert wrong.value.fields == (field,)


def test_finality_is_a_number_of_confirmations_where_the_head_has_one() -> None:
    assert Finality.of() == Finality(confirmations=12)
    assert Finality.of(1).height_below(10) == 10
    assert Finality.of(3).height_below(10) == 8


@pytest.mark.parametrize(
    ("confirmations", "tag", "field"),
    [(0, None, "confirmations"), (3, "safe", "finality"), (None, "latest", "finality")],
)
def test_a_finality_that_cannot_be_is_refused(confirmations: int | None, tag: str | None, field: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        Finality.of(confirmations, tag)
    assert wrong.value.fields == (field,)
