"""The Accounts API: tokens and client keys.

Source: https://docs.bloq.com/advanced-documentation/technical-reference/accounts-api
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_bloq.auth.bearer import is_auth_refusal, resend_refused
from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.auth.token_provider import GrantRefused, TokenReply, token_in
from airflow_provider_bloq.exceptions import (
    BloqAccountRejected,
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import Flow, Request, Response, mask
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy, http_date, sent_with_retries
from airflow_provider_bloq.flow.service import SUCCESSES, Endpoint, error_of, json_of, json_request, object_in

__all__ = [
    "AccountLogin",
    "AccountsTokenEndpoint",
    "ClientKeysApi",
    "KeyListing",
    "ListedKeys",
]

#: Idempotent: minting a second token costs nothing.
_TOKEN = Endpoint("POST", "/auth/token", idempotent=True)
#: Codes of a 403 that is about the client keys or their owner.
_KEYS_CODE = re.compile(
    r"credential|client|key|secret|grant|token|revoked|unauthori[sz]ed|unauthenticated", re.IGNORECASE
)
_LIMIT_CODE = re.compile(r"limit|quota", re.IGNORECASE)
#: The form of a code. Nothing else from this endpoint is quoted, since it may repeat the request.
_CODE = re.compile(r"(?:[A-Z][a-z]+){1,6}", re.ASCII)


class AccountsTokenEndpoint:
    """``POST /auth/token``: a :class:`~airflow_provider_bloq.auth.token_provider.TokenEndpoint`.

    :param url: Base URL of Accounts, without a trailing slash.
    :param policy: How often a request is repeated if the token is needed.
    """

    def __init__(self, url: str, policy: RetryPolicy) -> None:
        self._url = url
        self._policy = policy

    def mint(self, keys: ClientKeys, *, retry: bool) -> Flow[TokenReply]:
        request = self._request(
            {"grantType": "clientCredentials", "clientId": keys.client_id},
            {"clientSecret": keys.client_secret},
        )
        response = yield from sent_with_retries(
            request, self._policy if retry else NO_RETRIES, idempotent=_TOKEN.idempotent
        )
        if response.status in (401, 403):
            raise GrantRefused(response.status, _error_unrelated_to_keys(request, response))
        return (yield from _token_reply(request, response))

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        request = self._request({"grantType": "refreshToken"}, {"refreshToken": refresh_token})
        # An error status is not retried: the client keys are tried instead.
        response = yield from sent_with_retries(
            request,
            self._policy if retry else NO_RETRIES,
            idempotent=_TOKEN.idempotent,
            transient=frozenset(),
        )
        return (yield from _token_reply(request, response))

    def _request(self, grant: dict[str, str], secret: dict[str, Secret]) -> Request:
        return json_request(_TOKEN.method, _TOKEN.url(self._url, {}), grant, secret)


def _token_reply(request: Request, response: Response) -> Flow[TokenReply]:
    if response.status not in SUCCESSES:
        raise _error_without_body(request, response)
    access, refresh = _tokens_in(json_of(request, response))
    yield from mask(access, refresh)
    if access is None:
        raise _unusable(request, response, "no usable accessToken")
    return TokenReply(access, refresh, http_date(response.headers.get("date", "")), response.elapsed)


def _tokens_in(reply: object) -> tuple[Secret | None, Secret | None]:
    return token_in(reply, "accessToken"), token_in(reply, "refreshToken")


def _error_unrelated_to_keys(request: Request, response: Response) -> BloqApiError | None:
    """Return the error for a 403 that is not about the client keys; None for one that is.

    Accounts documents only the statuses 401 and 403 for refused client keys.
    """
    if response.status == 401:
        return None
    fields: dict[str, Any] = {"status": 403, "method": request.method, "url": request.url}
    answered = f"POST {request.url} answered 403"
    body = object_in(response)
    if body is None:
        return BloqUnavailable(
            f"{answered} with {len(response.body)} bytes that are not a JSON object. Accounts does not refuse client "
            "keys like this: is there a proxy or a firewall in between?",
            **fields,
        )
    code = body.get("code")
    if not isinstance(code, str) or not code:
        return None
    fields["code"] = code if _CODE.fullmatch(code) else None
    answered += f": {code}" if fields["code"] else ""
    if _LIMIT_CODE.search(code):
        return BloqQuotaExceeded(
            f"{answered}. This is a limit of the account; the client keys are not at fault.", **fields
        )
    if _KEYS_CODE.search(code):
        return None
    return BloqApiError(
        f"{answered}. This does not concern the client keys: is the account allowed to have tokens?", **fields
    )


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """The user and password of an account.

    :param user: E-mail address or user id.
    :param password: The password.
    :param source: Where the two were read from, for error messages.
    """

    user: str
    password: Secret
    source: str

    def basic(self) -> Secret:
        """Return the credentials of HTTP Basic authentication."""
        return Secret(b64encode(f"{self.user}:{self.password.reveal()}".encode()).decode())


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """A pair of client keys as the list shows it, without its secret.

    :param id: The client ID.
    :param created_at: When the pair was created, as Accounts writes it; None if it does not say.
    """

    id: str
    created_at: str | None


@dataclass(frozen=True, slots=True)
class KeyListing:
    """All pairs of client keys of the account at one moment.

    :param keys: The pairs, in the order of the answer.
    :param served_at: The moment in epoch seconds, by Accounts' clock; None if the answer has no date.
    """

    keys: tuple[ListedKeys, ...]
    served_at: float | None = None

    @property
    def client_ids(self) -> frozenset[str]:
        """The client IDs of all pairs."""
        return frozenset(pair.id for pair in self.keys)


class ClientKeysApi:
    """The endpoints that manage an account's client keys. Each method makes a flow.

    They accept the account's own token only. The first call logs in; the token is masked, kept in this object
    and sent to Accounts alone. It gives access to the whole account, so keep this object only as long as needed.

    Every method raises :class:`~airflow_provider_bloq.exceptions.BloqAccountRejected` if the login or its token is
    refused, and :class:`~airflow_provider_bloq.exceptions.BloqApiError` if Accounts answers with another error or
    not at all.

    :param url: Base URL of Accounts, without a trailing slash.
    :param login: User and password.
    :param policy: How often requests are repeated.
    """

    LOGIN = Endpoint("POST", "/auth", idempotent=True)
    LIST = Endpoint("GET", "/users/me/client-keys", idempotent=True)
    #: There is no idempotency key, and the secret is shown once.
    CREATE = Endpoint("POST", "/users/me/client-keys", idempotent=False)
    DELETE = Endpoint("DELETE", "/users/me/client-keys/{id}", idempotent=True)

    def __init__(self, *, url: str, login: AccountLogin, policy: RetryPolicy) -> None:
        self._url = url
        self._policy = policy
        self._login = login
        self._token: Secret | None = None

    @classmethod
    def create_url(cls, url: str) -> str:
        """Return the URL of the create, for the base URL of Accounts."""
        return cls.CREATE.url(url, {})

    def list(self) -> Flow[KeyListing]:
        """List the account's pairs of client keys."""
        request, response = yield from self._call(self.LIST, success={200})
        keys = _listed_in(json_of(request, response))
        if keys is None:
            raise _unusable(request, response, "something that is not a list")
        if not all(pair.id for pair in keys):
            raise _unusable(request, response, "a pair of client keys without an id")
        return KeyListing(keys, http_date(response.headers.get("date", "")))

    def create(self) -> Flow[ClientKeys]:
        """Create a pair of client keys and mask its secret, which Accounts never shows again.

        The request is sent once: if its answer is lost, list the pairs to see whether one was created.

        :raises BloqUnavailable: No usable answer came; ``acted`` tells whether a pair may exist.
        """
        request, response = yield from self._call(self.CREATE, success={200, 201}, policy=NO_RETRIES)
        client_id, secret = _pair_in(json_of(request, response))
        yield from mask(secret)
        if client_id is None or secret is None:
            raise _unusable(request, response, "no clientId and clientSecret")
        return ClientKeys(client_id, secret)

    def delete(self, client_id: str) -> Flow[None]:
        """Delete a pair of client keys and its refresh tokens. A pair that does not exist is ignored.

        :param client_id: Its client ID.
        """
        try:
            yield from self._call(self.DELETE, success={204}, id=client_id)
        except BloqNotFound:
            # Also the answer to a repeated request after a lost answer.
            return

    def _call(
        self, endpoint: Endpoint, *, success: Collection[int], policy: RetryPolicy | None = None, **parts: str
    ) -> Flow[tuple[Request, Response]]:
        request = json_request(endpoint.method, endpoint.url(self._url, parts))

        def send(token: Secret) -> Flow[Response]:
            signed = request.with_header("Authorization", f"Bearer {token.reveal()}")
            return (
                yield from sent_with_retries(signed, policy or self._policy, idempotent=endpoint.idempotent)
            )

        def replace(_: Secret, response: Response, replacements: int) -> Flow[Secret | None]:
            if replacements or not is_auth_refusal(response.status, response.body):
                return None
            # The token may have expired. A refused request was not carried out, so even a create may be repeated.
            self._token = yield from self._log_in()
            return self._token

        if self._token is None:
            self._token = yield from self._log_in()
        response, _ = yield from resend_refused(
            self._token, (yield from send(self._token)), replace=replace, send=send
        )
        if is_auth_refusal(response.status, response.body):
            raise BloqAccountRejected(
                f"{request.method} {request.url} refuses ({response.status}) the token of a login that was just "
                f"made with {self._login.source}. May this account manage client keys?"
            )
        if response.status not in success:
            raise error_of(request, response)
        return request, response

    def _log_in(self) -> Flow[Secret]:
        basic = self._login.basic()
        yield from mask(self._login.password, basic)
        request = json_request(self.LOGIN.method, self.LOGIN.url(self._url, {}))
        response = yield from sent_with_retries(
            request.with_header("Authorization", f"Basic {basic.reveal()}"),
            self._policy,
            idempotent=self.LOGIN.idempotent,
        )
        if response.status in (401, 403):
            raise BloqAccountRejected(
                f"{request.method} {request.url} refuses ({response.status}) the user and password in "
                f"{self._login.source} (account_vault_conn_id, account_vault_path). Write the account's own "
                "user and password there: client keys cannot log in."
            )
        if response.status != 200:
            raise _error_without_body(request, response)
        token = token_in(json_of(request, response), "accessToken")
        if token is None:
            raise _unusable(request, response, "no usable accessToken")
        yield from mask(token)
        return token


def _listed_in(reply: object) -> tuple[ListedKeys, ...] | None:
    if not isinstance(reply, list):
        return None
    # The docs do not say that "id" is the client ID, so the name that a create answers with is accepted as well.
    return tuple(
        ListedKeys(_text(item, "id") or _text(item, "clientId") or "", _text(item, "createdAt"))
        for item in reply
    )


def _pair_in(reply: object) -> tuple[str | None, Secret | None]:
    secret = Secret(_text(reply, "clientSecret") or "")
    return _text(reply, "clientId"), secret or None


def _text(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) and value else None


def _error_without_body(request: Request, response: Response) -> BloqApiError:
    # The body may quote the secrets of the request.
    return error_of(request, replace(response, body=b""))


def _unusable(request: Request, response: Response, what: str) -> BloqUnavailable:
    return BloqUnavailable(
        f"{request.method} {request.url} answered {response.status} with {what}. Is it Bloq Accounts?",
        status=response.status,
        method=request.method,
        url=request.url,
    )
