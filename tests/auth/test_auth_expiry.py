"""When a token is renewed, and what is believed about its life."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.token_provider import AccessToken, TokenReply, lifetime_of
from airflow_provider_bloq.flow.effects import Response
from tests.support.scripted_bloq import MINUTE, ScriptedBloq, signed_token

pytestmark = pytest.mark.logic

Call = Callable[..., Response]
HOUR = 3600.0


def _token(
    lifetime: float, *, now: float = 0.0, elapsed: float = 0.0, drawn: Callable[[], float] = lambda: 0.0
) -> AccessToken:
    reply = TokenReply(Secret(signed_token(iat=0, exp=lifetime)), elapsed=elapsed)
    return AccessToken.from_reply(reply, now, drawn)


@pytest.mark.parametrize(("offset", "refreshes"), [(-1, 0), (0, 1), (1, 1)])
def test_a_token_is_renewed_from_its_margin_on(
    bloq: ScriptedBloq, call: Call, offset: int, refreshes: int
) -> None:
    call()
    # Five minutes less half of the jitter's minute.
    bloq.time += HOUR - 270 + offset
    call()
    assert bloq.refreshes == refreshes


@pytest.mark.parametrize(("offset", "alive"), [(-1, True), (0, False), (1, False)])
def test_a_token_is_dead_from_its_end_on(offset: int, alive: bool) -> None:
    assert _token(HOUR, now=1000.0).is_alive(1000.0 + HOUR + offset) is alive


def test_the_margin_is_four_to_five_minutes_drawn_once_per_token() -> None:
    assert _token(HOUR, drawn=lambda: 0.0).renew_at == HOUR - 300
    assert _token(HOUR, drawn=lambda: 1.0).renew_at == HOUR - 240
    drawn = [_token(HOUR, drawn=random.random).renew_at for _ in range(200)]
    assert HOUR - 300 <= min(drawn) < max(drawn) <= HOUR - 240
    assert len(set(drawn)) > 100


@pytest.mark.parametrize("lifetime", [2.0, 6.0, 60.0, 480.0])
def test_the_margin_is_never_more_than_half_the_lifetime(lifetime: float) -> None:
    assert _token(lifetime).renew_at == lifetime / 2


def test_a_token_is_as_old_as_its_request_may_have_taken() -> None:
    assert _token(HOUR, now=100.0, elapsed=4.0).expires_at == 96.0 + HOUR


def test_six_second_tokens_are_renewed_at_half_their_life(bloq: ScriptedBloq, call: Call) -> None:
    bloq.lifetime = 6.0
    call()
    bloq.time += 2.9
    call()
    assert bloq.refreshes == 0
    bloq.time += 0.2
    call()
    assert bloq.refreshes == 1


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"iat": 9},
        {"iat": 9, "exp": 9},
        {"iat": 9, "exp": 1},
        {"iat": 9, "exp": -9},
        {"iat": 9, "exp": 9 + 24 * HOUR + 1},
        {"iat": 1_700_000_000_000, "exp": 1_700_003_600_000},
        {"iat": True, "exp": HOUR},
        {"iat": 9, "exp": True},
        {"iat": 9, "exp": "3600"},
        {"iat": 9, "exp": None},
        {"iat": 9, "exp": [HOUR]},
        {"iat": 9, "exp": 10**400},
        {"iat": 9, "exp": float("nan")},
        {"iat": float("nan"), "exp": HOUR},
        {"iat": 9, "exp": float("inf")},
        {"iat": float("-inf"), "exp": HOUR},
    ],
    ids=repr,
)
def test_an_unbelievable_lifetime_is_taken_for_55_minutes(
    claims: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    assert lifetime_of(Secret(signed_token(**claims)), None) == 55 * MINUTE
    assert "55 minutes" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "opaque",
        "a.b.c",
        "..",
        "eyJhbGciOiJub25lIn0.WzFd.",
        "eyJhbGciOiJub25lIn0.eyJleHAiOjFlNDAwfQ.",
        "\u0000",
    ],
)
def test_what_is_no_jwt_of_claims_is_taken_for_55_minutes(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert lifetime_of(Secret(text), 1400.0) == 55 * MINUTE
    assert "55 minutes" in caplog.text
    assert text not in caplog.text or text == "\u0000"


def test_without_iat_the_reply_s_date_is_the_time_of_issue() -> None:
    assert lifetime_of(Secret(signed_token(exp=5000)), 1400.0) == HOUR
    assert lifetime_of(Secret(signed_token(exp=5000, iat=4000)), 1400.0) == 1000.0


def test_a_signature_that_nobody_here_can_check_does_not_matter() -> None:
    header, claims, _ = signed_token(iat=0, exp=HOUR, aud=["nodes"], nbf=10**12, sub=7).split(".")
    assert lifetime_of(Secret(f"{header}.{claims}.AAAA"), None) == HOUR


def test_the_wall_clock_is_never_asked(
    bloq: ScriptedBloq, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying() -> float:
        raise AssertionError("the wall clock was asked")

    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lying)
        # A log line has its time, which is no business of tokens.
        patched.setattr(bloq, "observe", lambda event: None)
        for _ in range(3):
            assert call().status == 200
            bloq.time += 61 * MINUTE
    assert (bloq.mints, bloq.refreshes) == (1, 2)
