"""Redirects: nothing that is secret goes where one leads."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.flow.effects import Request
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.session import BloqSession
from tests.support.drivers import SendOnce
from tests.support.raw_server import RawConnection, SeenRequest, Serve, answering
from tests.support.signing import Guard, Signed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_client_keys_are_not_carried_along_a_redirect(send_once: SendOnce, serve: Serve, status: int) -> None:
    elsewhere = serve(answering())
    server = serve(answering(status, Location=f"{elsewhere.url}/auth/token"))
    request = Request("POST", f"{server.url}/auth/token", body=b'{"clientSecret": "hush"}')
    assert send_once(request).status == status
    assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [302, 307])
def test_a_foreign_401_after_a_redirect_gets_no_token(signed: Signed, serve: Serve, status: int) -> None:
    foreign = serve(Guard(), host="127.0.0.2")
    trusted = serve(answering(status, Location=f"{foreign.url}/collect"))
    signed.origins.add(Origin.of(trusted.url))
    assert signed.session.post(trusted.url, json={}).status_code == 401
    assert trusted.requests[0].authorization == "Bearer token-1"
    assert [seen.authorization for seen in foreign.requests] == [None]
    assert signed.tokens.count == 1


def test_another_port_of_the_same_host_gets_no_token(signed: Signed, serve: Serve) -> None:
    other_port = serve(Guard())
    trusted = serve(answering(302, Location=other_port.url))
    signed.origins.add(Origin.of(trusted.url))
    signed.session.get(trusted.url)
    assert [seen.authorization for seen in other_port.requests] == [None]


def test_another_trusted_origin_gets_a_token_once_it_asks(signed: Signed, serve: Serve) -> None:
    target = serve(Guard(refused=set()))
    trusted = serve(answering(302, Location=target.url))
    for server in (target, trusted):
        signed.origins.add(Origin.of(server.url))
    assert signed.session.get(trusted.url).status_code == 200
    assert [seen.authorization for seen in target.requests] == [None, "Bearer token-1"]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("https://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "https://A.example:443/y", True),
        ("https://a.example/x", "https://b.example/x", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
        ("https://a.example/x", "http://a.example/x", False),
        ("http://a.example/x", "https://a.example/x", False),
        ("https://a.example/x", "https://a.example@b.example/", False),
        ("https://a.example/x", "https://a.example\\.b.example/", False),
    ],
)
def test_the_authorization_stays_within_its_origin(before: str, after: str, kept: bool) -> None:
    redirected, response = requests.PreparedRequest(), requests.Response()
    response.request = requests.Request("GET", before).prepare()
    redirected.prepare("GET", before, headers={"Authorization": "Bearer hush"})
    redirected.url = after
    BloqSession(Network()).rebuild_auth(redirected, response)
    assert ("Authorization" in redirected.headers) is kept


def test_netrc_is_never_read_not_even_for_where_a_redirect_leads(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    target = serve(answering())
    first = serve(answering(302, Location=target.url))
    # What this guards against: by itself requests would.
    assert "Authorization" in requests.get(target.url, timeout=30).request.headers
    with BloqSession(Network()) as session:
        session.get(first.url)
    assert [seen.authorization for seen in (*first.requests, *target.requests[1:])] == [None, None]


def test_netrc_is_never_read_by_the_drivers(
    send_once: SendOnce, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(answering())
    send_once(Request("GET", server.url))
    assert server.requests[0].authorization is None


def test_a_redirect_back_to_its_own_origin_works(signed: Signed, serve: Serve) -> None:
    def moved(connection: RawConnection, request: SeenRequest) -> None:
        if request.target == "/old":
            connection.reply(302, Location="/new")
        else:
            connection.reply(200, b"here")

    server = serve(moved)
    signed.origins.add(Origin.of(server.url))
    assert signed.session.get(f"{server.url}/old").text == "here"
    assert [seen.authorization for seen in server.requests] == ["Bearer token-1"] * 2
