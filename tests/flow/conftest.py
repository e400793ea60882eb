"""Shared by the tests of flows: servers to start, a CA, and both drivers."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.flow.effects import Request, Response, send
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.testing.local.certificates import (
    CertificateAuthority,
    KeyedCertificate,
    self_signed,
    server_context,
)
from tests.support.drivers import DRIVERS, PATIENT, DriverKind, SendOnce, run_to_end
from tests.support.raw_server import RawServer, Script, Serve
from tests.support.signing import Signed, signing_session


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the tester's proxies, CA files and netrc out of the tests."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as running:

        def started(script: Script, tls: ssl.SSLContext | None = None, **options: Any) -> RawServer:
            return running.enter_context(RawServer(script, tls, **options))

        yield started


@pytest.fixture
def signed() -> Iterator[Signed]:
    """A session that signs, and trusts no origin until told to."""
    with signing_session() as session:
        yield session


@pytest.fixture(params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> DriverKind:
    chosen: DriverKind = request.param
    return chosen


@pytest.fixture
def send_once(kind: DriverKind) -> SendOnce:
    """Send requests one after the other on the connections of one driver; gives the last response."""

    def sent(*requests: Request, network: Network = PATIENT) -> Response:
        responses = run_to_end(kind, *(partial(send, one) for one in requests), network=network)
        last: Response = responses[-1]
        return last

    return sent


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture(scope="session")
def ca_file(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority.pem())
    return str(path)


@pytest.fixture(scope="session")
def foreign_ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "foreign.pem"
    path.write_bytes(CertificateAuthority().pem())
    return str(path)


@pytest.fixture(scope="session")
def certificate() -> KeyedCertificate:
    """A certificate that nobody vouches for, as Bloq's nodes have."""
    return self_signed("127.0.0.1")


@pytest.fixture
def self_signed_tls(certificate: KeyedCertificate) -> ssl.SSLContext:
    return server_context(certificate)


@pytest.fixture
def ca_tls(authority: CertificateAuthority) -> ssl.SSLContext:
    return server_context(authority.sign("127.0.0.1"))
