"""Failures of the network as errors, which tell whether the service may have acted."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.effects import Request
from airflow_provider_bloq.flow.network import Network
from tests.support.drivers import PATIENT, SendOnce
from tests.support.raw_server import RawConnection, SeenRequest, Serve, answering

SECRET = "hush-hush"


def _failure(send_once: SendOnce, url: str, network: Network = PATIENT) -> BloqUnavailable:
    request = Request("POST", f"{url}/x?key={SECRET}", {"Authorization": f"Bearer {SECRET}"}, b'{"n": 1}')
    with pytest.raises(BloqUnavailable) as raised:
        send_once(request, network=network)
    assert SECRET not in str(raised.value)
    assert f"POST {url}/x " in str(raised.value)
    assert (raised.value.method, raised.value.url) == ("POST", f"{url}/x")
    return raised.value


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_refused_connection_was_not_acted_on(send_once: SendOnce) -> None:
    error = _failure(send_once, f"http://127.0.0.1:{_free_port()}")
    assert not error.acted
    assert "ConnectionRefusedError" in str(error)


def test_a_name_that_does_not_resolve_was_not_acted_on(send_once: SendOnce) -> None:
    assert not _failure(send_once, "https://nobody.invalid").acted


def test_an_untrusted_certificate_was_not_acted_on(
    send_once: SendOnce, serve: Serve, self_signed_tls: ssl.SSLContext
) -> None:
    server = serve(answering(), self_signed_tls)
    error = _failure(send_once, server.url)
    assert not error.acted
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert server.received == 0


def test_a_server_without_tls_is_no_answer(send_once: SendOnce, serve: Serve) -> None:
    server = serve(answering())
    _failure(send_once, server.url.replace("http:", "https:"))


def test_a_reset_after_the_request_may_have_been_acted_on(send_once: SendOnce, serve: Serve) -> None:
    assert _failure(send_once, serve(lambda connection, _: connection.reset()).url).acted


def test_a_connection_closed_without_an_answer_may_have_been_acted_on(
    send_once: SendOnce, serve: Serve
) -> None:
    assert _failure(send_once, serve(lambda connection, _: connection.close()).url).acted


def test_a_stalled_answer_ends_with_the_timeout_and_may_have_been_acted_on(
    send_once: SendOnce, serve: Serve
) -> None:
    server = serve(lambda connection, _: connection.stall())
    assert _failure(send_once, server.url, Network(timeout=0.3)).acted


def test_an_answer_that_stalls_in_its_body_ends_with_the_timeout(send_once: SendOnce, serve: Serve) -> None:
    def half(connection: RawConnection, _: SeenRequest) -> None:
        connection.reply(200, b'{"half', Content_Length="100")
        connection.stall()

    assert _failure(send_once, serve(half).url, Network(timeout=0.3)).acted


def test_a_truncated_body_is_no_answer_and_may_have_been_acted_on(send_once: SendOnce, serve: Serve) -> None:
    def cut(connection: RawConnection, _: SeenRequest) -> None:
        connection.reply(200, b'{"half', Content_Length="100")
        connection.close()

    assert _failure(send_once, serve(cut).url).acted


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["not-http", "broken-gzip", "broken-chunks"],
)
def test_what_is_no_http_may_have_been_acted_on(send_once: SendOnce, serve: Serve, raw: bytes) -> None:
    def garbage(connection: RawConnection, _: SeenRequest) -> None:
        connection.write(raw)
        connection.close()

    assert _failure(send_once, serve(garbage).url).acted


@pytest.mark.parametrize("location", ["http://[::1", "http://\xff\xfe/"])
def test_a_redirect_that_cannot_be_read_raises_nothing_but_a_bloq_error(
    send_once: SendOnce, serve: Serve, location: str
) -> None:
    server = serve(answering(307, b"", Location=location))
    try:
        assert send_once(Request("POST", server.url, body=b"{}")).status == 307
    except BloqUnavailable as error:
        assert error.acted


def test_the_cause_is_the_networks_also_while_another_error_is_handled(send_once: SendOnce) -> None:
    try:
        raise KeyError("the user's own")
    except KeyError:
        error = _failure(send_once, f"http://127.0.0.1:{_free_port()}")
    assert "ConnectionRefusedError" in str(error)
    assert "own" not in str(error)


def test_a_ca_bundle_that_does_not_exist_is_named(
    send_once: SendOnce, serve: Serve, ca_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.pem")
    error = _failure(send_once, serve(answering(), ca_tls).url, Network(ca_bundle=missing))
    assert missing in str(error)
    assert not error.acted
