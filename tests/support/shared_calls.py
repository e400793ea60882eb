"""How the tests of the shared token make processes of a fleet, and have them call the service."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.flow.effects import Request, Response
from tests.support.scripted_bloq import NODES, ScriptedBloq

__all__ = ["PATIENCE", "Join", "calling"]

PATIENCE = 50.0

#: The fixture that makes a process of the fleet.
Join = Callable[..., SharedTokenProvider]


def calling(
    bloq: ScriptedBloq, provider: SharedTokenProvider, bearer: BearerAuth | None = None, url: str = NODES
) -> Response:
    """Call the service as a process of the fleet.

    :param bearer: Signs the call; None for one of its own.
    :param url: What to call.
    """
    bearer = bearer or BearerAuth(provider, TrustedOrigins([Origin.of(NODES)]))
    response: Response = bloq.run(bearer.send(Request("GET", url)))
    return response
