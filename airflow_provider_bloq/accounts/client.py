"""Accounts: where tokens come from."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_bloq.auth.bearer import is_auth_refusal, resend_refused
from airflow_provider_bloq.auth.credentials import ClientKeys, Secret
from airflow_provider_bloq.auth.token import TokenReply, token_in
from airflow_provider_bloq.auth.token_provider import GrantRefused
from airflow_provider_bloq.exceptions import (
    BloqAccountRejected,
    BloqApiError,
    BloqNotFound,
    BloqQuotaExceeded,
    BloqUnavailable,
)
from airflow_provider_bloq.flow.effects import (
    Flow,
    Request,
    Response,
    RunsAsync,
    RunsBlocking,
    mask,
    operation,
)
from airflow_provider_bloq.flow.responses import error_of, json_of, object_in
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy, http_date, sent_with_retries
from airflow_provider_bloq.flow.service import SUCCESSES, Endpoint, json_request

__all__ = [
    "AccountLogin",
    "AccountsTokenEndpoint",
    "AsyncClientKeysClient",
    "ClientKeysApi",
    "ClientKeysClient",
    "KeyListing",
    "ListedKeys",
]


#: Idempotent: a token that is minted twice costs nothing, the first is simply not used.
TOKEN = Endpoint("POST", "/auth/token", idempotent=True)
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

    def mint(self, keys: ClientKeys, *, retry: bool) -> Flow[TokenReply]:
        """Grant ``clientCredentials``; see :class:`~airflow_provider_bloq.auth.token_provider.TokenEndpoint`."""
        grant = {"grantType": "clientCredentials", "clientId": keys.client_id}
        request = json_request(
            TOKEN.method, TOKEN.url(self._url, {}), grant, {"clientSecret": keys.client_secret}
        )
        response = yield from sent_with_retries(
            request, self._policy if retry else NO_RETRIES, idempotent=TOKEN.idempotent
        )
        if response.status in (401, 403):
            raise GrantRefused(response.status, _another_reason(request, response))
        return (yield from _reply_in(request, response))

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        """Grant ``refreshToken``; see :class:`~airflow_provider_bloq.auth.token_provider.TokenEndpoint`."""
        request = json_request(
            TOKEN.method,
            TOKEN.url(self._url, {}),
            {"grantType": "refreshToken"},
            {"refreshToken": refresh_token},
        )
        # An answer that brings no token is not asked for again: the client keys are tried instead.
        response = yield from sent_with_retries(
            request,
            self._policy if retry else NO_RETRIES,
            idempotent=TOKEN.idempotent,
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


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """What a person logs in with.

    :param user: E-mail address or user id of the account.
    :param password: Its password.
    :param place: Where the two were read from, for error messages.
    """

    user: str
    password: Secret
    place: str


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """A pair of client keys as the list shows it: without its secret.

    :param id: The client ID.
    :param created_at: When the pair was created, as Accounts writes it; None if it does not say.
    """

    id: str
    created_at: str | None


@dataclass(frozen=True, slots=True)
class KeyListing:
    """All pairs of client keys of the account at one moment.

    :param keys: The pairs, in the order of the answer.
    :param served_at: The moment in epoch seconds, by Accounts' clock; None where the answer has no date.
    """

    keys: tuple[ListedKeys, ...]
    served_at: float | None = None

    @property
    def client_ids(self) -> frozenset[str]:
        """The client IDs of all pairs."""
        return frozenset(pair.id for pair in self.keys)


class ClientKeysApi:
    """The endpoints that manage an account's client keys. They take the account's own token only.

    The token is had by login at the first call, masked at once, kept in this object's memory, and sent
    to Accounts alone. It opens the whole account, so make this object where it is needed and let it go.

    Every operation raises :class:`~airflow_provider_bloq.exceptions.BloqAccountRejected` where the login
    or its token is refused, and :class:`~airflow_provider_bloq.exceptions.BloqApiError` where Accounts
    answers with another error or not at all.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/accounts-api

    :param url: Base URL of Accounts, without a slash at its end.
    :param login: User and password.
    :param policy: How patiently requests are repeated.
    """

    LOGIN = Endpoint("POST", "/auth", idempotent=True)
    LIST = Endpoint("GET", "/users/me/client-keys", idempotent=True)
    #: There is no idempotency key, and the secret is shown once.
    CREATE = Endpoint("POST", "/users/me/client-keys", idempotent=False)
    DELETE = Endpoint("DELETE", "/users/me/client-keys/{id}", idempotent=True)

    def __init__(self, *, url: str, login: AccountLogin, policy: RetryPolicy) -> None:
        self.url = url
        self.policy = policy
        self._login = login
        self._token: Secret | None = None

    @operation
    def list(self) -> Flow[KeyListing]:
        """List the pairs of client keys that the account has."""
        request, response = yield from self._called(self.LIST, success={200})
        keys = _listed_in(json_of(request, response))
        if keys is None:
            raise _unusable(request, response, "something that is no list")
        if not all(pair.id for pair in keys):
            raise _unusable(request, response, "a pair of client keys without an id")
        return KeyListing(keys, http_date(response.headers.get("date", "")))

    @operation
    def create(self) -> Flow[ClientKeys]:
        """Make a pair of client keys. The secret is masked; this is the only time that it is shown.

        Sent once: where the answer is lost, list the pairs to see whether one was made.

        :raises BloqUnavailable: No usable answer came; its ``acted`` tells whether a pair may exist.
        """
        request, response = yield from self._called(self.CREATE, success={200, 201}, policy=NO_RETRIES)
        client_id, secret = _pair_in(json_of(request, response))
        yield from mask(secret)
        if client_id is None or secret is None:
            raise _unusable(request, response, "no clientId and clientSecret")
        return ClientKeys(client_id, secret)

    @operation
    def delete(self, client_id: str) -> Flow[None]:
        """Delete a pair of client keys, with its refresh tokens. One that is gone already is no error.

        :param client_id: Its client ID.
        """
        try:
            yield from self._called(self.DELETE, success={204}, id=client_id)
        except BloqNotFound:
            # Also the answer to a second request, sent because the first one's answer was lost.
            return

    def _called(
        self,
        endpoint: Endpoint,
        *,
        success: Collection[int],
        policy: RetryPolicy | None = None,
        **parts: str,
    ) -> Flow[tuple[Request, Response]]:
        request = json_request(endpoint.method, endpoint.url(self.url, parts))

        def send(token: Secret) -> Flow[Response]:
            signed = request.with_header("Authorization", f"Bearer {token.reveal()}")
            return (
                yield from sent_with_retries(signed, policy or self.policy, idempotent=endpoint.idempotent)
            )

        def replace(_: Secret, response: Response, replacements: int) -> Flow[Secret | None]:
            if replacements or not is_auth_refusal(response.status, response.body):
                return None
            # The token may have expired.
            self._token = yield from self._logged_in()
            return self._token

        if self._token is None:
            self._token = yield from self._logged_in()
        response, _ = yield from resend_refused(
            self._token, (yield from send(self._token)), replace=replace, send=send
        )
        if is_auth_refusal(response.status, response.body):
            raise BloqAccountRejected(
                f"{request.method} {request.url} refuses ({response.status}) the token of a login that was just "
                f"made with {self._login.place}. May this account manage client keys?"
            )
        if response.status not in success:
            raise error_of(request, response)
        return request, response

    def _logged_in(self) -> Flow[Secret]:
        basic = _basic(self._login)
        yield from mask(self._login.password, basic)
        request = json_request(self.LOGIN.method, self.LOGIN.url(self.url, {}))
        response = yield from sent_with_retries(
            request.with_header("Authorization", f"Basic {basic.reveal()}"),
            self.policy,
            idempotent=self.LOGIN.idempotent,
        )
        if response.status in (401, 403):
            raise BloqAccountRejected(
                f"{request.method} {request.url} refuses ({response.status}) the user and password that "
                f"{self._login.place} holds (account_vault_conn_id, account_vault_path). Write the account's own "
                "user and password there: client keys cannot log in."
            )
        if response.status != 200:
            # Without the body: an error may quote what it was sent.
            raise error_of(request, replace(response, body=b""))
        token = token_in(json_of(request, response), "accessToken")
        if token is None:
            raise _unusable(request, response, "no usable accessToken")
        yield from mask(token)
        return token


class ClientKeysClient(RunsBlocking, ClientKeysApi):
    """:class:`ClientKeysApi` with operations that block."""


class AsyncClientKeysClient(RunsAsync, ClientKeysApi):
    """:class:`ClientKeysApi` with operations that are awaited."""


def _unusable(request: Request, response: Response, what: str) -> BloqUnavailable:
    return BloqUnavailable(
        f"{request.method} {request.url} answered {response.status} with {what}. Is it Bloq Accounts?",
        status=response.status,
        method=request.method,
        url=request.url,
    )


def _basic(login: AccountLogin) -> Secret:
    return Secret(b64encode(f"{login.user}:{login.password.reveal()}".encode()).decode())


def _listed_in(reply: object) -> tuple[ListedKeys, ...] | None:
    if not isinstance(reply, list):
        return None
    # That "id" is the client ID is inferred, so the name that the answer to a create has will do as well.
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
