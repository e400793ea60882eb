"""The search for leaked secrets finds what is planted; else its silence would say nothing."""

from __future__ import annotations

import base64
import os

import pytest
import requests

from airflow_provider_bloq.testing.stack import LocalStack
from tests.airflow.leaks import found, leaks, made_by_bloq, vault_tokens

SECRET = "a-long-enough-secret"


@pytest.mark.parametrize("before", [b"", b"u:", b"uv:", b"uvw:"])
@pytest.mark.parametrize("encode", [bytes, base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_found_wherever_it_begins(before: bytes, encode: type[bytes]) -> None:
    assert found(SECRET, b"... " + encode(before + SECRET.encode() + b" and more") + b" ...")


def test_another_secret_is_not_found() -> None:
    assert not found(SECRET, b"a-long-enough secret")
    assert not found(SECRET, base64.b64encode(b"a-long-enough secret"))


@pytest.mark.parametrize("kind", ["accessToken", "refreshToken"])
@pytest.mark.parametrize("encode", [bytes, base64.b64encode])
def test_a_token_of_bloq_is_found(kind: str, encode: type[bytes], stack: LocalStack) -> None:
    token = mint(stack)[kind].encode()
    assert made_by_bloq(b"Authorization: " + encode(b"Bearer " + token))
    assert not made_by_bloq(stack.bloq.accounts_url.encode() + b" https://accounts.bloq.cloud")


def test_the_tokens_of_vault_are_found(stack: LocalStack) -> None:
    service = stack.vault.token("default")
    batch = stack.vault.token("default", token_type="batch")
    role = stack.connections()["vault_bloq"]
    login = stack.vault.client.auth.approle.login(role["login"], role["password"], use_token=False)
    for token in (service, batch, login["auth"]["client_token"]):
        assert vault_tokens(f'"X-Vault-Token": "{token}"'.encode()) == [token.encode()]
    assert not vault_tokens(b"airflow.providers_that_are_named_at_length obj.attribute_of_some_length_here")


def test_a_leak_is_told_by_name_and_place_without_the_secret() -> None:
    planted = {"clean": os.urandom(4096), "log": b"password=" + SECRET.encode()}
    assert leaks({"the password": SECRET}, planted) == ["the password in log"]


def mint(stack: LocalStack) -> dict[str, str]:
    body = {
        "grantType": "clientCredentials",
        "clientId": stack.keys.client_id,
        "clientSecret": stack.keys.client_secret,
    }
    answer = requests.post(f"{stack.bloq.accounts_url}/auth/token", json=body, timeout=10)
    answer.raise_for_status()
    tokens: dict[str, str] = answer.json()
    return tokens
