"""The HTTP session for Vault: redirects, retries, proxies, and errors that show no secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_bloq.connection.settings import VaultLocation
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqVaultUnavailable
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.vault.http import UnsendableRequest, VaultHttpSession
from airflow_provider_bloq.vault.key_source import VaultKeySource
from tests.support.raw_server import RawConnection, RawServer, Script, SeenRequest, answering
from tests.vault.conftest import CONN_ID, everything_shown_by

TOKEN = "hvs.canary-of-the-vault-token"
SECRET_ID = "canary-of-the-secret-id"


def leading_to(url: str, status: int = 307) -> Script:
    """Answer as a standby does that knows an active node."""

    def script(connection: RawConnection, request: SeenRequest) -> None:
        connection.reply(status, Location=f"{url}{request.target}")

    return script


@pytest.fixture(scope="module")
def tls_vault(certificate: tuple[Path, Path]) -> Any:
    with LocalVault(certificate=certificate[0], private_key=certificate[1]) as vault:
        vault.put("bloq", {"clientId": "an-id", "clientSecret": "a-secret"})
        vault.write_policy("bloq", 'path "secret/data/bloq" { capabilities = ["read"] }')
        yield vault


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def trusting(certificate: tuple[Path, Path], **extra: Any) -> dict[str, Any]:
    return {"use_tls": True, "client_kwargs": {"verify": str(certificate[0])}, **extra}


@pytest.mark.parametrize("auth_type", ["token", "approle"])
def test_a_redirect_from_a_standby_is_followed_over_https(
    tls_vault: LocalVault,
    tls: ssl.SSLContext,
    certificate: tuple[Path, Path],
    connect: Any,
    source_of: Any,
    auth_type: str,
) -> None:
    with RawServer(leading_to(f"https://127.0.0.1:{tls_vault.port}"), tls=tls) as standby:
        login: dict[str, Any] = {"password": tls_vault.root_token}
        if auth_type == "approle":
            role = tls_vault.approle("redirected", ["bloq"])
            login = {"login": role.role_id, "password": role.secret_id}
        connect(port=standby.port, extra=trusting(certificate, auth_type=auth_type), **login)
        assert source_of("bloq").load().keys.client_id == "an-id"
    assert standby.requests


def test_a_redirect_to_plain_http_is_not_followed(
    tls: ssl.SSLContext, certificate: tuple[Path, Path], connect: Any, source_of: Any
) -> None:
    for over_tls, host, status, auth_type in (
        (True, "127.0.0.1", 307, "token"),
        (True, "127.0.0.2", 301, "approle"),
        (True, "127.0.0.1", 308, "approle"),
        (False, "127.0.0.1", 302, "token"),
        (False, "127.0.0.2", 307, "approle"),
        (False, "127.0.0.2", 308, "token"),
    ):
        with RawServer(answering(), host=host) as greedy:
            with RawServer(leading_to(greedy.url, status), tls=tls if over_tls else None) as vault:
                extra = trusting(certificate) if over_tls else {"use_tls": False}
                login = {"password": TOKEN}
                if auth_type == "approle":
                    login = {"login": "a-role", "password": SECRET_ID}
                connect(port=vault.port, extra=extra | {"auth_type": auth_type}, **login)
                with pytest.raises(BloqConfigurationError, match="unencrypted") as refused:
                    source_of("bloq").load()
            assert greedy.connections == 0
        assert refused.value.fields == ("vault_conn_id",)
        assert greedy.url in str(refused.value)
        assert "api_addr" in str(refused.value)


def test_a_redirect_is_not_followed_to_a_certificate_that_is_not_trusted(
    certificate: tuple[Path, Path], tls: ssl.SSLContext, connect: Any, source_of: Any
) -> None:
    with RawServer(answering(), tls=tls) as stranger, RawServer(leading_to(stranger.url)) as vault:
        connect(port=vault.port, password=TOKEN)
        with pytest.raises(BloqConfigurationError, match="is not trusted"):
            source_of("bloq").load()
        assert stranger.requests == []


def test_credentials_in_the_address_of_a_redirect_are_not_quoted(connect: Any, source_of: Any) -> None:
    with RawServer(leading_to("http://user:canary@127.0.0.2")) as vault:
        connect(port=vault.port, password=TOKEN)
        with pytest.raises(BloqConfigurationError, match="an address that cannot be read") as refused:
            source_of("bloq").load()
    assert "canary" not in str(refused.value)


def test_after_three_redirects_no_other_is_followed(connect: Any, source_of: Any) -> None:
    # Each request is redirected to its own address.
    with RawServer(lambda connection, request: connection.reply(307, Location=request.target)) as vault:
        connect(port=vault.port, password=TOKEN)
        with pytest.raises(BloqVaultUnavailable, match="TooManyRedirects"):
            source_of("bloq").load()
        assert len(vault.requests) == 4


def test_netrc_and_a_token_of_the_environment_are_not_sent(
    connect: Any, source_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password canary-of-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("VAULT_TOKEN", "hvs.canary-of-another-vault")
    with RawServer(answering(403, b'{"errors": []}', Content_Type="application/json")) as vault:
        connect(port=vault.port, login="a-role", password=SECRET_ID, extra={"auth_type": "approle"})
        with pytest.raises(BloqConfigurationError, match="refuses the login"):
            source_of("bloq").load()
        (login,) = vault.requests
    assert login.authorization is None
    assert "x-vault-token" not in login.headers


def test_a_silent_vault_gets_one_request(connect: Any) -> None:
    with RawServer(lambda connection, _: connection.stall()) as vault:
        connect(port=vault.port, password=TOKEN)
        with pytest.raises(BloqVaultUnavailable, match="cannot be reached"):
            VaultKeySource(VaultLocation(CONN_ID, "bloq"), timeout=0.2).load()
        assert len(vault.requests) == 1


class Clock:
    """A clock that goes on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_request_that_timed_out_is_not_repeated() -> None:
    with RawServer(lambda connection, _: connection.stall()) as vault:
        session = VaultHttpSession(vault.url, 10.0, {}, Clock())
        with pytest.raises(requests.ConnectionError, match="timed out"):
            session.request("get", f"{vault.url}/v1/x", timeout=0.2)
        assert len(vault.requests) == 1


