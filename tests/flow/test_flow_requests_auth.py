"""The access token on requests of a session, and what becomes of a refusal."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqTokenRejected
from tests.support.raw_server import RawConnection, RawServer, SeenRequest, Serve, answering
from tests.support.signing import Guard, Signed


@pytest.fixture
def guarded(serve: Serve, signed: Signed) -> Callable[..., RawServer]:
    """Start a trusted service that refuses."""

    def start(script: Any = None) -> RawServer:
        server = serve(script or Guard())
        signed.origins.add(Origin.of(server.url))
        return server

    return start


def test_a_401_is_answered_with_another_token_and_the_body_is_sent_again(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    server = guarded()
    response = signed.session.post(server.url, json={"n": 1}, headers={"X-Mine": "kept"})
    assert response.status_code == 200
    assert [(seen.authorization, seen.body) for seen in server.requests] == [
        ("Bearer token-1", b'{"n": 1}'),
        ("Bearer token-2", b'{"n": 1}'),
    ]
    assert server.requests[1].headers["x-mine"] == "kept"
    assert [refused.status_code for refused in response.history] == [401]
    assert server.connections == 1


def test_a_fourth_401_stands(signed: Signed, guarded: Callable[..., RawServer]) -> None:
    server = guarded(answering(401, b"no"))
    response = signed.session.get(server.url)
    assert (response.status_code, response.text) == (401, "no")
    assert [seen.authorization for seen in server.requests] == [f"Bearer token-{n}" for n in (1, 2, 3, 4)]
    assert len(response.history) == 3


def test_the_user_s_own_hooks_see_the_answer_that_stands(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    seen: list[int] = []
    hooks = {"response": lambda response, **_: seen.append(response.status_code)}
    assert signed.session.get(guarded().url, hooks=hooks).status_code == 200
    assert seen == [200]


def test_a_prepared_request_is_signed_as_http_hook_sends_it(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    server, session = guarded(), signed.session
    prepared = session.prepare_request(requests.Request("POST", server.url, json={}))
    settings = session.merge_environment_settings(prepared.url, {}, None, True, None)
    assert session.send(prepared, allow_redirects=True, **settings).status_code == 200
    assert len(server.requests) == 2


def test_a_file_is_rewound_to_where_it_was(signed: Signed, guarded: Callable[..., RawServer]) -> None:
    server, stream = guarded(), io.BytesIO(b"skipped;sent")
    stream.seek(8)
    assert signed.session.post(server.url, data=stream).content == b"sent"
    assert [seen.body for seen in server.requests] == [b"sent", b"sent"]


def test_a_body_that_cannot_be_rewound_is_not_sent_again_and_the_error_says_so(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    server = guarded()
    with pytest.raises(BloqTokenRejected, match="stream that cannot be sent again") as refusal:
        signed.session.post(f"{server.url}/x?key=hush", data=iter([b"a", b"b"]))
    assert len(server.requests) == 1
    assert "hush" not in str(refusal.value)
    # The new token that it speaks of is ready.
    assert signed.session.post(server.url, data=iter([b"a"])).status_code == 200
    assert signed.tokens.count == 2


def test_of_a_streamed_401_no_more_than_64_kib_is_read(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    def endless(connection: RawConnection, request: SeenRequest) -> None:
        if request.authorization == "Bearer token-2":
            connection.reply(200, b"streamed")
            return
        connection.reply(401, b"x" * 65536, Content_Length=str(10**12))
        # The rest never comes: whoever wants more than 64 KiB waits until the test's end.
        connection.stall()

    server = guarded(endless)
    response = signed.session.get(server.url, stream=True)
    assert response.raw.read() == b"streamed"
    assert server.connections == 2


@pytest.mark.parametrize("headers", [{"Content_Encoding": "gzip"}, {"Content_Length": "999999"}])
def test_a_401_with_a_broken_body_is_answered_all_the_same(
    signed: Signed, guarded: Callable[..., RawServer], headers: dict[str, str]
) -> None:
    def broken(connection: RawConnection, request: SeenRequest) -> None:
        if request.authorization == "Bearer token-2":
            connection.reply(200)
            return
        connection.reply(401, b"not what it says", **headers)
        if "Content_Length" in headers:
            connection.close()

    assert signed.session.get(guarded(broken).url).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_403_with_a_business_code_stands_and_stays_readable(
    signed: Signed, guarded: Callable[..., RawServer], stream: bool
) -> None:
    server = guarded(answering(403, b'{"code": "LimitExceeded"}'))
    response = signed.session.post(server.url, stream=stream)
    assert response.json() == {"code": "LimitExceeded"}
    assert len(server.requests) == 1


def test_a_403_without_a_code_is_answered(signed: Signed, guarded: Callable[..., RawServer]) -> None:
    server = guarded(Guard(status=403, body=b"<html>denied</html>"))
    assert signed.session.get(server.url).status_code == 200
    assert len(server.requests) == 2


def test_a_403_that_is_too_long_to_be_about_the_token_stands_unread(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    body = b"x" * 100_000
    server = guarded(answering(403, body))
    response = signed.session.get(server.url, stream=True)
    assert response.raw.read() == body
    assert len(server.requests) == 1


def test_a_foreign_origin_gets_no_token_and_its_401_no_answer(signed: Signed, serve: Serve) -> None:
    server = serve(Guard())
    assert signed.session.get(server.url).status_code == 401
    assert [seen.authorization for seen in server.requests] == [None]
    assert signed.tokens.count == 0


def test_headers_of_the_user_go_out_as_they_are(signed: Signed, guarded: Callable[..., RawServer]) -> None:
    server = guarded(answering())
    signed.session.get(server.url, headers={"X-Bytes": b"as is", "authorization": b"Basic mine"})
    assert server.requests[0].headers["x-bytes"] == "as is"
    assert server.requests[0].authorization == "Bearer token-1"


def test_refused_keys_come_out_of_the_session_as_what_they_are(
    signed: Signed, guarded: Callable[..., RawServer]
) -> None:
    signed.tokens.refuses = True
    with pytest.raises(BloqClientKeysRejected):
        signed.session.get(guarded().url)


def test_no_token_is_logged(
    signed: Signed, guarded: Callable[..., RawServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signed.session.get(guarded().url)
    assert caplog.records
    assert "token-1" not in caplog.text
    assert "token-2" not in caplog.text
