"""The access token for any request that goes through ``requests``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import requests
import urllib3
from requests.auth import AuthBase
from requests.utils import rewind_body

from airflow_provider_bloq.auth.bearer import MAX_REPLACEMENTS, BearerAuth, token_survived
from airflow_provider_bloq.exceptions import BloqTokenRejected
from airflow_provider_bloq.flow.effects import BlockingRunner, Request, Response, emit
from airflow_provider_bloq.flow.rate_limit import RateLimiter

__all__ = [
    "BearerRequestsAuth",
    "RateLimitedAuth",
]


#: Of the body of a refusal no more than this is read.
LONGEST_REFUSAL = 64 * 1024


class BearerRequestsAuth(AuthBase):
    """Signs the requests of a ``requests.Session`` and answers a refusal with another token.

    :param bearer: Gives what knows the token and whom it may be shown; asked when a request is made.
    :param run: Drives its flows.
    """

    def __init__(self, bearer: Callable[[], BearerAuth], run: BlockingRunner) -> None:
        self._bearer = bearer
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        _sign(request, self._run(self._bearer().sign(_seen(request))))
        request.register_hook("response", self._answer)
        return request

    def _answer(self, response: requests.Response, **sending: Any) -> requests.Response:
        replacements = 0
        while (answered := self._answered(response, replacements, sending)) is not None:
            replacements += 1
            response = answered
        if replacements and response.status_code not in (401, 403):
            self._run(emit(token_survived(replacements)))
        return response

    def _answered(
        self, response: requests.Response, replacements: int, sending: dict[str, Any]
    ) -> requests.Response | None:
        # requests copies this hook to the requests of a redirect: each is judged by its own URL.
        request = response.request
        if response.status_code not in (401, 403) or not self._bearer().origins.covers(request.url or ""):
            return None
        if response.status_code == 401 and replacements >= MAX_REPLACEMENTS:
            # It stands, and its body is its reader's.
            return None
        refused = Response(response.status_code, body=_beginning(response))
        refusal = self._run(self._bearer().answer(_seen(request), refused, replacements=replacements))
        if refusal is None:
            return None
        again = request.copy()
        _rewind(again)
        _sign(again, refusal)
        answer = response.connection.send(again, **sending)
        answer.history.extend([*response.history, response])
        answer.request = again
        return answer


def _seen(request: requests.PreparedRequest) -> Request:
    sent: Any = request.headers.get("Authorization", "")
    authorization = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return Request(request.method or "", request.url or "", {"Authorization": authorization})


def _sign(request: requests.PreparedRequest, signed: Request) -> None:
    if signed.headers["Authorization"]:
        request.headers["Authorization"] = signed.headers["Authorization"]


def _beginning(response: requests.Response) -> bytes:
    """Read as much of a refusal as the decision needs; a 403 may stand and stays readable."""
    if response.status_code == 401:
        # Needed for nothing but to keep the connection; a longer or a broken one costs the connection.
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read(LONGEST_REFUSAL, decode_content=False)
        response.close()
        return b""
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > LONGEST_REFUSAL:
        # An answer about credentials is short. This one has other news, with a code or not.
        return b'{"code": "unread"}'
    return response.content


def _rewind(request: requests.PreparedRequest) -> None:
    body: Any = request.body
    if body is None or isinstance(body, str | bytes):
        return
    try:
        rewind_body(request)
    except requests.exceptions.UnrewindableBodyError:
        url = (request.url or "").partition("?")[0]
        raise BloqTokenRejected(
            f"{request.method} {url} refuses the access token, and the body is a stream that cannot be sent again. "
            "A new token is ready: call again with a new stream, or pass the body as bytes."
        ) from None


class RateLimitedAuth(AuthBase):
    """Signs requests as another ``auth`` does, each when its turn has come.

    :param auth: Signs.
    :param pace: Gives the turns.
    :param run: Drives its flows.
    """

    def __init__(self, auth: AuthBase, pace: RateLimiter, run: BlockingRunner) -> None:
        self._auth = auth
        self._pace = pace
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Wait for the turn of a request that is about to be sent, and sign it."""
        self._run(self._pace.admit())
        request.register_hook("response", self._note)
        return self._auth(request)

    def _note(self, response: requests.Response, **sending: object) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._pace.note(Response(response.status_code, headers))
