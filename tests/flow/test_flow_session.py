"""The rules that a session keeps, whoever uses it."""

from __future__ import annotations

import asyncio
import os
import ssl

import pytest
import requests

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.effects import Pinned, Request, Unpinned, send
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.session import BloqSession, PinnedAdapter
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local.certificates import KeyedCertificate
from tests.support.drivers import SendOnce
from tests.support.raw_server import RawServer, Serve, answering


def test_a_request_without_a_timeout_ends_all_the_same(serve: Serve) -> None:
    server = serve(lambda connection, _: connection.stall())
    with BloqSession(Network(timeout=0.3)) as session, pytest.raises(requests.ReadTimeout):
        session.get(server.url)


def test_a_prepared_request_without_a_timeout_ends_all_the_same(serve: Serve) -> None:
    server = serve(lambda connection, _: connection.stall())
    prepared = requests.Request("GET", server.url).prepare()
    with BloqSession(Network(timeout=0.3)) as session, pytest.raises(requests.ReadTimeout):
        session.send(prepared)


def test_a_timeout_that_is_given_counts(serve: Serve) -> None:
    server = serve(lambda connection, _: connection.stall())
    with BloqSession(Network(timeout=600)) as session, pytest.raises(requests.ReadTimeout):
        session.get(server.url, timeout=0.3)


def test_cookies_are_not_kept(serve: Serve) -> None:
    server = serve(answering(200, Set_Cookie="who=me; Path=/"))
    with BloqSession(Network()) as session:
        session.get(server.url)
        session.get(server.url)
        assert not session.cookies
    assert [seen.headers.get("cookie") for seen in server.requests] == [None, None]


def test_cookies_are_not_kept_by_the_drivers(send_once: SendOnce, serve: Serve) -> None:
    server = serve(answering(200, Set_Cookie="who=me; Path=/"))
    send_once(Request("GET", server.url), Request("GET", server.url))
    assert [seen.headers.get("cookie") for seen in server.requests] == [None, None]
    assert server.connections == 1


def test_both_drivers_emit_an_event_for_each_request(serve: Serve) -> None:
    server = serve(answering(404, Date="Thu, 01 Jan 1970 00:00:07 GMT"))
    answered, refused = Request("GET", f"{server.url}/x?key=hush"), Request("PUT", "http://127.0.0.1:9/y")
    blocking: list[Event] = []
    driver = SyncDriver(Network(), mask=lambda _: None, observe=blocking.append)
    driver.run(send(answered))
    with pytest.raises(BloqUnavailable):
        driver.run(send(refused))
    driver.close()

    awaited: list[Event] = []

    async def act() -> None:
        async def mask(_: str) -> None:
            """Nothing logs here."""

        driver = AsyncDriver(Network(), mask=mask, observe=awaited.append)
        await driver.run(send(answered))
        with pytest.raises(BloqUnavailable):
            await driver.run(send(refused))
        await driver.close()

    asyncio.run(act())
    for events in (blocking, awaited):
        assert [event.name for event in events] == ["call", "call"]
        assert [{**event.fields, "elapsed": None} for event in events] == [
            {
                "method": "GET", "url": f"{server.url}/x", "elapsed": None, "status": 404, "date": 7.0, "failure": None,
            },
            {
                "method": "PUT", "url": "http://127.0.0.1:9/y", "elapsed": None, "status": None, "date": None,
                "failure": "BloqUnavailable",
            },
        ]  # fmt: skip


def test_the_provider_names_itself(send_once: SendOnce, serve: Serve) -> None:
    server = serve(answering())
    send_once(Request("GET", server.url))
    assert server.requests[0].headers["user-agent"].startswith("airflow-provider-bloq/")


def test_the_connection_s_ca_bundle_goes_before_the_environment_s(
    send_once: SendOnce,
    serve: Serve,
    ca_tls: ssl.SSLContext,
    ca_file: str,
    foreign_ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign_ca_file)
    server = serve(answering(), ca_tls)
    assert send_once(Request("GET", server.url), network=Network(ca_bundle=ca_file)).status == 200
    with pytest.raises(BloqUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        send_once(Request("GET", server.url))


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_s_ca_bundle_is_honoured(
    send_once: SendOnce,
    serve: Serve,
    ca_tls: ssl.SSLContext,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, ca_file)
    assert send_once(Request("GET", serve(answering(), ca_tls).url)).status == 200


@pytest.mark.parametrize("verify", [None, True])
def test_a_session_prefers_the_connection_s_ca_bundle_however_it_is_used(
    serve: Serve,
    ca_tls: ssl.SSLContext,
    ca_file: str,
    foreign_ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    verify: bool | None,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", foreign_ca_file)
    server = serve(answering(), ca_tls)
    with BloqSession(Network(ca_bundle=ca_file)) as session:
        assert session.get(server.url, verify=verify).status_code == 200
        assert session.send(requests.Request("GET", server.url).prepare()).status_code == 200


def test_a_pin_is_for_its_own_port_and_not_for_one_that_begins_alike(certificate: KeyedCertificate) -> None:
    pin = Pinned(frozenset({certificate.fingerprint}))
    session = BloqSession(Network(), trust=pin, origin=Origin.of("https://127.0.0.1:8545"))
    assert isinstance(session.get_adapter("https://127.0.0.1:8545/"), PinnedAdapter)
    assert isinstance(session.get_adapter("https://127.0.0.1:8545?x"), PinnedAdapter)
    for other in ("https://127.0.0.1:85450/", "https://127.0.0.1/", "http://127.0.0.1:8545/"):
        assert not isinstance(session.get_adapter(other), PinnedAdapter)


def test_a_pin_is_for_its_origin_in_any_spelling(certificate: KeyedCertificate) -> None:
    pin = Pinned(frozenset({certificate.fingerprint}))
    session = BloqSession(Network(), trust=pin, origin=Origin.of("https://node.example"))
    for spelling in ("https://node.example/", "https://NODE.example:443/rpc", "https://node.example.:443"):
        assert isinstance(session.get_adapter(spelling), PinnedAdapter)
    assert not isinstance(session.get_adapter("https://node.example@evil.example/"), PinnedAdapter)


def test_what_is_not_the_pinned_origin_is_verified_by_the_cas(
    serve: Serve, self_signed_tls: ssl.SSLContext, certificate: KeyedCertificate
) -> None:
    pinned, other = serve(answering(), self_signed_tls), serve(answering(), self_signed_tls)
    pin = Pinned(frozenset({certificate.fingerprint}))
    with BloqSession(Network(), trust=pin, origin=Origin.of(pinned.url)) as session:
        assert session.get(pinned.url).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            session.get(other.url)
    assert other.received == 0


def test_insecure_is_for_its_own_origin_only(serve: Serve, self_signed_tls: ssl.SSLContext) -> None:
    asked_for, other = serve(answering(), self_signed_tls), serve(answering(), self_signed_tls)
    with BloqSession(Network(), trust=Unpinned.INSECURE, origin=Origin.of(asked_for.url)) as session:
        with pytest.warns(Warning, match="Unverified HTTPS request"):
            assert session.get(asked_for.url).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            session.get(other.url)


def _status_in_child(session: BloqSession, server: RawServer) -> int:
    """Send a request in a forked child; gives its exit status, 0 for success."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if session.get(server.url).status_code == 200 else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_opens_connections_of_its_own(serve: Serve) -> None:
    server = serve(answering())
    with BloqSession(Network()) as session:
        session.get(server.url)
        assert server.connections == 1
        assert _status_in_child(session, server) == 0
        assert server.connections == 2
        session.get(server.url)
        assert server.connections == 2
