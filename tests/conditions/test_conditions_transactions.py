"""The decision on a transaction, by what was seen and what is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_bloq.chains.blocks import Head
from airflow_provider_bloq.chains.conditions import RpcSubject
from airflow_provider_bloq.chains.transactions import (
    Mined,
    TransactionConfirmed,
    TransactionInterest,
    TransactionStatus,
    TransactionStatuses,
)
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqTransactionDropped,
    BloqTransactionReplaced,
    BloqTransactionReverted,
)
from airflow_provider_bloq.polling.conditions import Waiting
from tests.conditions.looking import failure_of, reason_of, result_of

pytestmark = pytest.mark.logic

HASH = f"0x{'ab' * 32}"
SUBJECT = RpcSubject("node-1", family="evm")
INPUTS = (("0xsender", 7),)
NOW = 1000.0


def mined(confirmations: int, *, reverted: bool = False) -> TransactionStatus:
    return TransactionStatus(mined=Mined(100, f"0x{'cd' * 32}", confirmations, reverted), inputs=INPUTS)


def seen(status: TransactionStatus, *, height: int = 100, now: float = NOW) -> TransactionStatuses:
    return TransactionStatuses(now, Head(height, f"0x{'ef' * 32}", 0.0), {HASH: status})


def memory(**past: Any) -> dict[str, Any]:
    return {"inputs": [["0xsender", 7]], "mined_at": None, "replaced_at": None, "unknown_since": None} | past


@pytest.mark.parametrize("wanted", [1, 2, 12])
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("reverted", [False, True])
def test_depth_decides(wanted: int, off: int, reverted: bool) -> None:
    condition = TransactionConfirmed(SUBJECT, HASH, wanted)
    verdict = condition.judge(seen(mined(wanted + off, reverted=reverted)), None)
    if off < 0:
        assert verdict == Waiting(
            f"{HASH} has {wanted + off} of {wanted} confirmations", memory(mined_at=100)
        )
    elif reverted:
        assert isinstance(failure_of(verdict), BloqTransactionReverted)
    else:
        assert result_of(verdict)["confirmations"] == wanted + off


@pytest.mark.parametrize(
    ("replaced_at", "height", "replaced"),
    [(None, 100, False), (99, 100, False), (98, 100, True), (97, 100, True), (101, 100, False)],
)
def test_a_replacement_counts_when_it_is_as_deep(
    replaced_at: int | None, height: int, replaced: bool
) -> None:
    condition = TransactionConfirmed(SUBJECT, HASH, 3)
    verdict = condition.judge(
        seen(TransactionStatus(inputs=INPUTS, replaced=True), height=height), memory(replaced_at=replaced_at)
    )
    if replaced:
        assert isinstance(failure_of(verdict), BloqTransactionReplaced)
    else:
        first = height if replaced_at is None else replaced_at
        assert isinstance(verdict, Waiting)
        assert verdict.memory == memory(replaced_at=first)


def test_a_first_look_at_a_replacement_never_ends_the_wait() -> None:
    # What is mined between two questions of one look is seen as replaced.
    condition = TransactionConfirmed(SUBJECT, HASH, 1)
    first = condition.judge(seen(TransactionStatus(pending=True, inputs=INPUTS, replaced=True)), memory())
    assert isinstance(first, Waiting)
    assert result_of(condition.judge(seen(mined(1)), first.memory))["height"] == 100


@pytest.mark.parametrize("elapsed", [0.0, 59.9, 60.0, 60.1, -500.0])
@pytest.mark.parametrize("was_seen", [False, True])
def test_unknown_for_so_long_is_dropped(elapsed: float, was_seen: bool) -> None:
    condition = TransactionConfirmed(SUBJECT, HASH, unseen_for=60.0)
    past = memory(unknown_since=NOW) if was_seen else memory(unknown_since=NOW, inputs=[])
    verdict = condition.judge(seen(TransactionStatus(), now=NOW + elapsed), past)
    if elapsed >= 60:
        error = failure_of(verdict)
        assert isinstance(error, BloqTransactionDropped)
        assert error.retryable
        assert ("no longer" in str(error)) is was_seen
    else:
        assert verdict == Waiting(f"{HASH} is not known to the node", past)


def test_the_first_unknown_look_begins_the_time_and_a_known_one_ends_it() -> None:
    condition = TransactionConfirmed(SUBJECT, HASH)
    unknown = condition.judge(seen(TransactionStatus()), None)
    assert isinstance(unknown, Waiting)
    assert unknown.memory == memory(inputs=[], unknown_since=NOW)
    pending = condition.judge(seen(TransactionStatus(pending=True, inputs=INPUTS)), unknown.memory)
    assert pending == Waiting(f"{HASH} is pending", memory())


def test_no_longer_replaced_starts_to_count_again() -> None:
    verdict = TransactionConfirmed(SUBJECT, HASH).judge(
        seen(TransactionStatus(pending=True, inputs=INPUTS)), memory(replaced_at=5)
    )
    assert verdict == Waiting(f"{HASH} is pending", memory())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (TransactionStatus(pending=True, inputs=INPUTS), "pending"),
        (TransactionStatus(), "not known to the node"),
    ],
)
def test_a_reorg_is_told(status: TransactionStatus, state: str) -> None:
    verdict = TransactionConfirmed(SUBJECT, HASH, 3).judge(seen(status), memory(mined_at=99))
    assert reason_of(verdict) == f"{HASH} is {state}, since a reorg took it out of block 99"


def test_a_look_that_did_not_ask_for_it_changes_nothing() -> None:
    past = memory(unknown_since=1.0)
    verdict = TransactionConfirmed(SUBJECT, HASH).judge(
        TransactionStatuses(NOW, Head(1, "00", 0.0), {}), past
    )
    assert isinstance(verdict, Waiting)
    assert verdict.memory == past


def test_the_interest_has_one_spelling_and_what_is_remembered() -> None:
    condition = TransactionConfirmed(SUBJECT, f" {HASH.upper().replace('0X', '0x')}\n")
    assert condition.interest == TransactionInterest(HASH)
    assert condition.interest_after(memory()) == TransactionInterest(HASH, INPUTS)
    assert condition.interest_after(None) == condition.interest


@pytest.mark.parametrize("tx_hash", [HASH, f"0x{7:064x}"])
def test_a_hash_that_a_native_template_made_a_number_of_is_the_hash(tx_hash: str) -> None:
    made = TransactionConfirmed(SUBJECT, int(tx_hash, 16))  # type: ignore[arg-type]
    assert made == TransactionConfirmed(SUBJECT, tx_hash)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tx_hash", "0xab"),
        ("tx_hash", None),
        ("tx_hash", True),
        ("tx_hash", -1),
        ("tx_hash", 1 << 256),
        pytest.param("tx_hash", 10**5000, id="of too many digits"),
        ("tx_hash", f"{HASH}00"),
        ("tx_hash", f"0x{'zz' * 32}"),
        ("confirmations", 0),
        ("confirmations", True),
        ("confirmations", 1.5),
        ("unseen_for", -1),
        ("unseen_for", float("nan")),
        ("unseen_for", "60"),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: Any) -> None:
    fields = {"subject": SUBJECT, "tx_hash": HASH, field: value}
    with pytest.raises(BloqConfigurationError) as wrong:
        TransactionConfirmed(**fields)
    assert wrong.value.fields == (field,)