@pytest.mark.parametrize(("takes", "tries"), [(0.0, 4), (4.0, 3), (20.0, 1)])
def test_a_transient_failure_is_retried_within_the_timeout(takes: float, tries: int) -> None:
    clock = Clock()

    def fails_late(connection: RawConnection, _: SeenRequest) -> None:
        clock.now += takes
        connection.reply(503)

    with RawServer(fails_late) as vault:
        session = VaultHttpSession(vault.url, 10.0, {}, clock)
        assert session.request("get", f"{vault.url}/v1/x").status_code == 503
        assert len(vault.requests) == tries


def test_retry_after_is_followed_within_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pauses = Clock(), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("urllib3.util.retry.time.sleep", pause)

    def asks_for_an_hour(connection: RawConnection, _: SeenRequest) -> None:
        clock.now += 4.0
        connection.reply(503, Retry_After="3600")

    with RawServer(asks_for_an_hour) as vault:
        session = VaultHttpSession(vault.url, 10.0, {}, clock)
        assert session.request("get", f"{vault.url}/v1/x").status_code == 503
        assert len(vault.requests) == 2
    assert pauses == [6.0]


def test_a_reset_connection_is_retried() -> None:
    def breaks_first(connection: RawConnection, _: SeenRequest) -> None:
        if len(server.requests) == 1:
            connection.reset()
        else:
            connection.reply()

    with RawServer(breaks_first) as server:
        assert VaultHttpSession(server.url, 10.0, {}).request("get", f"{server.url}/v1/x").status_code == 200


def test_a_malformed_proxy_is_reported_without_its_password(
    connect: Any, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    connect(port=9, password=TOKEN)
    for proxy in (
        "http://user:canary/y@127.0.0.1:9",
        "http://user:canary#y@127.0.0.1:9",
        "http://user:canary[@127.0.0.1:9",
        "http://user:canary@127.0.0.1:bad",
        "http://user:canary@",
        "user:canary@127.0.0.1:9",
        "socks5://user:canary@127.0.0.1:9",
        "http://user:a\u201acanary@127.0.0.1:9",
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(BloqConfigurationError, match="HTTP_PROXY") as refused:
            source_of("bloq").load()
        assert "canary" not in everything_shown_by(refused.value)
        assert refused.value.fields == ("vault_conn_id",)
        assert not refused.value.retryable


def test_an_unsendable_request_is_reported_by_its_kind_alone() -> None:
    session = VaultHttpSession("http://127.0.0.1:9", 1.0, {})
    with pytest.raises(UnsendableRequest, match="^InvalidHeader$") as told:
        session.request("get", "http://127.0.0.1:9/", headers={"X-Vault-Token": "canary\n"})
    assert told.value.__context__ is None


def test_a_trusted_certificate(
    tls_vault: LocalVault, certificate: tuple[Path, Path], connect: Any, source_of: Any
) -> None:
    extra = {"use_tls": True, "client_kwargs": {"verify": str(certificate[0])}}
    connect(port=tls_vault.port, password=tls_vault.root_token, extra=extra)
    assert source_of("bloq").load().keys.client_id == "an-id"


def test_a_certificate_trusted_by_the_environment(
    tls_vault: LocalVault,
    certificate: tuple[Path, Path],
    connect: Any,
    source_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    connect(conn_type="vaults", port=tls_vault.port, password=tls_vault.root_token)
    assert source_of("bloq").load().keys.client_id == "an-id"


def test_an_unknown_certificate_is_refused_with_the_remedy(
    tls_vault: LocalVault, connect: Any, source_of: Any
) -> None:
    connect(port=tls_vault.port, password=tls_vault.root_token, extra={"use_tls": True})
    with pytest.raises(BloqConfigurationError, match="is not trusted") as caught:
        source_of("bloq").load()
    assert caught.value.fields == ("vault_conn_id",)
    assert '"verify"' in str(caught.value)


def test_plain_http_to_a_https_vault_names_use_tls(
    tls_vault: LocalVault, connect: Any, source_of: Any
) -> None:
    connect(port=tls_vault.port, password="token")
    with pytest.raises(BloqConfigurationError, match='speaks https only.*"use_tls": true'):
        source_of("bloq").load()


def test_a_ca_file_that_does_not_exist_is_named(
    tls_vault: LocalVault, connect: Any, source_of: Any, tmp_path: Path
) -> None:
    missing = str(tmp_path / "ca.pem")
    connect(
        port=tls_vault.port,
        password=tls_vault.root_token,
        extra={"use_tls": True, "client_kwargs": {"verify": missing}},
    )
    with pytest.raises(BloqConfigurationError, match="cannot be read") as caught:
        source_of("bloq").load()
    assert missing in str(caught.value)


def test_verification_cannot_be_turned_off(connect: Any, source_of: Any) -> None:
    for verify in (False, 0, "false", "False", "no", ""):
        connect(password="token", extra={"client_kwargs": {"verify": verify}})
        with pytest.raises(BloqConfigurationError, match="turn off the verification"):
            source_of("bloq").load()
