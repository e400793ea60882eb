"""Accounts: where tokens come from."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from airflow_provider_bloq.auth.flow import Flow, Request, Response, mask
from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.ladder import GrantRefused
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import TokenReply, token_in
from airflow_provider_bloq.clients.endpoint import SUCCESSES, Endpoint, json_request
from airflow_provider_bloq.clients.errors import error_of, json_of, object_in
from airflow_provider_bloq.clients.retry import IMPATIENT, RetryPolicy, http_date, sent_with_retries
from airflow_provider_bloq.exceptions import BloqApiError, BloqQuotaExceeded, BloqUnavailable

__all__ = ["AccountsTokenEndpoint"]

#: Repeatable: a token that is minted twice costs nothing, the first is simply not used.
TOKEN = Endpoint("POST", "/auth/token", repeatable=True)
#: Codes that say that a 403 is about the client keys, or about who they belong to.
_ABOUT_KEYS = re.compile(
    r"credential|client|key|secret|grant|token|revoked|unauthori[sz]ed|unauthenticated", re.IGNORECASE
)
_ABOUT_LIMITS = re.compile(r"limit|quota", re.IGNORECASE)
#: What a code looks like. Nothing else of what this endpoint answers is quoted: it may be what was sent.
_CODE = re.compile(r"(?:[A-Z][a-z]+){1,6}", re.ASCII)


class AccountsTokenEndpoint:
    """``POST /auth/token``.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/accounts-api

    :param url: Base URL of Accounts, without a slash at its end.
    :param policy: How patiently a needed token is asked for.
    """

    def __init__(self, url: str, policy: RetryPolicy) -> None:
        self._url = url
        self._policy = policy

    def mint(self, keys: ClientKeys, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``clientCredentials``; see :class:`~airflow_provider_bloq.auth.ladder.TokenEndpoint`."""
        grant = {"grantType": "clientCredentials", "clientId": keys.client_id}
        request = json_request(
            TOKEN.method, TOKEN.url(self._url, {}), grant, {"clientSecret": keys.client_secret}
        )
        response = yield from sent_with_retries(
            request, self._policy if patient else IMPATIENT, repeatable=TOKEN.repeatable
        )
        if response.status in (401, 403):
            raise GrantRefused(response.status, _another_reason(request, response))
        return (yield from _reply_in(request, response))

    def refresh(self, refresh_token: Secret, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; see :class:`~airflow_provider_bloq.auth.ladder.TokenEndpoint`."""
        request = json_request(
            TOKEN.method,
            TOKEN.url(self._url, {}),
            {"grantType": "refreshToken"},
            {"refreshToken": refresh_token},
        )
        # An answer that brings no token is not asked for again: the client keys are tried instead.
        response = yield from sent_with_retries(
            request,
            self._policy if patient else IMPATIENT,
            repeatable=TOKEN.repeatable,
            transient=frozenset(),
        )
        return (yield from _reply_in(request, response))


def _reply_in(request: Request, response: Response) -> Flow[TokenReply]:
    if response.status not in SUCCESSES:
        # Without the body: an error may quote what it was sent.
        raise error_of(request, replace(response, body=b""))
    access, refresh = _tokens_in(json_of(request, response))
    yield from mask(access, refresh)
    if access is None:
        raise BloqUnavailable(
            f"POST {request.url} answered {response.status} without a usable accessToken. Is it Bloq Accounts?",
            status=response.status,
            method=request.method,
            url=request.url,
        )
    return TokenReply(access, refresh, http_date(response.headers.get("date", "")), response.elapsed)


def _tokens_in(reply: object) -> tuple[Secret | None, Secret | None]:
    return token_in(reply, "accessToken"), token_in(reply, "refreshToken")


def _another_reason(request: Request, response: Response) -> BloqApiError | None:
    """Return the error for a 403 that does not say that it is about the client keys; None for one that does.

    How Accounts refuses client keys is documented by the statuses 401 and 403 alone.
    """
    if response.status == 401:
        return None
    fields: dict[str, Any] = {"status": 403, "method": request.method, "url": request.url}
    told = f"POST {request.url} answered 403"
    body = object_in(response)
    if body is None:
        return BloqUnavailable(
            f"{told} with {len(response.body)} bytes that are no JSON object. That is not how Accounts refuses client "
            "keys: is there a proxy or a firewall in between?",
            **fields,
        )
    code = body.get("code")
    if not isinstance(code, str) or not code:
        return None
    fields["code"] = code if _CODE.fullmatch(code) else None
    named = f": {fields['code']}" if fields["code"] else ""
    if _ABOUT_LIMITS.search(code):
        return BloqQuotaExceeded(
            f"{told}{named}. That is a limit of the account, and says nothing against the client keys.",
            **fields,
        )
    if _ABOUT_KEYS.search(code):
        return None
    return BloqApiError(
        f"{told}{named}. That is not said of the client keys: may this account have tokens?", **fields
    )
