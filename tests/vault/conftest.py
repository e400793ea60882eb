"""A real OpenBao for all tests of Vault, and a relay that counts its requests and may replace its answers."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import pickle
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest
from airflow_provider_bloq.vault.key_source import VaultKeySource

CONN_ID = "vault_under_test"

Connect = Callable[..., None]
Watch = Callable[[], AbstractContextManager[list[SeenRequest]]]


class StoredKeys(NamedTuple):
    """Client keys in the Vault, and a policy that permits reading them and nothing else."""

    path: str
    client_id: str
    client_secret: str
    policy: str


class Relay(ThreadingHTTPServer):
    """Passes requests on to a Vault; after ``spoil`` it answers some of them itself."""

    daemon_threads = True

    def __init__(self, vault: LocalVault) -> None:
        super().__init__(("127.0.0.1", 0), _RelayHandler)
        self.vault_port = vault.port
        self.seen: list[tuple[str, str]] = []
        self.spoiled: tuple[str, int, bytes, str] | None = None
        #: Called with each path before the request is passed on.
        self.before: Callable[[str], None] = lambda _: None
        #: Seconds that its clock is ahead.
        self.ahead = 0.0
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def spoil(self, prefix: str, status: int, body: Any, content_type: str = "application/json") -> None:
        """Answer every path that begins with ``prefix`` with this from now on."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.spoiled = (prefix, status, text.encode(), content_type)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _RelayHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path))
        self.server.before(self.path)
        spoiled = self.server.spoiled
        if spoiled and self.path.startswith(spoiled[0]):
            self._answer(*spoiled[1:])
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.vault_port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = upstream.getresponse()
        self._answer(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        upstream.close()

    do_GET = do_POST = do_PUT = _relay

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.server.ahead)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests read ``seen``."""


@pytest.fixture(autouse=True)
def no_ambient_vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Keep the tester's own Vault, token file and proxies out of the tests."""
    for name in ("VAULT_TOKEN", "VAULT_ADDR", "VAULT_NAMESPACE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def vault() -> Iterator[LocalVault]:
    with LocalVault() as vault:
        vault.enable_kv(1, "kv1")
        yield vault


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local vault")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    certificate, private_key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private_key


@pytest.fixture
def relay(vault: LocalVault) -> Iterator[Relay]:
    with Relay(vault) as relay:
        yield relay


@pytest.fixture
def stored(vault: LocalVault) -> StoredKeys:
    """Client keys at a path of their own in the v2 engine ``secret``."""
    path = f"bloq/{secrets.token_hex(4)}"
    client_id, client_secret = secrets.token_hex(20), secrets.token_hex(40)
    vault.put(path, {"clientId": client_id, "clientSecret": client_secret})
    policy = f"read-{path.replace('/', '-')}"
    vault.write_policy(policy, f'path "secret/data/{path}" {{ capabilities = ["read"] }}')
    return StoredKeys(path, client_id, client_secret, policy)


@pytest.fixture
def connect(vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Define the Airflow connection: a plain-http one to the shared Vault, unless told otherwise."""

    def define(*, extra: dict[str, Any] | None = None, **fields: Any) -> None:
        connection = {"conn_type": "vault", "host": "127.0.0.1", "port": vault.port} | fields
        connection["extra"] = extra or {}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(connection))

    return define


@pytest.fixture
def watch(vault: LocalVault) -> Watch:
    """Collect the requests that reach the Vault in a ``with`` block."""

    @contextmanager
    def watching() -> Iterator[list[SeenRequest]]:
        before = len(vault.requests_seen())
        during: list[SeenRequest] = []
        yield during
        during.extend(vault.requests_seen()[before:])

    return watching


@pytest.fixture
def source_of() -> Callable[..., VaultKeySource]:
    """Make a source for a path of the connection under test."""

    def make(path: str, *, mask: Callable[[str], None] | None = None, **fields: Any) -> VaultKeySource:
        return VaultKeySource(VaultLocation(CONN_ID, path, **fields), timeout=60, mask=mask)

    return make


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that takes time, such as the end of a lease."""

    def wait(condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(600):
            if condition():
                return
            pause.wait(0.05)
        pytest.fail("the condition never came true")

    return wait


def everything_shown_by(error: BaseException) -> str:
    formatted = "".join(traceback.format_exception(error))
    return " ".join([str(error), repr(error), repr(error.args), repr(vars(error)), formatted]) + repr(
        pickle.dumps(error)
    )
