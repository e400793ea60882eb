"""``POST /auth/token``: access tokens for client keys or for a refresh token.

An Authorization header is ignored here, even an expired one: the official client sends its account
token along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.inbound import json_object
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.texts import same_secret
from airflow_provider_bloq.testing.local.tokens import TokenKind, TokenState

__all__ = ["TokenApi"]


@dataclass(frozen=True, slots=True)
class TokenApi:
    """The route that hands out client tokens."""

    backend: Backend

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/auth/token", self.grant)]

    async def grant(self, request: web.Request) -> web.Response:
        """Serve one of the two grants."""
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
