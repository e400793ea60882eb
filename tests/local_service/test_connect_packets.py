"""The packets of the stream, read and written."""

from __future__ import annotations

import pytest

from airflow_provider_bloq.testing.local.connect.packets import (
    SocketPacket,
    acknowledgement_packet,
    error_packet,
    event_packet,
    read_payload,
    read_socket_packet,
    write_payload,
)

pytestmark = pytest.mark.logic


def test_socket_packets() -> None:
    for text, packet in (
        ("0", SocketPacket("0", "/", None, None)),
        ('2["subscribe","inv"]', SocketPacket("2", "/", None, ["subscribe", "inv"])),
        ('217["subscribe","inv"]', SocketPacket("2", "/", 17, ["subscribe", "inv"])),
        ('2/api,3["x"]', SocketPacket("2", "/api", 3, ["x"])),
        ("0/api/v1?token=a.b.c", SocketPacket("0", "/api/v1", None, None)),
        ("1/api,", SocketPacket("1", "/api", None, None)),
    ):
        assert read_socket_packet(text) == packet


def test_invalid_socket_packets() -> None:
    for text in ("", "7", "x[]", "2{", "51-[]"):
        with pytest.raises(ValueError):
            read_socket_packet(text)


def test_what_the_service_says() -> None:
    assert event_packet("block", "00ff") == '42["block", "00ff"]'
    assert acknowledgement_packet(12) == "4312[]"
    assert error_packet("no") == '44"no"'
    assert error_packet("no", "/api") == '44/api,"no"'


def test_a_payload_is_read_as_it_was_written() -> None:
    for packets in (["2"], ["2probe", "4x"], ["4äöü", "2"], ["4\U0001f600", "2"], ["4:1:"]):
        assert read_payload(write_payload(packets).encode()) == packets


def test_lengths_count_as_javascript_does() -> None:
    assert write_payload(["4\U0001f600"]) == "3:4\U0001f600"


def test_texts_may_be_framed_as_bytes() -> None:
    assert read_payload(b"\x00\x06\xff2probe\x00\x01\x00\xff4xxxxxxxxx") == ["2probe", "4xxxxxxxxx"]


def test_invalid_payloads() -> None:
    for body in (
        b"x",
        b"5:2",
        b"0:",
        b":2",
        b"-1:2",
        b"\x01\x01\xff4",
        b"\x00\xff2",
        b"\x00\x05\xff2",
        b"\xff\xfe",
        b"1:22",
    ):
        with pytest.raises(ValueError):
            read_payload(body)


def test_an_empty_body_holds_nothing() -> None:
    assert read_payload(b"") == []
