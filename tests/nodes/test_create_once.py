"""The record of a create: its time by the service's clock, and that a lost create is reported before it fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqAmbiguousCreate, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.nodes.client import Listing
from airflow_provider_bloq.nodes.create_once import CreateRecord, Creation, NoCreateJournal, PendingCreate

pytestmark = pytest.mark.logic

URL = "http://127.0.0.1:1/users/me/nodes"
ORDER = {"serviceId": "service-1", "authType": "jwt"}


@dataclass
class Api:
    """The service, whose create gets no answer."""

    served_at: float | None
    listing_fails_after: int = 99
    create_url: str = URL
    listings: int = 0

    def listing(self) -> Flow[Listing[Any]]:
        yield from ()
        self.listings += 1
        if self.listings > self.listing_fails_after:
            raise BloqUnavailable("The list cannot be read.", acted=False, method="GET", url=URL)
        return Listing([], self.served_at)

    def post(self, order: dict[str, Any], *, before_each: Callable[[], Flow[None]]) -> Flow[Any]:
        yield from before_each()
        raise BloqUnavailable("No answer.", acted=True, method="POST", url=URL)


@dataclass
class Journal(NoCreateJournal):
    """Keeps every record that is written."""

    records: list[CreateRecord] = field(default_factory=list)

    def write(self, record: CreateRecord) -> Flow[None]:
        yield from ()
        self.records.append(record)


def create(api: Api, now: float) -> list[PendingCreate]:
    """Run a create whose answer is lost, and return the records of it."""
    journal = Journal()
    flow: Generator[Any, Any, Any] = Creation(
        api=api,  # type: ignore[arg-type]
        order=ORDER,
        journal=journal,
        clock=lambda: now,
    ).run()
    with pytest.raises(BloqAmbiguousCreate):
        next(flow)
    assert all(isinstance(record, PendingCreate) for record in journal.records)
    return journal.records  # type: ignore[return-value]


def test_a_create_is_recorded_with_the_time_of_the_service() -> None:
    for served_at, sent_at in ((1_000.0, 1_000.0), (5_000.0, 5_000.0), (None, 2_000.0)):
        assert {record.sent_at for record in create(Api(served_at), now=2_000.0)} == {sent_at}


def test_a_lost_create_is_reported_before_the_task_fails() -> None:
    for fails_after in (99, 1):
        records = create(Api(1_000.0, fails_after), now=1_000.0)
        assert [record.reported for record in records] == [False, True], fails_after
