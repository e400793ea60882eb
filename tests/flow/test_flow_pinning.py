"""Certificates by fingerprint: checked before one byte of a request is sent."""

from __future__ import annotations

import ssl

import pytest
import requests

from airflow_provider_bloq.exceptions import BloqCertificateError
from airflow_provider_bloq.flow.effects import Pinned, Request, Unpinned
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.session import BloqSession
from airflow_provider_bloq.testing.local.certificates import (
    KeyedCertificate,
    load_into,
    self_signed,
    server_context,
)
from tests.support.drivers import SendOnce
from tests.support.raw_server import RawConnection, SeenRequest, Serve, answering

WRONG = "00" * 32


def _request(url: str, *fingerprints: str) -> Request:
    return Request(
        "POST", url, {"Authorization": "Bearer hush"}, b"{}", trust=Pinned(frozenset(fingerprints))
    )


@pytest.mark.parametrize("more", [(), (WRONG,)], ids=["one pin", "several pins"])
def test_a_pinned_certificate_is_accepted(
    send_once: SendOnce,
    serve: Serve,
    self_signed_tls: ssl.SSLContext,
    certificate: KeyedCertificate,
    more: tuple[str, ...],
) -> None:
    server = serve(answering(), self_signed_tls)
    assert send_once(_request(server.url, certificate.fingerprint, *more)).status == 200


@pytest.mark.parametrize("pins", [(WRONG,), (WRONG, "11" * 32), ()], ids=["one", "several", "none"])
def test_nothing_is_sent_to_another_certificate_which_the_error_names(
    send_once: SendOnce,
    serve: Serve,
    self_signed_tls: ssl.SSLContext,
    certificate: KeyedCertificate,
    pins: tuple[str, ...],
) -> None:
    server = serve(answering(), self_signed_tls)
    with pytest.raises(BloqCertificateError, match=certificate.fingerprint) as refusal:
        send_once(_request(server.url, *pins))
    assert refusal.value.fingerprint == certificate.fingerprint
    assert not refusal.value.retryable
    assert server.connections >= 1
    assert server.received == 0


def test_a_certificate_of_a_ca_that_is_not_the_pinned_one_is_refused(
    send_once: SendOnce, serve: Serve, ca_tls: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    server = serve(answering(), ca_tls)
    with pytest.raises(BloqCertificateError):
        send_once(_request(server.url, WRONG), network=Network(ca_bundle=ca_file))
    assert server.received == 0


@pytest.mark.parametrize("bundle", ["a foreign CA's", "missing"])
def test_the_ca_bundle_of_the_environment_has_no_say_about_a_pin(
    send_once: SendOnce,
    serve: Serve,
    self_signed_tls: ssl.SSLContext,
    certificate: KeyedCertificate,
    foreign_ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    bundle: str,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign_ca_file if bundle != "missing" else "/nowhere.pem")
    server = serve(answering(), self_signed_tls)
    assert send_once(_request(server.url, certificate.fingerprint)).status == 200


def test_a_session_for_a_pinned_node_works_with_a_foreign_ca_bundle_around(
    serve: Serve,
    self_signed_tls: ssl.SSLContext,
    certificate: KeyedCertificate,
    foreign_ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign_ca_file)
    server = serve(answering(), self_signed_tls)
    with BloqSession(Network(), trust=Pinned(frozenset({certificate.fingerprint}))) as session:
        assert session.get(server.url).status_code == 200
        assert session.get(server.url, verify=True).status_code == 200
    with BloqSession(Network(), trust=Pinned(frozenset({WRONG}))) as session:
        with pytest.raises(requests.exceptions.SSLError, match=certificate.fingerprint):
            session.get(server.url, verify=False)
    assert len(server.requests) == 2


def test_a_certificate_that_changes_is_noticed_at_the_next_connection(
    send_once: SendOnce, serve: Serve, certificate: KeyedCertificate
) -> None:
    tls, renewed = server_context(certificate), self_signed("127.0.0.1")

    def renew_and_hang_up(connection: RawConnection, _: SeenRequest) -> None:
        load_into(tls, renewed)
        connection.reply(200, b"{}", Connection="close")
        connection.close()

    server = serve(renew_and_hang_up, tls)
    request = _request(server.url, certificate.fingerprint)
    with pytest.raises(BloqCertificateError) as refusal:
        send_once(request, request)
    assert refusal.value.fingerprint == renewed.fingerprint
    assert len(server.requests) == 1


def test_connections_are_not_shared_between_different_pins(
    send_once: SendOnce, serve: Serve, self_signed_tls: ssl.SSLContext, certificate: KeyedCertificate
) -> None:
    server = serve(answering(), self_signed_tls)
    with pytest.raises(BloqCertificateError):
        send_once(_request(server.url, certificate.fingerprint), _request(server.url, WRONG))
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_insecure_connection_is_not_used_for_a_verified_request(
    send_once: SendOnce, serve: Serve, self_signed_tls: ssl.SSLContext
) -> None:
    server = serve(answering(), self_signed_tls)
    insecure = Request("GET", server.url, trust=Unpinned.INSECURE)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        send_once(insecure, Request("GET", server.url))
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_insecure_accepts_any_certificate(
    send_once: SendOnce, serve: Serve, self_signed_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    server = serve(answering(), self_signed_tls)
    assert send_once(Request("GET", server.url, trust=Unpinned.INSECURE)).status == 200


def test_connections_with_equal_pins_are_kept_open(
    send_once: SendOnce, serve: Serve, self_signed_tls: ssl.SSLContext, certificate: KeyedCertificate
) -> None:
    server = serve(answering(), self_signed_tls)
    requests = [_request(server.url, certificate.fingerprint) for _ in range(3)]
    assert send_once(*requests).status == 200
    assert (server.connections, len(server.requests)) == (1, 3)
