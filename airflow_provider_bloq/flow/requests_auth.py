"""``auth`` objects for ``requests``: the access token, and the rate limit of the connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import requests
import urllib3
from requests.auth import AuthBase
from requests.utils import rewind_body

from airflow_provider_bloq.auth.bearer import MAX_REPLACEMENTS, BearerAuth, resend_refused, token_survived
from airflow_provider_bloq.exceptions import BloqTokenRejected
from airflow_provider_bloq.flow.effects import BlockingRunner, Flow, Request, Response, emit, run_blocking
from airflow_provider_bloq.flow.rate_limit import RateLimiter

__all__ = [
    "BearerRequestsAuth",
    "RateLimitedAuth",
]


#: Bytes of the body of a refusal that are read at most.
LONGEST_REFUSAL = 64 * 1024


class BearerRequestsAuth(AuthBase):
    """Signs the requests of a ``requests.Session`` and answers a refusal with another token.

    :param bearer: Returns the account's :class:`BearerAuth`; called when a request is sent.
    :param run: Runs its flows.
    """

    def __init__(self, bearer: Callable[[], BearerAuth], run: BlockingRunner) -> None:
        self._bearer = bearer
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        _sign(request, self._run(self._bearer().sign(_without_body(request))))
        request.register_hook("response", self._answer_refusal)
        return request

    def _answer_refusal(self, response: requests.Response, **sending: Any) -> requests.Response:
        refused = response

        def replace(
            request: requests.PreparedRequest, answer: requests.Response, replacements: int
        ) -> Flow[requests.PreparedRequest | None]:
            nonlocal refused
            refused = answer
            return self._replaced(request, answer, replacements)

        def send(again: requests.PreparedRequest) -> Flow[requests.Response]:
            answer = yield from run_blocking(lambda: refused.connection.send(again, **sending))
            answer.history.extend([*refused.history, refused])
            answer.request = again
            return answer

        answer, replacements = self._run(
            resend_refused(response.request, response, replace=replace, send=send)
        )
        if replacements and answer.status_code not in (401, 403):
            self._run(emit(token_survived(replacements)))
        return answer

    def _replaced(
        self, request: requests.PreparedRequest, refused: requests.Response, replacements: int
    ) -> Flow[requests.PreparedRequest | None]:
        # requests copies this hook to the requests of a redirect: each is judged by its own URL.
        if refused.status_code not in (401, 403) or not self._bearer().origins.covers(request.url or ""):
            return None
        if refused.status_code == 401 and replacements >= MAX_REPLACEMENTS:
            # The response stands: its body is left to the caller.
            return None
        response = Response(refused.status_code, body=_beginning(refused))
        signed = yield from self._bearer().replace_refused(_without_body(request), response, replacements)
        if signed is None:
            return None
        again = request.copy()
        _rewind(again)
        _sign(again, signed)
        return again


def _without_body(request: requests.PreparedRequest) -> Request:
    sent: Any = request.headers.get("Authorization", "")
    authorization = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    return Request(request.method or "", request.url or "", {"Authorization": authorization})


def _sign(request: requests.PreparedRequest, signed: Request) -> None:
    if signed.headers["Authorization"]:
        request.headers["Authorization"] = signed.headers["Authorization"]


def _beginning(response: requests.Response) -> bytes:
    """Read as much of a refusal as the decision needs. The body of a 403 remains readable."""
    if response.status_code == 401:
        # Read only to keep the connection open; a longer or broken body costs the connection.
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read(LONGEST_REFUSAL, decode_content=False)
        response.close()
        return b""
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > LONGEST_REFUSAL:
        # Too long to be about credentials.
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
    """Keeps requests that another ``auth`` signs within the rate limit.

    :param auth: Signs the requests.
    :param rate_limiter: The rate limit.
    :param run: Runs its flows.
    """

    def __init__(self, auth: AuthBase, rate_limiter: RateLimiter, run: BlockingRunner) -> None:
        self._auth = auth
        self._rate_limiter = rate_limiter
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Wait until a request may be sent, and sign it."""
        self._run(self._rate_limiter.admit())
        request.register_hook("response", self._note)
        return self._auth(request)

    def _note(self, response: requests.Response, **sending: object) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._rate_limiter.note(Response(response.status_code, headers))
