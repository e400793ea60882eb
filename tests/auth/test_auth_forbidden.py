"""A 403 that gives no reason: one other token is tried, and if that does not help it was not the token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.exceptions import BloqTokenRejected, BloqUnavailable
from airflow_provider_bloq.flow.effects import Response
from tests.support.scripted_bloq import ScriptedBloq

pytestmark = pytest.mark.logic

Call = Callable[..., Response]

PAGE = Response(403, {"content-type": "text/html"}, b"<html>denied</html>")


@pytest.mark.parametrize("second", [PAGE, Response(403, body=b'{"code": "TokenExpired"}')])
def test_a_403_costs_one_grant_and_the_fresh_token_is_not_to_blame_for_it(
    bloq: ScriptedBloq, call: Call, second: Response
) -> None:
    call()
    bloq.service_answers.extend([PAGE, second])
    with pytest.raises(BloqTokenRejected, match="even an access token"):
        call()
    assert bloq.grants == ["clientCredentials", "refreshToken"]
    assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken"]


def test_while_a_token_is_known_not_to_be_at_fault_a_forbidden_call_costs_nothing_more(
    bloq: ScriptedBloq, call: Call
) -> None:
    for _ in range(5):
        bloq.service_answers.extend([PAGE] * 2)
        with pytest.raises(BloqTokenRejected):
            call()
        bloq.service_answers.clear()
        assert call().status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken"]
    # Where something is said against the token itself, that counts ...
    for answer in (Response(403, body=b"jwt expired"), Response(401)):
        bloq.service_answers.append(answer)
        assert call().status == 200
    assert len(bloq.grants) == 4
    # ... and the next token is not known.
    bloq.service_answers.append(PAGE)
    assert call().status == 200
    assert len(bloq.grants) == 5


def test_what_is_known_of_a_token_is_known_by_origin(
    bloq: ScriptedBloq, bearer: BearerAuth, call: Call
) -> None:
    bloq.service_answers.extend([PAGE] * 2)
    with pytest.raises(BloqTokenRejected):
        call()
    bearer.origins.add(Origin.of("https://node.example"))
    bloq.service_answers.append(PAGE)
    assert call("https://node.example").status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken", "refreshToken"]


def test_a_401_then_a_403_is_not_about_the_token(bloq: ScriptedBloq, call: Call) -> None:
    call()
    bloq.service_answers.extend([Response(401), PAGE])
    with pytest.raises(BloqTokenRejected):
        call()
    assert len(bloq.grants) == 2


def test_where_no_other_token_is_to_be_had_the_refused_one_serves_other_calls(
    bloq: ScriptedBloq, call: Call
) -> None:
    call()
    bloq.accounts_fault = Response(503)
    for answer in (PAGE, Response(401)):
        bloq.service_answers.append(answer)
        with pytest.raises(BloqUnavailable):
            call()
        assert call().status == 200
