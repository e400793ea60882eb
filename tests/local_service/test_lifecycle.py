"""Options, ports, start and stop, and the port that serves both services."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_bloq.testing.local import (
    LocalBloq,
    LocalBloqConfigurationError,
    LocalBloqError,
    LocalBloqOptions,
)
from tests.local_service.service_caller import Caller, call

Start = Callable[..., LocalBloq]


def test_an_address_that_is_not_loopback_is_refused() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.com", ""):
        with pytest.raises(LocalBloqConfigurationError, match="host must be a loopback address"):
            LocalBloqOptions(host=host)


def test_all_wrong_options_are_named_together() -> None:
    wrong: dict[str, Any] = {"expired_status": 402, "access_token_seconds": 0, "nodes_port": -1}
    with pytest.raises(LocalBloqConfigurationError) as caught:
        LocalBloqOptions(**wrong)
    assert len(caught.value.problems) == 3
    for name in wrong:
        assert name in str(caught.value)


def test_a_taken_port_is_a_clear_error_and_leaves_nothing_running(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bloq = LocalBloq(LocalBloqOptions(nodes_port=port))
        with pytest.raises(LocalBloqError, match=f"nodes cannot listen on 127.0.0.1 port {port}"):
            bloq.start()
    with pytest.raises(LocalBloqError, match="is not running"):
        bloq.counters()


def test_a_stopped_service_answers_no_more_and_can_be_started_again(start: Start) -> None:
    bloq = start()
    url, bundle = bloq.accounts_url, bloq.ca_bundle
    bloq.stop()
    with pytest.raises(requests.exceptions.ConnectionError):
        call("GET", url)
    assert not bundle.exists()
    with bloq:
        assert call("GET", bloq.accounts_url).status_code == 200


def test_a_service_is_not_started_twice(bloq: LocalBloq) -> None:
    with pytest.raises(LocalBloqError, match="already running"):
        bloq.start()


def test_one_port_can_serve_both_services_under_prefixes(start: Start) -> None:
    bloq = start(gateway_port=0)
    caller = Caller.of(bloq)
    assert bloq.gateway_url
    body = {
        "grantType": "clientCredentials",
        "clientId": caller.keys.client_id,
        "clientSecret": caller.keys.client_secret,
    }
    token = call("POST", bloq.gateway_url + "/accounts/v1/auth/token", json=body).json()["accessToken"]
    assert call("GET", bloq.gateway_url + "/nodes/v1/status", token).status_code == 200
    assert call("GET", bloq.gateway_url + "/nodes/v1/users/me/nodes/node-x", token).status_code == 404
    calls = bloq.counters().calls
    assert calls["accounts POST /auth/token"] == 1
    assert calls["nodes GET /users/me/nodes/{id}"] == 1


def test_all_listeners_follow_the_clock_and_refuse_in_the_same_shape(start: Start) -> None:
    bloq = start(clock=lambda: 1_000_000_000.0, gateway_port=0, connect_upstreams={})
    date = "Sun, 09 Sep 2001 01:46:40 GMT"
    open_to_all = [f"{bloq.connect_url}{path}" for path in ("/", "/status")]
    assert bloq.gateway_url
    unknown = [f"{url}/nothing" for url in (bloq.accounts_url, bloq.nodes_url, bloq.gateway_url)]
    unknown += [f"{bloq.connect_url}{path}" for path in ("/nothing", "/api/v2", "/api/v1/nothing")]
    for status, urls in ((200, open_to_all), (404, [*unknown, bloq.gateway_url])):
        for url in urls:
            answer = call("GET", url)
            assert (answer.status_code, answer.headers["Date"]) == (status, date), url
            if status == 404:
                assert answer.headers["Content-Type"].startswith("application/problem+json")
                assert answer.json()["code"] == "NotFound"
    stream = call("GET", f"{bloq.connect_url}/socket.io/?EIO=4")
    assert (stream.status_code, stream.headers["Date"]) == (400, date)
    assert stream.json()["code"] == 5


def test_the_service_imports_neither_airflow_nor_the_layers_that_it_tests() -> None:
    code = (
        "import sys, airflow_provider_bloq.testing.local\n"
        "prefix = 'airflow_provider_bloq.'\n"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] == 'airflow' or (\n"
        "    m.startswith(prefix) and m.split('.')[1] not in ('testing',))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_the_ca_file_holds_one_certificate_and_no_key(bloq: LocalBloq) -> None:
    text = Path(bloq.ca_bundle).read_text()
    assert text.count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE KEY" not in text
