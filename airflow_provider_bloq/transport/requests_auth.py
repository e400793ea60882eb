"""The access token for any request that goes through ``requests``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from requests.auth import AuthBase
from requests.utils import rewind_body

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.clients.operation import BlockingRunner
from airflow_provider_bloq.exceptions import BloqTokenRejected

__all__ = ["BearerRequestsAuth"]

#: Of the body of a refusal no more than this is read.
LONGEST_REFUSAL = 64 * 1024


class BearerRequestsAuth(AuthBase):
    """Signs the requests of a ``requests.Session`` and answers a refusal once.

    :param bearer: Gives what knows the token and whom it may be shown; asked when a request is made.
    :param run: Drives its flows.
    """

    def __init__(self, bearer: Callable[[], BearerAuth], run: BlockingRunner) -> None:
        self._bearer = bearer
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        signed = self._run(self._bearer().sign(_seen(request)))
        request.headers.update(signed.headers)
        request.register_hook("response", self._answer)
        return request

    def _answer(self, response: requests.Response, **sending: Any) -> requests.Response:
        # requests copies this hook to the requests of a redirect: each is judged by its own URL.
        request = response.request
        if response.status_code not in (401, 403) or not self._bearer().origins.covers(request.url or ""):
            return response
        refused = Response(response.status_code, body=_beginning(response))
        refusal = self._run(self._bearer().answer(_seen(request), refused))
        if refusal is None:
            return response
        again = request.copy()
        _rewind(again)
        response.close()
        again.headers.update(refusal.headers)
        second = response.connection.send(again, **sending)
        second.history.append(response)
        second.request = again
        return second


def _seen(request: requests.PreparedRequest) -> Request:
    headers = {name: str(value) for name, value in request.headers.items()}
    return Request(request.method or "", request.url or "", headers)


def _beginning(response: requests.Response) -> bytes:
    """Read as much of a refusal as the decision needs; a 403 may stand and stays readable."""
    if response.status_code == 401:
        return response.raw.read(LONGEST_REFUSAL, decode_content=True) or b""
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
        raise BloqTokenRejected(
            f"{request.method} {request.url} refuses the access token, and the body is a stream that cannot be sent "
            "again. A new token is ready: call again with a new stream, or pass the body as bytes."
        ) from None
