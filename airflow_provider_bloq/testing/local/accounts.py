"""The routes of Accounts: tokens, users, client keys and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.clock import iso
from airflow_provider_bloq.testing.local.inbound import basic_login, json_object, text_field
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import TokenKind, TokenState, same_secret
from airflow_provider_bloq.testing.local.users import BILLING_FIELDS, User
from airflow_provider_bloq.testing.local.views import event_view, key_view, user_view

__all__ = [
    "AccountsRoutes",
    "TokenRoutes",
    "withdraw_key",
]


@dataclass(frozen=True, slots=True)
class TokenRoutes:
    """``POST /auth/token``: access tokens for client keys or for a refresh token.

    An Authorization header is ignored, even if its token has expired: the official client sends its account
    token here.
    """

    backend: Backend

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/auth/token", self.grant)]

    async def grant(self, request: web.Request) -> web.Response:
        """Issue tokens for one of the two grant types."""
        body = await json_object(request)
        match body.get("grantType"):
            case "clientCredentials":
                answer = self._mint(body)
            case "refreshToken":
                answer = self._refresh(body)
            case _:
                raise ApiProblem(
                    400, "InvalidGrantType", "grantType must be clientCredentials or refreshToken"
                )
        if self.backend.options.emit_expires_in:
            answer["expiresIn"] = self.backend.tokens.lifetime(TokenKind.ACCESS)
        return web.json_response(answer)

    def _mint(self, body: dict[str, Any]) -> dict[str, Any]:
        client_id, secret = (str(body.get("clientId", "")), str(body.get("clientSecret", "")))
        key = self.backend.users.key(client_id)
        if key is None or not same_secret(key.client_secret, secret):
            self.backend.counters.mints_refused += 1
            raise ApiProblem(401, "InvalidCredentials", "The client keys are invalid or have been revoked")
        self.backend.counters.mints += 1
        return self._tokens(key.user_id, client_id, TokenKind.ACCESS, TokenKind.REFRESH)

    def _refresh(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = self.backend.tokens
        old = tokens.find(str(body.get("refreshToken", "")))
        if old is None or old.kind is not TokenKind.REFRESH or tokens.state(old) is not TokenState.LIVE:
            self.backend.counters.refreshes_refused += 1
            raise ApiProblem(401, "InvalidCredentials", "The refresh token is invalid, expired or revoked")
        self.backend.counters.refreshes += 1
        client_id = old.client_id or ""
        if not self.backend.options.rotate_refresh:
            return self._tokens(old.user_id, client_id, TokenKind.ACCESS)
        tokens.revoke(old)
        return self._tokens(old.user_id, client_id, TokenKind.ACCESS, TokenKind.REFRESH)

    def _tokens(self, user_id: str, client_id: str, *kinds: TokenKind) -> dict[str, Any]:
        names = {TokenKind.ACCESS: "accessToken", TokenKind.REFRESH: "refreshToken"}
        return {names[kind]: self.backend.tokens.issue(kind, user_id, client_id=client_id) for kind in kinds}


_ACCOUNT = frozenset({TokenKind.ACCOUNT})
_LEGACY_KEYS = ("pgp", "bit")


@dataclass(frozen=True, slots=True)
class AccountsRoutes:
    """The other routes of Accounts."""

    backend: Backend

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.health),
            web.post("/auth", self.log_in),
            web.post("/users", self.sign_up),
            web.put("/users/{user}/token/{token}", self.verify),
            web.get("/users/me", self.show_account),
            web.put("/users/me/password", self.change_password),
            web.post("/users/me/client-keys", self.create_key),
            web.get("/users/me/client-keys", self.list_keys),
            web.delete("/users/me/client-keys/{id}", self.delete_key),
            web.get("/users/me/events", self.list_events),
            web.get("/users/me/keys", self.list_legacy_keys),
            web.get("/users/me/keys/{type}", self.list_legacy_keys),
            web.get("/users/me/keys/{type}/{id}", self.show_legacy_key),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """Report that the service is up."""
        return web.json_response({"status": "ok"})

    async def log_in(self, request: web.Request) -> web.Response:
        """Issue an account access token for a password and an e-mail address or user id."""
        login = basic_login(request.headers.get("Authorization"))
        user = self.backend.users.find(login[0]) if login else None
        if login is None or user is None or not user.has_password(login[1]):
            self.backend.counters.logins_refused += 1
            raise ApiProblem(401, "InvalidCredentials", "User or password is wrong")
        if self.backend.options.login_needs_verification and user.verified_at is None:
            self.backend.counters.logins_refused += 1
            raise ApiProblem(403, "UserNotVerified", "The account has not been verified yet")
        self.backend.counters.logins += 1
        token = self.backend.tokens.issue(TokenKind.ACCOUNT, user.id, manager=user.manager)
        return web.json_response({"accessToken": token})

    async def sign_up(self, request: web.Request) -> web.Response:
        """Create an account; its verification token goes to the outbox."""
        body = await json_object(request)
        email, password = text_field(body, "email"), text_field(body, "password")
        if "@" not in email:
            raise ApiProblem(400, "InvalidBody", "email must be an e-mail address")
        if self.backend.users.find(email) is not None:
            # Status and code are invented; Bloq documents none.
            raise ApiProblem(409, "UserExists", "There is an account of that e-mail address already")
        user = self.backend.users.add(
            email,
            password,
            now=self.backend.clock.now(),
            display_name=text_field(body, "displayName"),
            billing_address=_billing_address(body),
        )
        return web.json_response(user_view(user), status=201)

    async def verify(self, request: web.Request) -> web.Response:
        """Verify an account with the token of its verification mail."""
        user = self.backend.users.find(request.match_info["user"])
        if user is None:
            raise ApiProblem(404, "UserNotFound", "There is no such user")
        if user.verified_at is not None:
            # The code is Bloq's; the status is only known to be neither 204 nor 404.
            raise ApiProblem(409, "UserVerified", "The account is verified already")
        if request.match_info["token"] != user.verification_token:
            raise ApiProblem(400, "InvalidToken", "The verification token is wrong")
        user.verified_at = user.updated_at = self.backend.clock.now()
        return _done(self.backend.options.verify_status)

    async def show_account(self, request: web.Request) -> web.Response:
        """Show the caller's account."""
        return web.json_response(user_view(self._caller(request)))

    async def change_password(self, request: web.Request) -> web.Response:
        """Change the caller's password."""
        user = self._caller(request)
        body = await json_object(request)
        new_password = text_field(body, "newPassword")
        if not user.has_password(text_field(body, "oldPassword")):
            raise ApiProblem(400, "InvalidPassword", "The old password is wrong")
        user.password = new_password
        user.updated_at = self.backend.clock.now()
        return _done(self.backend.options.password_status)

    async def create_key(self, request: web.Request) -> web.Response:
        """Create client keys; only this answer contains the secret."""
        key = self.backend.users.add_key(self._caller(request), self.backend.clock.now())
        return web.json_response(
            {"clientId": key.client_id, "clientSecret": key.client_secret, "createdAt": iso(key.created_at)}
        )

    async def list_keys(self, request: web.Request) -> web.Response:
        """List the caller's client keys."""
        user = self._caller(request)
        return web.json_response([key_view(key) for key in self.backend.users.keys_of(user.id)])

    async def delete_key(self, request: web.Request) -> web.Response:
        """Delete one of the caller's client keys and revoke its refresh tokens."""
        user = self._caller(request)
        key = self.backend.users.key(request.match_info["id"])
        if key is None or key.user_id != user.id:
            raise ApiProblem(404, "ClientKeyNotFound", "There is no such client key")
        withdraw_key(self.backend, key.client_id)
        return web.Response(status=204)

    async def list_events(self, request: web.Request) -> web.Response:
        """List the caller's authenticated calls."""
        user = self._caller(request)
        return web.json_response([event_view(event, user.id) for event in user.events])

    async def list_legacy_keys(self, request: web.Request) -> web.Response:
        """List the keys for signing mail and messages: always none, as no route to add one is known."""
        self._caller(request)
        wanted = request.match_info.get("type")
        lists: dict[str, list[Any]] = {f"{kind}keys": [] for kind in _LEGACY_KEYS if wanted in (None, kind)}
        if not lists:
            raise ApiProblem(404, "NotFound", f"type must be one of {', '.join(_LEGACY_KEYS)}")
        # The client of that time expected this status.
        return web.json_response(lists, status=201)

    async def show_legacy_key(self, request: web.Request) -> web.Response:
        """Show one of those keys."""
        self._caller(request)
        raise ApiProblem(404, "NotFound", "There is no such key")

    def _caller(self, request: web.Request) -> User:
        return self.backend.users.require(require_grant(self.backend, request, _ACCOUNT).user_id)


def withdraw_key(backend: Backend, client_id: str) -> None:
    """Delete a client key, and revoke the tokens that the options say it takes with it.

    :raises LocalBloqNotFound: There is no such key.
    """
    backend.users.remove_key(client_id)
    backend.tokens.revoke_all(TokenKind.REFRESH, client_id=client_id)
    if backend.options.key_deletion_kills_access:
        backend.tokens.revoke_all(TokenKind.ACCESS, client_id=client_id)


def _done(status: int) -> web.Response:
    # The official client parses the body of every 200.
    return web.Response(status=204) if status == 204 else web.json_response({}, status=status)


def _billing_address(body: dict[str, Any]) -> dict[str, str]:
    given = body.get("billingAddress", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ApiProblem(400, "InvalidBody", "billingAddress must be an object of texts")
    return {name: given[name] for name in BILLING_FIELDS if name in given}
