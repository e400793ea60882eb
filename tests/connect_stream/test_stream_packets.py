"""The packets of the stream, and what its events say."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.clients.stream_events import is_block, txid_in
from airflow_provider_bloq.clients.stream_packets import (
    Event,
    Handshake,
    Refusal,
    Sign,
    ends_token,
    read_packet,
)

TXID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ('0{"sid":"s","pingInterval":25000,"pingTimeout":5000}', Handshake(25.0, 5.0)),
        ('0{"sid":"s"}', Handshake(25.0, 5.0)),
        ('0{"pingInterval":true,"pingTimeout":"5"}', Handshake(25.0, 5.0)),
        # Neither a busy loop nor an eternal wait.
        ('0{"pingInterval":0,"pingTimeout":1e300}', Handshake(0.05, 600.0)),
        ("1", Sign.CLOSED),
        ("2", Sign.OTHER),
        ("3", Sign.PONG),
        ("3probe", Sign.PONG),
        ("6", Sign.OTHER),
        ("40", Sign.CONNECTED),
        ("40/elsewhere", Sign.OTHER),
        ("41", Sign.DISCONNECTED),
        ("41/elsewhere", Sign.OTHER),
        ('42["block","a"]', Event("block", ("a",))),
        ('4217["block"]', Event("block", ())),
        ('42/elsewhere,["block","a"]', Sign.OTHER),
        ("430[]", Sign.OTHER),
        ('44"jwt expired"', Refusal(is_about_token=True)),
        ('44"full"', Refusal(is_about_token=False)),
        ('44/elsewhere,"jwt expired"', Sign.OTHER),
        ("451-[]", Sign.OTHER),
    ],
)
def test_a_packet_is_read(text: str, packet: object) -> None:
    assert read_packet(text) == packet


@pytest.mark.parametrize(
    "text", ["", "x", "9", "0", "0[]", "0{", "4", "47", "42", "42{}", "42[]", "42[1]", "42[", "44{"]
)
def test_what_is_no_packet_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_packet(text + "SECRET" if text.endswith(("{", "[")) else text)
    assert "SECRET" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("event", "txid"),
    [
        (Event("bcrt1qaddress", (TXID,)), TXID),
        (Event("bcrt1qaddress", (TXID.upper(),)), TXID),
        (Event("bcrt1qaddress", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (Event("bitcoind/addresstxid", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (Event("bcrt1qaddress", ()), None),
        (Event("bcrt1qaddress", ("short",)), None),
        (Event("bcrt1qaddress", ({"txid": 1},)), None),
        (Event("tx", ({"txid": TXID},)), None),
        (Event("block", (TXID,)), None),
    ],
)
def test_a_transaction_is_read_from_the_events_of_addresses(event: Event, txid: str | None) -> None:
    assert txid_in(event) == txid


def test_blocks_and_farewells_are_known_by_their_names() -> None:
    assert is_block(Event("block", (TXID,)))
    assert not is_block(Event("tx", (TXID,)))
    assert ends_token(Event("disconnect", ("jwt expired",)))
    assert not ends_token(Event("disconnect", ("ping timeout",)))
    assert not ends_token(Event("block", ("jwt expired",)))
