"""Accounts: where tokens come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_provider_bloq.auth.flow import Flow, mask
from airflow_provider_bloq.auth.keys import ClientKeys
from airflow_provider_bloq.auth.ladder import GrantRefused
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.token import TokenReply
from airflow_provider_bloq.clients.endpoint import SUCCESSES, Endpoint, json_request
from airflow_provider_bloq.clients.errors import error_of, json_of
from airflow_provider_bloq.clients.retry import IMPATIENT, RetryPolicy, http_date, sent_with_retries
from airflow_provider_bloq.exceptions import BloqUnavailable

__all__ = ["AccountsTokenEndpoint"]

#: Repeatable: a token that is minted twice costs nothing, the first is simply not used.
TOKEN = Endpoint("POST", "/auth/token", repeatable=True)
#: Statuses that say "not now" rather than "not with this credential".
_BUSY = frozenset({408, 425, 429})


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
        grant = {
            "grantType": "clientCredentials",
            "clientId": keys.client_id,
            "clientSecret": keys.client_secret.reveal(),
        }
        return (yield from self._granted(grant, patient, refusals=frozenset({401, 403})))

    def refresh(self, refresh_token: Secret, *, patient: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; see :class:`~airflow_provider_bloq.auth.ladder.TokenEndpoint`."""
        # How Accounts refuses a refresh token is not documented: any 4xx that is not "busy" is that.
        grant = {"grantType": "refreshToken", "refreshToken": refresh_token.reveal()}
        return (yield from self._granted(grant, patient, refusals=frozenset(range(400, 500)) - _BUSY))

    def _granted(self, grant: dict[str, str], patient: bool, refusals: frozenset[int]) -> Flow[TokenReply]:
        request = json_request(TOKEN.method, TOKEN.url(self._url, {}), grant)
        response = yield from sent_with_retries(
            request, self._policy if patient else IMPATIENT, repeatable=TOKEN.repeatable
        )
        if response.status in refusals:
            raise GrantRefused(response.status)
        if response.status not in SUCCESSES:
            # Without the body: an error may quote what it was sent.
            raise error_of(request, replace(response, body=b""))
        reply: Any = json_of(request, response)
        fields = reply if isinstance(reply, dict) else {}
        access, refresh = _token(fields.get("accessToken")), _token(fields.get("refreshToken"))
        yield from mask(access, refresh)
        if access is None:
            raise BloqUnavailable(
                f"POST {request.url} answered {response.status} without a usable accessToken. Is it Bloq Accounts?",
                status=response.status,
                method=request.method,
                url=request.url,
            )
        return TokenReply(access, refresh, http_date(response.headers.get("date", "")), response.elapsed)


def _token(value: object) -> Secret | None:
    # What cannot stand in a header is no token.
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and " " not in value:
        return Secret(value)
    return None
