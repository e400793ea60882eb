"""Puts the access token on requests, for known origins only, and answers a refusal with another token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_bloq.auth import safe_json
from airflow_provider_bloq.auth.flow import Flow, Request, Response, send, tell
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.secret import Secret
from airflow_provider_bloq.auth.supply import TokenSupply
from airflow_provider_bloq.auth.token_events import TokenRefused, TokenSurvived
from airflow_provider_bloq.exceptions import BloqTokenRejected

__all__ = ["CLIMBS", "BearerAuth", "TrustedOrigins", "error_code", "is_auth_refusal"]

#: How often one request is sent again with another token. Once is not enough: the token that a fleet
#: shares may be dead as well, and one that was just renewed can be revoked before it arrives, as in a
#: rotation of keys. Who is not allowed to make the call at all pays this many grants to learn it.
CLIMBS = 3
_SCHEME = "Bearer "
#: Codes of a 403 body that speak of the token, unlike ``LimitExceeded`` or ``Forbidden``.
_ABOUT_CREDENTIALS = re.compile(r"token|credential|jwt|unauthori[sz]ed|unauthenticated", re.IGNORECASE)


class TrustedOrigins:
    """The origins that the access token may be shown to: those of the settings, and those of nodes
    and clusters as this account's API names them.
    """

    def __init__(self, origins: Iterable[Origin]) -> None:
        self._origins = set(origins)

    def add(self, origin: Origin) -> None:
        """Trust the origin of a node or cluster that this account's API has just named."""
        self._origins.add(origin)

    def covers(self, url: str) -> bool:
        """Tell whether a request to ``url`` may carry the token."""
        try:
            return Origin.of(url) in self._origins
        except ValueError:
            return False


class BearerAuth:
    """Signs requests with the access token and, on a 401, climbs the ladder and signs again.

    Each decision looks at the origin of the very request in hand: a redirect may have led elsewhere.

    :param provider: Gives the token.
    :param origins: Where it may go.
    """

    def __init__(self, provider: TokenSupply, origins: TrustedOrigins) -> None:
        self.provider = provider
        self.origins = origins

    def sign(self, request: Request) -> Flow[Request]:
        """Return the request with the token, or as it is where the token has no business."""
        if not self.origins.covers(request.url):
            return request
        token = yield from self.provider.token()
        return request.with_header("Authorization", _SCHEME + token.secret.reveal())

    def answer(self, request: Request, response: Response, *, climbs: int = 0) -> Flow[Request | None]:
        """Return the request to send instead of one that was refused; None where the response stands.

        :param request: The request as it was sent.
        :param response: What it got.
        :param climbs: How many tokens were got for this call already.
        """
        if not self.origins.covers(request.url) or not is_auth_refusal(response.status, response.body):
            return None
        sent = request.headers.get("Authorization", "")
        if sent.startswith(_SCHEME):
            self.provider.reject(Secret(sent.removeprefix(_SCHEME)), at_first_use=climbs > 0)
            yield from tell(TokenRefused(request.method, request.url.partition("?")[0], response.status))
        again = yield from self.sign(request)
        # Where Accounts hands out the same token until it ends, there is nothing else to show.
        return again if again.headers != request.headers else None

    def send(self, request: Request, once: Callable[[Request], Flow[Response]] = send) -> Flow[Response]:
        """Send a request signed; on a refusal again with another token, at most :data:`CLIMBS` times.

        A POST may go several times: a service that refuses the token has not acted.

        :param request: The request, without a token.
        :param once: How to send it one time.
        :raises BloqTokenRejected: Every token is refused, also those that were made for this call.
        """
        signed = yield from self.sign(request)
        response = yield from once(signed)
        climbs = 0
        while climbs < CLIMBS:
            again = yield from self.answer(signed, response, climbs=climbs)
            if again is None:
                break
            climbs += 1
            signed = again
            response = yield from once(signed)
        if self.origins.covers(request.url) and is_auth_refusal(response.status, response.body):
            raise BloqTokenRejected(
                f"{request.method} {request.url.partition('?')[0]} refuses ({response.status}) even an access token "
                "that was made for this call. If other calls work, this one is not allowed to this account."
            )
        if climbs:
            yield from tell(TokenSurvived(climbs))
        return response


def is_auth_refusal(status: int, body: bytes) -> bool:
    """Tell whether a response refuses the token, rather than what was asked for.

    The services' own choice between 401 and 403 is not documented, so a 403 counts as well, unless
    its body names a business code.
    """
    if status == 401:
        return True
    if status != 403:
        return False
    code = error_code(body)
    return code is None or _ABOUT_CREDENTIALS.search(code) is not None


def error_code(body: bytes) -> str | None:
    """Return the ``code`` of an error body; None where it is no JSON object or has none."""
    try:
        fields: Any = safe_json.loads(body)
    except ValueError:
        return None
    code = fields.get("code") if isinstance(fields, dict) else None
    return code if isinstance(code, str) and code else None
