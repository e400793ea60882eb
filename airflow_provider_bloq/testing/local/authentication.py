"""Checks bearer tokens, and makes the answers to those that are not accepted."""

from __future__ import annotations

from aiohttp import web

from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import Grant, TokenKind, TokenState

__all__ = [
    "ANY_ACCESS",
    "bearer_grant",
    "bearer_token",
    "require_admin",
    "require_grant",
    "token_expired",
]


#: The tokens that Nodes and the nodes accept: access tokens of accounts and of client keys.
ANY_ACCESS = frozenset({TokenKind.ACCOUNT, TokenKind.ACCESS})


def token_expired(options: LocalBloqOptions) -> ApiProblem:
    """Return the answer to an expired token; ``jwt expired`` is the only text that Bloq is known to send."""
    bare = {"plain": "jwt expired", "json": '"jwt expired"'}
    return ApiProblem(
        options.expired_status,
        "TokenExpired",
        "The access token has expired",
        plain=bare.get(options.expiry_body),
        headers={"Content-Type": "application/json"} if options.expiry_body == "json" else None,
    )


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header; None for any other header."""
    scheme, _, token = (header or "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def bearer_grant(backend: Backend, header: str | None, kinds: frozenset[TokenKind]) -> Grant:
    """Return the grant of the header's bearer token.

    :param header: The Authorization header.
    :param kinds: The accepted kinds of token.
    :raises ApiProblem: 401 without a token or with an expired or revoked one, 403 with a forged one
        or one of the wrong kind.
    """
    token = bearer_token(header)
    if token is None:
        raise ApiProblem(
            401, "Unauthorized", "A bearer token is required", headers={"WWW-Authenticate": "Bearer"}
        )
    grant = backend.tokens.find(token)
    if grant is None:
        reason = "invalid signature" if token.count(".") == 2 else "jwt malformed"
        raise ApiProblem(403, "InvalidToken", reason)
    if grant.kind not in kinds:
        raise ApiProblem(403, "InvalidToken", f"A {grant.kind} token is not accepted here")
    match backend.tokens.state(grant):
        case TokenState.EXPIRED:
            raise token_expired(backend.options)
        case TokenState.REVOKED:
            raise ApiProblem(401, "TokenRevoked", "The token has been revoked")
        case TokenState.LIVE:
            return grant


def require_grant(backend: Backend, request: web.Request, kinds: frozenset[TokenKind]) -> Grant:
    """Return the grant of a request's bearer token; raises as :func:`bearer_grant`."""
    return bearer_grant(backend, request.headers.get("Authorization"), kinds)


def require_admin(backend: Backend, request: web.Request) -> Grant:
    """Return the grant of an administrator's request.

    :raises ApiProblem: 403 ``Forbidden`` for other users; also raises as :func:`bearer_grant`.
    """
    grant = require_grant(backend, request, ANY_ACCESS)
    if not grant.is_admin:
        raise ApiProblem(403, "Forbidden", "Only administrators may do this")
    return grant
