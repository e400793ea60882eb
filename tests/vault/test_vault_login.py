"""Every auth method that can run here reads the keys with exactly the requests that are needed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_bloq.testing.openbao import LocalVault, SeenRequest


def pem_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def test_token_reads_by_one_request_with_a_policy_for_nothing_else(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    connect(password=vault.token(stored.policy, default_policy=False))
    with watch() as seen:
        reading = source_of(stored.path).load()
    assert reading.keys.client_id == stored.client_id
    assert reading.keys.client_secret.reveal() == stored.client_secret
    assert reading.version == 1
    assert seen == [SeenRequest("read", f"secret/data/{stored.path}")]


def test_token_may_come_from_the_environment(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", vault.token(stored.policy))
    connect()
    assert source_of(stored.path).load().keys.client_id == stored.client_id


@pytest.mark.parametrize("token_type", ["batch", "service"])
def test_approle_reads_by_two_requests(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any, relay: Any, token_type: Any
) -> None:
    role_id, secret_id = vault.approle(f"two-{token_type}", [stored.policy], token_type=token_type)
    connect(port=relay.port, login=role_id, password=secret_id, extra={"auth_type": "approle"})
    with watch() as seen:
        reading = source_of(stored.path).load()
    assert reading.keys.client_secret.reveal() == stored.client_secret
    assert seen == [
        SeenRequest("update", "auth/approle/login"),
        SeenRequest("read", f"secret/data/{stored.path}"),
    ]
    # The audit log leaves some paths out (health, seal status); nothing passed the wire either.
    assert relay.seen == [
        ("POST", "/v1/auth/approle/login"),
        ("GET", f"/v1/secret/data/{stored.path}"),
    ]


def test_approle_at_another_mount(vault: LocalVault, stored: Any, connect: Any, source_of: Any) -> None:
    role_id, secret_id = vault.approle("elsewhere", [stored.policy], mount="airflow-roles")
    connect(
        login=role_id,
        password=secret_id,
        extra={"auth_type": "approle", "auth_mount_point": "airflow-roles"},
    )
    assert source_of(stored.path).load().keys.client_id == stored.client_id


def test_userpass(vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any) -> None:
    vault.userpass("worker", "open sesame", [stored.policy])
    connect(login="worker", password="open sesame", extra={"auth_type": "userpass"})
    with watch() as seen:
        assert source_of(stored.path).load().keys.client_id == stored.client_id
    assert [request.path for request in seen] == ["auth/userpass/login/worker", f"secret/data/{stored.path}"]


@pytest.mark.parametrize("from_file", [False, True])
def test_jwt(
    vault: LocalVault,
    stored: Any,
    connect: Any,
    source_of: Any,
    watch: Any,
    tmp_path: Path,
    from_file: bool,
) -> None:
    private, public = pem_pair()
    mount = f"jwt-{from_file}".lower()
    vault.client.sys.enable_auth_method("jwt", path=mount)
    vault.client.write_data(f"auth/{mount}/config", data={"jwt_validation_pubkeys": [public]})
    vault.client.write_data(
        f"auth/{mount}/role/airflow",
        data={
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["vault"],
            "token_policies": [stored.policy],
        },
    )
    now = int(time.time())
    claims = {"sub": "airflow", "aud": "vault", "iat": now, "exp": now + 300}
    token = jwt.encode(claims, private, algorithm="RS256")
    extra = {"auth_type": "jwt", "auth_mount_point": mount, "jwt_role": "airflow"}
    if from_file:
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        extra["jwt_token_path"] = str(file)
    else:
        extra["jwt_token"] = token
    connect(extra=extra)
    with watch() as seen:
        assert source_of(stored.path).load().keys.client_id == stored.client_id
    assert [request.path for request in seen] == [f"auth/{mount}/login", f"secret/data/{stored.path}"]


def test_kubernetes(
    vault: LocalVault,
    stored: Any,
    connect: Any,
    source_of: Any,
    relay: Any,
    watch: Any,
    tmp_path: Path,
    certificate: tuple[Path, Path],
) -> None:
    """The cluster's part, one TokenReview, is answered by the relay; login and read are real."""
    account = {"name": "airflow", "uid": "0e4e", "namespace": "data"}
    relay.spoil(
        "/apis/authentication.k8s.io/v1/tokenreviews",
        201,
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "status": {
                "authenticated": True,
                "user": {
                    "username": f"system:serviceaccount:{account['namespace']}:{account['name']}",
                    "uid": account["uid"],
                    "groups": ["system:serviceaccounts"],
                },
            },
        },
    )
    private, _ = pem_pair()
    token = jwt.encode(
        {
            "iss": "kubernetes/serviceaccount",
            "sub": f"system:serviceaccount:{account['namespace']}:{account['name']}",
            "kubernetes.io/serviceaccount/namespace": account["namespace"],
            "kubernetes.io/serviceaccount/service-account.name": account["name"],
            "kubernetes.io/serviceaccount/service-account.uid": account["uid"],
        },
        private,
        algorithm="RS256",
    )
    file = tmp_path / "token"
    file.write_text(token)
    vault.client.sys.enable_auth_method("kubernetes")
    vault.client.write_data(
        "auth/kubernetes/config",
        data={
            "kubernetes_host": f"http://127.0.0.1:{relay.port}",
            "token_reviewer_jwt": token,
            # Not used over plain http, but asked for.
            "kubernetes_ca_cert": certificate[0].read_text(),
            "disable_local_ca_jwt": True,
            "disable_iss_validation": True,
        },
    )
    vault.client.write_data(
        "auth/kubernetes/role/airflow",
        data={
            "bound_service_account_names": [account["name"]],
            "bound_service_account_namespaces": [account["namespace"]],
            "token_policies": [stored.policy],
        },
    )
    connect(
        extra={
            "auth_type": "kubernetes",
            "kubernetes_role": "airflow",
            "kubernetes_jwt_path": str(file),
        }
    )
    with watch() as seen:
        assert source_of(stored.path).load().keys.client_id == stored.client_id
    assert [request.path for request in seen] == ["auth/kubernetes/login", f"secret/data/{stored.path}"]
    assert json.dumps(relay.seen).count("tokenreviews") == 1


def test_kv_version_1_has_no_version(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    vault.put(stored.path, {"clientId": "an-id", "clientSecret": "a-secret"}, mount="kv1")
    connect(schema="kv1", password=vault.root_token, extra={"kv_engine_version": 1})
    with watch() as seen:
        reading = source_of(stored.path).load()
    assert (reading.keys.client_id, reading.version) == ("an-id", None)
    assert seen == [SeenRequest("read", f"kv1/{stored.path}")]


def test_a_mount_of_several_parts_and_slashes_around_the_path(
    vault: LocalVault, connect: Any, source_of: Any
) -> None:
    vault.enable_kv(2, "teams/data/kv")
    vault.put("bloq/keys", {"client_id": "an-id", "client_secret": "a-secret"}, mount="teams/data/kv")
    connect(schema="teams/data/kv", password=vault.root_token)
    assert source_of("/bloq/keys/").load().keys.client_id == "an-id"


@pytest.mark.asyncio
async def test_the_async_load_reads_the_same(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    connect(password=vault.token(stored.policy))
    reading = await source_of(stored.path).aload()
    assert reading.keys.client_secret.reveal() == stored.client_secret
