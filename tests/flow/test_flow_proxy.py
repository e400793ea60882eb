"""Proxies of the environment are used, by the same rules with either driver."""

from __future__ import annotations

import ssl
import traceback

import pytest

from airflow_provider_bloq.exceptions import BloqCertificateError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Pinned, Request
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate
from tests.support.drivers import SendOnce
from tests.support.raw_server import RawServer, Serve, answering
from tests.support.tunnel import PROXY_BODY, proxying


@pytest.fixture
def proxy(serve: Serve) -> RawServer:
    return serve(proxying)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_the_proxy_as_a_tunnel(
    send_once: SendOnce,
    serve: Serve,
    proxy: RawServer,
    ca_tls: ssl.SSLContext,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, proxy.url)
    server = serve(answering(200, b"direct"), ca_tls)
    request = Request("POST", server.url, {"Authorization": "Bearer hush"}, b"{}")
    assert send_once(request, network=Network(ca_bundle=ca_file)).body == b"direct"
    (connect,) = proxy.requests
    assert (connect.method, connect.target) == ("CONNECT", f"127.0.0.1:{server.port}")
    assert connect.authorization is None


def test_http_goes_through_the_proxy(
    send_once: SendOnce, proxy: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    assert send_once(Request("GET", "http://127.0.0.1:9/x")).body == PROXY_BODY
    assert proxy.requests[0].target == "http://127.0.0.1:9/x"


@pytest.mark.parametrize(
    ("form", "authorization"),
    [
        ("127.0.0.1:{port}", None),
        ("http://user:pass@127.0.0.1:{port}", "Basic dXNlcjpwYXNz"),
    ],
    ids=["no scheme", "password"],
)
def test_a_proxy_may_be_given_without_a_scheme_or_with_a_password(
    send_once: SendOnce,
    serve: Serve,
    proxy: RawServer,
    ca_tls: ssl.SSLContext,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    authorization: str | None,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", form.format(port=proxy.port))
    server = serve(answering(), ca_tls)
    assert send_once(Request("GET", server.url), network=Network(ca_bundle=ca_file)).status == 200
    assert proxy.requests[0].headers.get("proxy-authorization") == authorization
    assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("excepted", ["127.0.0.1", "127.0.0.0/8", "*"])
def test_no_proxy_is_honoured(
    send_once: SendOnce, serve: Serve, proxy: RawServer, monkeypatch: pytest.MonkeyPatch, excepted: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("NO_PROXY", excepted)
    server = serve(answering(200, b"direct"))
    assert send_once(Request("GET", server.url)).body == b"direct"
    assert proxy.connections == 0


def test_a_pin_is_checked_through_the_proxy_too(
    send_once: SendOnce,
    serve: Serve,
    proxy: RawServer,
    self_signed_tls: ssl.SSLContext,
    certificate: KeyedCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    server = serve(answering(), self_signed_tls)
    good = Request("GET", server.url, trust=Pinned(frozenset({certificate.fingerprint})))
    assert send_once(good).status == 200
    with pytest.raises(BloqCertificateError) as refusal:
        send_once(Request("GET", server.url, trust=Pinned(frozenset({"00" * 32}))))
    assert refusal.value.fingerprint == certificate.fingerprint
    assert len(server.requests) == 1
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_the_tunnel_means_not_acted(
    send_once: SendOnce, serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    refusing = serve(answering(status))
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@127.0.0.1:{refusing.port}")
    with pytest.raises(BloqUnavailable) as failure:
        send_once(Request("POST", "https://127.0.0.1:9/", body=b"{}"))
    assert not failure.value.acted
    assert "hush" not in "".join(traceback.format_exception(failure.value))


def test_a_proxy_whose_url_is_no_url_means_not_acted(
    send_once: SendOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "user:hush@127.0.0.1:9")
    with pytest.raises(BloqUnavailable) as failure:
        send_once(Request("POST", "https://127.0.0.1:10/", body=b"{}"))
    assert not failure.value.acted
    assert "hush" not in "".join(traceback.format_exception(failure.value))


def test_a_proxy_that_is_down_means_not_acted(send_once: SendOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@127.0.0.1:9")
    with pytest.raises(BloqUnavailable) as failure:
        send_once(Request("POST", "https://127.0.0.1:10/", body=b"{}"))
    assert not failure.value.acted
    assert "hush" not in "".join(traceback.format_exception(failure.value))
