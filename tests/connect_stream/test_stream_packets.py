"""The packets of the stream, and what its events say."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.connect.stream_packets import (
    Signal,
    StreamEvent,
    StreamHandshake,
    StreamRefusal,
    is_block,
    is_token_expiry,
    read_packet,
    txid_in,
)

TXID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ('0{"sid":"s","pingInterval":25000,"pingTimeout":5000}', StreamHandshake(25.0, 5.0)),
        ('0{"sid":"s"}', StreamHandshake(25.0, 5.0)),
        ('0{"pingInterval":true,"pingTimeout":"5"}', StreamHandshake(25.0, 5.0)),
        # Neither a busy loop nor an eternal wait.
        ('0{"pingInterval":0,"pingTimeout":1e300}', StreamHandshake(0.05, 600.0)),
        ("1", Signal.CLOSED),
        ("2", Signal.OTHER),
        ("3", Signal.PONG),
        ("3probe", Signal.PONG),
        ("6", Signal.OTHER),
        ("40", Signal.CONNECTED),
        ("40/elsewhere", Signal.OTHER),
        ("41", Signal.DISCONNECTED),
        ("41/elsewhere", Signal.OTHER),
        ('42["block","a"]', StreamEvent("block", ("a",))),
        ('4217["block"]', StreamEvent("block", ())),
        ('42/elsewhere,["block","a"]', Signal.OTHER),
        ("430[]", Signal.OTHER),
        ('44"jwt expired"', StreamRefusal(is_about_token=True)),
        ('44"full"', StreamRefusal(is_about_token=False)),
        ('44/elsewhere,"jwt expired"', Signal.OTHER),
        ("451-[]", Signal.OTHER),
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
        (StreamEvent("bcrt1qaddress", (TXID,)), TXID),
        (StreamEvent("bcrt1qaddress", (TXID.upper(),)), TXID),
        (StreamEvent("bcrt1qaddress", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (StreamEvent("bitcoind/addresstxid", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (StreamEvent("bcrt1qaddress", ()), None),
        (StreamEvent("bcrt1qaddress", ("short",)), None),
        (StreamEvent("bcrt1qaddress", ({"txid": 1},)), None),
        (StreamEvent("tx", ({"txid": TXID},)), None),
        (StreamEvent("block", (TXID,)), None),
    ],
)
def test_a_transaction_is_read_from_the_events_of_addresses(event: StreamEvent, txid: str | None) -> None:
    assert txid_in(event) == txid


def test_blocks_and_farewells_are_known_by_their_names() -> None:
    assert is_block(StreamEvent("block", (TXID,)))
    assert not is_block(StreamEvent("tx", (TXID,)))
    assert is_token_expiry(StreamEvent("disconnect", ("jwt expired",)))
    assert not is_token_expiry(StreamEvent("disconnect", ("ping timeout",)))
    assert not is_token_expiry(StreamEvent("block", ("jwt expired",)))
