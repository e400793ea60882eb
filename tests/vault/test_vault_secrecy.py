"""No secret is shown by errors, their causes and contexts, or logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqError
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.vault.conftest import everything_shown_by

SECRET = "canary-of-the-client-secret"
OTHER = "canary-of-another-field"
NUMBER = 70_770_770_770_770


class Case:
    """One failing load: sets up Vault and relay; ``canaries`` are what must not show."""

    def __init__(self, vault: LocalVault, relay: Any, path: str) -> None:
        self.vault, self.relay, self.path = vault, relay, path
        self.canaries = [SECRET, OTHER, str(NUMBER)]
        self.fields: dict[str, Any] = {"clientId": "an-id", "clientSecret": SECRET, "other": OTHER}
        self.policy = f'path "secret/data/{path}" {{ capabilities = ["read"] }}'
        self.wrong_secret_id: str | None = None


def denied(case: Case) -> None:
    case.policy = 'path "secret/data/other" { capabilities = ["read"] }'


def missing_path(case: Case) -> None:
    case.policy = 'path "secret/*" { capabilities = ["read"] }'
    case.path += "/nowhere"


def missing_field(case: Case) -> None:
    del case.fields["clientId"]


def empty_value(case: Case) -> None:
    case.fields["clientId"] = ""


def value_that_is_no_text(case: Case) -> None:
    case.fields["clientId"] = NUMBER


def wrong_secret_id(case: Case) -> None:
    case.wrong_secret_id = "canary-of-a-wrong-secret-id"


def login_that_is_echoed(case: Case) -> None:
    case.wrong_secret_id = "canary-of-an-echoed-secret-id"
    case.relay.spoil("/v1/auth", 400, {"errors": [f"no such secret id: {case.wrong_secret_id}"]})


def login_page(case: Case) -> None:
    case.wrong_secret_id = "canary-of-a-reflected-secret-id"
    case.relay.spoil("/v1/auth", 403, f"<html>{case.wrong_secret_id}</html>", "text/html")


def read_page(case: Case) -> None:
    case.relay.spoil("/v1/secret", 500, f"<html>{SECRET}</html>", "text/html")


def answer_of_another_kind(case: Case) -> None:
    case.relay.spoil("/v1/secret", 200, {"data": {"clientSecret": SECRET}})


@pytest.mark.parametrize(
    "arrange",
    [
        denied,
        missing_path,
        missing_field,
        empty_value,
        value_that_is_no_text,
        wrong_secret_id,
        login_that_is_echoed,
        login_page,
        read_page,
        answer_of_another_kind,
    ],
)
def test_a_failure_shows_no_secret(
    vault: LocalVault,
    relay: Any,
    connect: Any,
    source_of: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    arrange: Callable[[Case], None],
) -> None:
    caplog.set_level(logging.DEBUG)
    case = Case(vault, relay, f"secrecy/{arrange.__name__}")
    written = case.path
    arrange(case)
    vault.put(written, case.fields)
    vault.write_policy(arrange.__name__, case.policy)
    role = vault.approle(arrange.__name__, [arrange.__name__])
    secret_id = case.wrong_secret_id or role.secret_id
    connect(port=relay.port, login=role.role_id, password=secret_id, extra={"auth_type": "approle"})
    with pytest.raises(BloqError) as caught:
        source_of(case.path, mask=case.canaries.append).load()
    shown = everything_shown_by(caught.value) + caplog.text + "".join(capfd.readouterr())
    for canary in [*case.canaries, secret_id]:
        assert canary not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "hvac's and requests' errors carry the request and its token"


def test_a_revoked_token_is_not_in_the_error(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    tokens: list[str] = []
    role = vault.approle("secrecy-kept", [stored.policy], token_type="service")
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"})
    source = source_of(stored.path, mask=tokens.append)
    source.load()
    vault.revoke(tokens[0])
    vault.destroy_secret_id("secrecy-kept", role.secret_id)
    with pytest.raises(BloqError) as caught:
        source.load()
    assert caught.value.__context__ is None
    assert tokens[0] not in everything_shown_by(caught.value)


def test_source_reading_and_identity_show_no_secret(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any
) -> None:
    token = vault.token(stored.policy)
    connect(password=token)
    source = source_of(stored.path)
    reading = source.load()
    kept = f"{vars(source)!r} {vars(source._vault)!r} {vars(source._vault._login)!r}"
    shown = f"{source!r} {kept} {source.description} {source.identity} {reading}"
    assert token not in shown
    assert stored.client_secret not in shown


TOKEN = "hvs.canary-of-the-vault-token"


def test_white_space_around_a_token_is_dropped(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = vault.token(stored.policy)
    for place in ("password", "VAULT_TOKEN"):
        for around in ("{}\n", " {}", "\t{}\r\n"):
            masked: list[str] = []
            put_token(connect, monkeypatch, place, around.format(token))
            assert source_of(stored.path, mask=masked.append).load().keys.client_id == stored.client_id
            assert masked == [token]


def test_a_token_that_a_header_cannot_hold_is_refused_and_not_shown(
    connect: Any,
    source_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    relay: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for place, source in (
        ("password", "its password"),
        ("VAULT_TOKEN", "VAULT_TOKEN in the environment"),
    ):
        for around in ("\u201c{}\u201d", "{}\u200b", "{}\n{}", "'{} '", "\x01{}"):
            put_token(connect, monkeypatch, place, around.format(TOKEN, TOKEN), port=relay.port)
            with pytest.raises(BloqConfigurationError, match=f"{source}.* is not a Vault token") as refused:
                source_of("bloq/keys").load()
            assert TOKEN not in everything_shown_by(refused.value) + caplog.text
            assert refused.value.fields == ("vault_conn_id",)
            assert not refused.value.retryable
    assert relay.seen == []


def test_a_token_file_that_is_not_text_is_refused_and_not_shown(
    connect: Any, source_of: Any, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(TOKEN.encode() + b"\xff")
    connect(extra={"auth_type": "jwt", "jwt_role": "bloq", "jwt_token_path": str(file)})
    with pytest.raises(BloqConfigurationError, match="UnicodeDecodeError") as told:
        source_of("bloq/keys").load()
    assert TOKEN not in everything_shown_by(told.value)


def test_a_token_in_place_of_its_file_name_is_not_shown(connect: Any, source_of: Any) -> None:
    connect(extra={"auth_type": "jwt", "jwt_role": "bloq", "jwt_token_path": TOKEN})
    with pytest.raises(BloqConfigurationError, match="No such file") as told:
        source_of("bloq/keys").load()
    assert TOKEN not in everything_shown_by(told.value)


def test_a_token_that_vault_repeats_is_not_shown(connect: Any, source_of: Any, relay: Any) -> None:
    relay.spoil("/v1/secret", 400, {"errors": [f"bad token {TOKEN}"]})
    connect(port=relay.port, password=f"{TOKEN}\n")
    with pytest.raises(BloqConfigurationError, match="bad token") as told:
        source_of("bloq/keys").load()
    assert TOKEN not in everything_shown_by(told.value)


def put_token(connect: Any, monkeypatch: pytest.MonkeyPatch, place: str, text: str, **fields: Any) -> None:
    """Enter a text where the connection takes its token from."""
    if place == "password":
        connect(password=text, **fields)
    else:
        monkeypatch.setenv(place, text)
        connect(**fields)
