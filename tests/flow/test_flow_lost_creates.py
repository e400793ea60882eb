"""What a create whose answer was lost may have made: the decisions alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqError,
    BloqNotFound,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.lost_creates import epoch_seconds, may_have_created, may_have_made

pytestmark = pytest.mark.logic

URL = "https://example.com/users/me/nodes"
SENT_AT = 1_000_000.0


@dataclass(frozen=True)
class Item:
    id: str
    created_at: str | None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1970-01-12T13:46:40.000Z", SENT_AT),
        ("1970-01-12T15:46:40+02:00", SENT_AT),
        # Its time zone could be any.
        ("1970-01-12T13:46:40", None),
        ("", None),
        (None, None),
        ("tomorrow", None),
    ],
)
def test_times_of_creation_are_read(written: str | None, read: float | None) -> None:
    assert epoch_seconds(written) == read


@pytest.mark.parametrize(
    ("error", "may_have"),
    [
        (BloqUnavailable("no answer", url=URL), True),
        (BloqUnavailable("no answer"), True),
        (BloqUnavailable("not sent", url=URL, acted=False), False),
        (BloqUnavailable("no answer to the login", url="https://example.com/auth"), False),
        (BloqApiError("odd answer", status=201, url=URL), True),
        (BloqApiError("refused", status=409, url=URL), False),
        (BloqApiError("no status", url=URL), False),
        (BloqNotFound("no such service", status=404, url=URL), False),
        (BloqVaultUnavailable("sealed"), False),
    ],
)
def test_only_an_error_of_the_create_itself_leaves_its_outcome_open(error: BloqError, may_have: bool) -> None:
    assert may_have_created(error, URL) is may_have


def test_an_item_counts_if_it_is_new_and_of_the_right_time() -> None:
    def may_be(item_id: str, created_at: str | None, settle_seconds: float | None = 60.0) -> bool:
        return may_have_made(
            Item(item_id, created_at), known={"old"}, sent_at=SENT_AT, settle_seconds=settle_seconds, skew=5.0
        )

    assert may_be("new", "1970-01-12T13:46:35Z")
    assert may_be("new", "1970-01-12T13:47:45Z")
    assert not may_be("new", "1970-01-12T13:46:34Z")
    assert not may_be("new", "1970-01-12T13:47:46Z")
    assert may_be("new", "1970-01-12T19:00:00Z", settle_seconds=None)
    assert may_be("new", "yesterday")
    assert may_be("new", None)
    assert not may_be("old", None)
