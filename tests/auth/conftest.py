"""What the tests of the ladder share: scripted services, keys to rotate, and a provider that knows both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.flow.effects import Request, Response
from airflow_provider_bloq.flow.retry import RetryPolicy
from tests.support.drivers import blocking_driver
from tests.support.gated_endpoint import GatedEndpoint, HandClock
from tests.support.other_loop import OtherLoop
from tests.support.scripted_bloq import ACCOUNTS, NODES, RotatingKeys, ScriptedBloq
from tests.support.shared_calls import PATIENCE, Join
from tests.support.shared_slots import FakeStore
from tests.support.signing import FixedKeys


@pytest.fixture
def bloq() -> ScriptedBloq:
    return ScriptedBloq()


@pytest.fixture
def source() -> RotatingKeys:
    return RotatingKeys()


@pytest.fixture
def provider(bloq: ScriptedBloq, source: RotatingKeys) -> ClientKeysTokenProvider:
    endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
    return ClientKeysTokenProvider(endpoint, source, clock=bloq.clock, random=lambda: 0.5)


@pytest.fixture
def bearer(provider: ClientKeysTokenProvider) -> BearerAuth:
    return BearerAuth(provider, TrustedOrigins([Origin.of(NODES)]))


@pytest.fixture
def call(bloq: ScriptedBloq, bearer: BearerAuth) -> Callable[..., Response]:
    """Call the service with the token."""

    def called(url: str = NODES, method: str = "GET", body: bytes | None = None) -> Response:
        response: Response = bloq.run(bearer.send(Request(method, url, body=body)))
        return response

    return called


@pytest.fixture
def endpoint() -> GatedEndpoint:
    return GatedEndpoint()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def expired(endpoint: GatedEndpoint, clock: HandClock) -> ClientKeysTokenProvider:
    """A provider that holds a dead token and a refresh token, with the gate shut again."""
    provider = ClientKeysTokenProvider(endpoint, FixedKeys(), clock=clock)
    endpoint.holdup.released.set()
    blocking_driver().run(provider.token())
    endpoint.holdup.released.clear()
    endpoint.holdup.entered.clear()
    endpoint.holdup.entries = 0
    clock.now += 4000
    return provider


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as pool:
        yield pool


@pytest.fixture
def other_loop(endpoint: GatedEndpoint) -> Iterator[OtherLoop]:
    other = OtherLoop()
    yield other
    endpoint.holdup.released.set()
    other.close()


@pytest.fixture
def store(bloq: ScriptedBloq) -> FakeStore:
    # Vault's clock has nothing to do with anybody else's.
    return FakeStore(lambda: 7e8 - 3e5 + bloq.time)


@pytest.fixture
def join(bloq: ScriptedBloq, store: FakeStore) -> Join:
    """Make a process of the fleet: a member with these keys, or a reader."""

    def joined(source: RotatingKeys | None = None, **options: Any) -> SharedTokenProvider:
        endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
        clocks: dict[str, Any] = {"clock": bloq.clock, "random": lambda: 0.5}
        minter = ClientKeysTokenProvider(endpoint, source, **clocks) if source is not None else None
        return SharedTokenProvider(
            store.shared, ACCOUNTS, minter=minter, max_wait=PATIENCE, **{**clocks, **options}
        )

    return joined


@pytest.fixture
def member(join: Join, source: RotatingKeys) -> SharedTokenProvider:
    return join(source)


@pytest.fixture
def reader(join: Join) -> SharedTokenProvider:
    return join()
