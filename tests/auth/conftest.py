"""What the tests of the ladder share: scripted services, keys to rotate, and a provider that knows both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.auth.ladder import TokenProvider
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.accounts import AccountsTokenEndpoint
from airflow_provider_bloq.clients.retry import RetryPolicy
from tests.support.scripted_bloq import ACCOUNTS, NODES, RotatingKeys, ScriptedBloq


@pytest.fixture
def bloq() -> ScriptedBloq:
    return ScriptedBloq()


@pytest.fixture
def source() -> RotatingKeys:
    return RotatingKeys()


@pytest.fixture
def provider(bloq: ScriptedBloq, source: RotatingKeys) -> TokenProvider:
    endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
    return TokenProvider(endpoint, source, clock=bloq.clock, random=lambda: 0.5)


@pytest.fixture
def bearer(provider: TokenProvider) -> BearerAuth:
    return BearerAuth(provider, TrustedOrigins([Origin.of(NODES)]))


@pytest.fixture
def call(bloq: ScriptedBloq, bearer: BearerAuth) -> Callable[..., Response]:
    """Call the service with the token."""

    def called(url: str = NODES, method: str = "GET", body: bytes | None = None) -> Response:
        response: Response = bloq.run(bearer.send(Request(method, url, body=body)))
        return response

    return called
