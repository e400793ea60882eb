"""The packets and events of the stream."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.connect.stream_packets import (
    Signal,
    StreamEvent,
    StreamHandshake,
    StreamPacket,
    StreamRefusal,
    is_block,
    is_token_expiry,
    read_packet,
    txid_in,
)

pytestmark = pytest.mark.logic

TXID = "ab" * 32


def test_packets_are_parsed() -> None:
    cases: list[tuple[str, StreamPacket]] = [
        ('0{"sid":"s","pingInterval":25000,"pingTimeout":5000}', StreamHandshake(25.0, 5.0)),
        ('0{"sid":"s"}', StreamHandshake(25.0, 5.0)),
        ('0{"pingInterval":true,"pingTimeout":"5"}', StreamHandshake(25.0, 5.0)),
        # Neither a busy loop nor an endless wait.
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
    ]
    for text, packet in cases:
        assert read_packet(text) == packet


def test_invalid_packets_are_refused_and_not_quoted() -> None:
    for text in ("", "x", "9", "0", "0[]", "0{", "4", "47", "42", "42{}", "42[]", "42[1]", "42[", "44{"):
        with pytest.raises(ValueError) as refused:
            read_packet(text + "SECRET" if text.endswith(("{", "[")) else text)
        assert "SECRET" not in str(refused.value)
        assert refused.value.__cause__ is None


def test_transaction_ids_are_read_from_the_events_of_addresses() -> None:
    cases = [
        (StreamEvent("bcrt1qaddress", (TXID,)), TXID),
        (StreamEvent("bcrt1qaddress", (TXID.upper(),)), TXID),
        (StreamEvent("bcrt1qaddress", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (StreamEvent("bitcoind/addresstxid", ({"address": "bcrt1qaddress", "txid": TXID},)), TXID),
        (StreamEvent("bcrt1qaddress", ()), None),
        (StreamEvent("bcrt1qaddress", ("short",)), None),
        (StreamEvent("bcrt1qaddress", ({"txid": 1},)), None),
        (StreamEvent("tx", ({"txid": TXID},)), None),
        (StreamEvent("block", (TXID,)), None),
    ]
    for event, txid in cases:
        assert txid_in(event) == txid


def test_blocks_and_expired_tokens_are_recognised_by_the_event_name() -> None:
    assert is_block(StreamEvent("block", (TXID,)))
    assert not is_block(StreamEvent("tx", (TXID,)))
    assert is_token_expiry(StreamEvent("disconnect", ("jwt expired",)))
    assert not is_token_expiry(StreamEvent("disconnect", ("ping timeout",)))
    assert not is_token_expiry(StreamEvent("block", ("jwt expired",)))
