"""A secret shows itself to nobody who does not ask for it by name."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.token_provider import AccessToken, TokenReply

pytestmark = pytest.mark.logic

HUSH = "hush-hush"


@pytest.mark.parametrize(
    "shown",
    [
        str,
        repr,
        ascii,
        lambda secret: f"{secret}{secret!r}{secret!s}{secret:>20}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: "{0} {0!r}".format(secret),  # noqa: UP032
        lambda secret: "".join([secret, secret]),
        lambda secret: "a" + secret + "b",
        lambda secret: json.dumps({"a": [secret], secret: 1}),
        lambda secret: repr(pickle.dumps(secret)),
        lambda secret: repr(pickle.loads(pickle.dumps(secret))),
        lambda secret: str(copy.copy(secret)) + str(copy.deepcopy([secret])),
        lambda secret: secret.encode().decode() + secret[:] + secret.upper() + secret.ljust(40),
        lambda secret: "".join(secret) + str(list(secret)) + str({secret}) + str((secret,)),
        lambda secret: str(dataclasses.asdict(ClientKeys("id", secret))),
        lambda secret: str(dataclasses.astuple(ClientKeys("id", secret))),
        lambda secret: repr(KeyReading(ClientKeys("id", secret), 7)),
        lambda secret: repr(TokenReply(secret, secret)) + repr(AccessToken(secret, 1.0, 1.0)),
        lambda secret: json.dumps(dataclasses.asdict(ClientKeys("id", secret))),
    ],
)  # fmt: skip
def test_a_secret_is_not_shown_by(shown: Callable[[Any], str]) -> None:
    text = shown(Secret(HUSH))
    assert "***" in text or "*" in text
    assert "hush" not in text.lower()


def test_a_secret_is_not_shown_in_logs_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(HUSH)
    logging.getLogger("a test").warning("%s %r", secret, [secret])
    try:
        raise ValueError(secret)
    except ValueError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    for shown in (caplog.text, text):
        assert "***" in shown
        assert HUSH not in shown


def test_a_secret_is_revealed_to_who_asks() -> None:
    assert Secret(HUSH).reveal() == HUSH
    assert type(Secret(HUSH).reveal()) is str
    assert Secret(Secret(HUSH)).reveal() == HUSH
    assert copy.deepcopy(Secret(HUSH)).reveal() == HUSH


def test_secrets_are_equal_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert not Secret("a") != Secret("a")  # noqa: SIM202
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert ClientKeys("id", Secret("a")) != ClientKeys("id", Secret("b"))
    assert Secret("ü") == Secret("ü")


@pytest.mark.parametrize("other", ["a", "***", None, 1])
def test_a_secret_equals_nothing_but_a_secret(other: object) -> None:
    assert Secret("a") != other
    assert not Secret("a") == other  # noqa: SIM201
    assert Secret("***") != "***"


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret("a")
