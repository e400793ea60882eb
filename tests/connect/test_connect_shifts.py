"""A history that changes on the real chain while it is read: what comes shifts nothing, what goes is told."""

from __future__ import annotations

from itertools import islice

import pytest

from airflow_provider_bloq.connect.client import ConnectClient
from airflow_provider_bloq.exceptions import BloqListShifted
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.bitcoind import Bitcoind, pay
from airflow_provider_bloq.testing.local import LocalBloq
from tests.connect.conftest import address_of, fresh_payment

pytestmark = pytest.mark.bitcoind


@pytest.fixture
def client(bloq: LocalBloq) -> ConnectClient:
    return BloqHook().connect("btc")


@pytest.fixture
def address(bitcoin: Bitcoind) -> str:
    """An address with a payment in each of six blocks, at least."""
    payments = [fresh_payment(bitcoin) for _ in range(6)]
    for payment in payments:
        bitcoin.mine_only(payment)
    return address_of(bitcoin, payments[0])


def test_payments_that_come_meanwhile_shift_nothing(
    client: ConnectClient, bitcoin: Bitcoind, address: str
) -> None:
    whole = [one.txid for one in client.history(address)]
    walk = client.history(address, size=3)
    read = [one.txid for one in islice(walk, 3)]
    bitcoin.mine_only(fresh_payment(bitcoin), fresh_payment(bitcoin))
    bitcoin.send(fresh_payment(bitcoin))
    assert read + [one.txid for one in walk] == whole


def test_a_reading_that_was_broken_off_is_taken_up_at_its_place(client: ConnectClient, address: str) -> None:
    whole = [one.txid for one in client.history(address)]
    read = [one.txid for one in islice(client.history(address, size=2), 3)]
    assert read + [one.txid for one in client.history(address, first=3, size=2)] == whole


def test_a_reorg_that_takes_away_what_was_read_is_told(
    client: ConnectClient, bitcoin: Bitcoind, address: str
) -> None:
    source = bitcoin.coin()
    bitcoin.mine_only(pay([source], fee=2_000))
    walk = client.history(address, size=2)
    assert len(list(islice(walk, 2))) == 2
    bitcoin.fork(3)
    # What was read first can never come back: another payment has its coin.
    bitcoin.mine_only(pay([source], fee=3_000))
    with pytest.raises(BloqListShifted) as shifted:
        list(walk)
    assert (shifted.value.retryable, shifted.value.given) == (True, 2)
