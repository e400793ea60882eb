"""Vault over https: the certificate is checked, always."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.testing.openbao import LocalVault


@pytest.fixture(scope="module")
def tls_vault(certificate: tuple[Path, Path]) -> Iterator[LocalVault]:
    with LocalVault(certificate=certificate[0], private_key=certificate[1]) as vault:
        vault.put("bloq", {"clientId": "an-id", "clientSecret": "a-secret"})
        yield vault


def test_a_trusted_certificate(
    tls_vault: LocalVault, certificate: tuple[Path, Path], connect: Any, source_of: Any
) -> None:
    extra = {"use_tls": True, "client_kwargs": {"verify": str(certificate[0])}}
    connect(port=tls_vault.port, password=tls_vault.root_token, extra=extra)
    assert source_of("bloq").load().keys.client_id == "an-id"


def test_a_certificate_that_the_worker_trusts_by_environment(
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


@pytest.mark.parametrize("verify", [False, 0, "false", "False", "no", ""])
def test_the_check_cannot_be_turned_off(connect: Any, source_of: Any, verify: Any) -> None:
    connect(password="token", extra={"client_kwargs": {"verify": verify}})
    with pytest.raises(BloqConfigurationError, match="turn off the verification"):
        source_of("bloq").load()
