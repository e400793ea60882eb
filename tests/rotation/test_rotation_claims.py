"""Which pair a create without an answer has made: the decision alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_bloq.accounts.client import KeyListing, ListedKeys
from airflow_provider_bloq.accounts.rotation import SKEW, Attribution, attribute_key

BEGUN = 1_000_000.0
SETTLE_SECONDS = 60.0


def pair(client_id: str, after: float | None = 1.0) -> ListedKeys:
    """A pair that was created some seconds after the list before."""
    if after is None:
        return ListedKeys(client_id, "yesterday")
    moment = datetime.fromtimestamp(BEGUN + after, UTC).isoformat(timespec="milliseconds")
    return ListedKeys(client_id, moment.replace("+00:00", "Z"))


def judged(*pairs: ListedKeys, in_vault: str = "old") -> Attribution:
    return attribute_key(
        KeyListing(pairs),
        known={"old", "other"},
        in_vault=in_vault,
        begun_at=BEGUN,
        settle_seconds=SETTLE_SECONDS,
    )


def test_with_nothing_new_there_is_nothing_to_claim() -> None:
    assert judged(pair("old"), pair("other")) == Attribution()


def test_a_lone_new_pair_is_own() -> None:
    assert judged(pair("old"), pair("new")) == Attribution(own=pair("new"))


def test_two_new_pairs_are_both_in_question() -> None:
    assert judged(pair("a"), pair("b")) == Attribution(candidates=(pair("a"), pair("b")))


def test_what_vault_holds_is_never_own() -> None:
    assert judged(pair("new"), in_vault="new") == Attribution()
    assert judged(pair("new"), pair("b"), in_vault="new") == Attribution(own=pair("b"))


@pytest.mark.parametrize(
    ("after", "is_own"),
    [
        (-SKEW - 0.001, False),
        (-SKEW, True),
        (0.0, True),
        (SETTLE_SECONDS + SKEW, True),
        (SETTLE_SECONDS + SKEW + 0.001, False),
    ],
)
def test_a_pair_of_another_time_is_somebody_elses(after: float, is_own: bool) -> None:
    found = judged(pair("new", after))
    assert found == (Attribution(own=pair("new", after)) if is_own else Attribution())


def test_a_pair_of_unknown_time_is_in_question() -> None:
    assert judged(pair("new", None)) == Attribution(candidates=(pair("new", None),))
    assert judged(pair("a"), pair("b", None)).own is None
