"""Whatever fails, no secret shows: not in the error, nor in what hangs on it, nor in a log."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.testing.openbao import LocalVault

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


def test_a_kept_token_that_died_hangs_on_no_error(
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
    kept = f"{vars(source)!r} {vars(source._access)!r} {vars(source._access._session)!r}"
    shown = f"{source!r} {kept} {source.description} {source.identity} {reading}"
    assert token not in shown
    assert stored.client_secret not in shown


def everything_shown_by(error: BaseException) -> str:
    formatted = "".join(traceback.format_exception(error))
    return " ".join([str(error), repr(error), repr(error.args), repr(vars(error)), formatted]) + repr(
        pickle.dumps(error)
    )
