"""Which events of payments are reported, given those already reported and their current state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_bloq.connect.models import Transaction, TxOutput
from airflow_provider_bloq.connect.payments import Payment, PaymentChanged, ReportedPayments, payments_in
from airflow_provider_bloq.exceptions import BloqConfigurationError

pytestmark = pytest.mark.logic


def payment(name: str, height: int | None = None, block: str = "", index: int = 0) -> Payment:
    return Payment(name, index, "ours", 5, height, None if height is None else block or f"block-{height}")


def reported(*payments: Payment, from_height: int = 10) -> ReportedPayments:
    return ReportedPayments(from_height, None, payments)


def transaction(txid: str, height: int | None, *outputs: tuple[int, str]) -> Transaction:
    made = tuple(TxOutput(index, (address,), 5, None, None) for index, address in outputs)
    block = None if height is None else f"block-{height}"
    return Transaction(txid, height, block, 0, None, (), made, False, None, None)


def test_a_new_payment_is_reported_unless_it_is_too_deep() -> None:
    new = [payment("a", 10), payment("b"), payment("b", index=1)]
    assert reported().changes([payment("deep", 9), *new]) == new


def test_a_reported_payment_is_not_reported_again() -> None:
    known = [payment("a", 12), payment("b")]
    assert reported(*known).changes(known) == []


def test_a_payment_in_another_block_is_a_change() -> None:
    for before, after, is_reorg in (
        (payment("a"), payment("a", 12), False),
        (payment("a"), payment("a", 9), False),
        (payment("a", 12), payment("a"), True),
        (payment("a", 12), payment("a", 13), True),
        (payment("a", 12), payment("a", 12, "another"), True),
    ):
        (event,) = reported(before).changes([after])
        assert event == PaymentChanged(before, after)
        assert isinstance(event, PaymentChanged)
        assert event.is_reorg is is_reorg


def test_each_output_of_a_lost_transaction_is_a_change_and_may_return() -> None:
    both = [payment("a", 12), payment("a", 12, index=1)]
    book = reported(*both, payment("b"))
    assert book.missing([payment("b", 13)]) == ["a"]
    gone = book.changes_without("a")
    assert gone == [PaymentChanged(one, None) for one in both]
    for event in gone:
        book.add(event)
    assert len(book) == 1
    assert book.changes(both) == both
    assert book.changes_without("a") == []


def test_final_payments_are_dropped() -> None:
    book = reported(payment("a", 10), payment("b", 11), payment("c"))
    book.drop_below(11, "block-10")
    assert book.missing([]) == ["b", "c"]
    assert (book.from_height, book.parent_hash) == (11, "block-10")
    assert book.changes([payment("a", 10)]) == []


def test_it_is_restored_from_json() -> None:
    book = reported(payment("a", 12), payment("b"))
    book.drop_below(11, "block-10")
    again = ReportedPayments.from_json(json.loads(json.dumps(book.to_json())))
    assert again.to_json() == book.to_json()
    assert again.changes([payment("a", 12), payment("b"), payment("c")]) == [payment("c")]


def test_an_invalid_cursor_is_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"from_height": 1, "parent_hash": None},
        {"from_height": "x", "parent_hash": None, "payments": []},
        {"from_height": 1, "parent_hash": None, "payments": [{}]},
    ]
    for fields in wrong:
        with pytest.raises(BloqConfigurationError, match="cursor"):
            ReportedPayments.from_json(fields)


def test_payments_are_found_once_each_and_oldest_first() -> None:
    listed = [
        transaction("waits-new", None, (0, "ours")),
        transaction("waits", None, (0, "others"), (1, "ours"), (2, "theirs")),
        transaction("late", 12, (0, "ours")),
        transaction("early", 11, (0, "ours")),
        # From the second batch of addresses.
        transaction("waits", 13, (0, "others"), (1, "ours"), (2, "theirs")),
        transaction("earliest", 10, (0, "theirs")),
    ]
    found = [(one.txid, one.index, one.height) for one in payments_in(listed, ["ours", "theirs"])]
    assert found == [
        ("earliest", 0, 10),
        ("early", 0, 11),
        ("late", 0, 12),
        ("waits", 1, 13),
        ("waits", 2, 13),
        ("waits-new", 0, None),
    ]


def test_addresses_of_bitcoin_cash_match_with_and_without_prefix() -> None:
    (found,) = payments_in([transaction("a", 1, (0, "qqaddress"))], ["bitcoincash:qqaddress"])
    assert found.address == "bitcoincash:qqaddress"
