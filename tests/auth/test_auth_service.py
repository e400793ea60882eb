"""The ladder over real sockets, with either driver, against the local Bloq service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow
from airflow_provider_bloq.flow.network import Network
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.nodes.client import NodesApi
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from tests.support.drivers import (
    DRIVERS,
    PATIENT,
    DriverKind,
    awaiting_driver,
    blocking_driver,
    run_to_end,
)
from tests.support.scripted_bloq import RotatingKeys

#: Retries without pauses worth speaking of.
HASTY = RetryPolicy(base=0.001)


@pytest.fixture(params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> DriverKind:
    chosen: DriverKind = request.param
    return chosen


@dataclass
class Clock:
    """One time for the service and for the provider, in seconds."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tenant:
    """An account with client keys at a source, and a provider that has them."""

    bloq: LocalBloq
    source: RotatingKeys
    provider: ClientKeysTokenProvider
    account_id: str

    @property
    def bearer(self) -> BearerAuth:
        return BearerAuth(self.provider, TrustedOrigins([Origin.of(self.bloq.nodes_url)]))

    def list_nodes(self) -> Flow[Any]:
        api = NodesApi(url=self.bloq.nodes_url, bearer=self.bearer, policy=HASTY)
        return NodesApi.list.flow(api)

    def rotate(self) -> None:
        """Store new keys at the source and delete the old ones, with all their tokens."""
        old = self.source.reading.keys.client_id
        self.source.reading = _new_keys(self.bloq, self.account_id, 8)
        self.bloq.delete_client_keys(old)
        self.bloq.revoke_access_tokens(old)

    @property
    def cost(self) -> tuple[int, int, int]:
        """Key readings, mints and calls refused so far."""
        counters = self.bloq.counters()
        return self.source.loads, counters.mints, counters.unauthorized.get("nodes", 0)


def _new_keys(bloq: LocalBloq, account_id: str, version: int) -> KeyReading:
    issued = bloq.create_client_keys(account_id)
    return KeyReading(ClientKeys(issued.client_id, Secret(issued.client_secret)), version)


Settle = Callable[..., Tenant]


@pytest.fixture
def settle() -> Iterator[Settle]:
    """Start a service with the options given, and one account with a provider."""
    with ExitStack() as running:

        def settled(provider_clock: Callable[[], float] = time.monotonic, **options: Any) -> Tenant:
            bloq = running.enter_context(LocalBloq(LocalBloqOptions(upstreams={}, **options)))
            account = bloq.create_account("ann@example.com", "a fine password")
            source = RotatingKeys(reading=_new_keys(bloq, account.id, 7))
            endpoint = AccountsTokenEndpoint(bloq.accounts_url, HASTY)
            return Tenant(
                bloq, source, ClientKeysTokenProvider(endpoint, source, clock=provider_clock), account.id
            )

        yield settled


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_twenty_seconds_of_calls_with_six_second_tokens_cost_one_reading_and_one_mint(
    settle: Settle, kind: DriverKind, clock: Clock
) -> None:
    tenant = settle(clock, clock=clock, access_token_seconds=6)

    def call_and_wait() -> Flow[Any]:
        nodes = yield from tenant.list_nodes()
        clock.now += 0.25
        return nodes

    assert run_to_end(kind, *[call_and_wait] * 80) == [[]] * 80
    assert tenant.cost == (1, 1, 0)
    # Each is renewed at half its life.
    assert tenant.bloq.counters().refreshes == 6


@pytest.mark.slow
async def test_twenty_seconds_by_the_clock_on_the_wall_cost_both_drivers_one_reading_and_one_mint(
    settle: Settle,
) -> None:
    tenant = settle(access_token_seconds=6)
    blocking, awaiting = blocking_driver(), awaiting_driver()
    over = threading.Event()
    calls = {"blocking": 0, "awaiting": 0}

    def work() -> None:
        while not over.wait(0.1):
            blocking.run(tenant.list_nodes())
            calls["blocking"] += 1

    async def awork() -> None:
        while not over.is_set():
            await awaiting.run(tenant.list_nodes())
            calls["awaiting"] += 1
            await asyncio.sleep(0.1)

    asyncio.get_running_loop().call_later(20, over.set)
    await asyncio.gather(asyncio.to_thread(work), awork())
    await awaiting.close()
    blocking.close()
    assert min(calls.values()) > 10
    assert tenant.cost == (1, 1, 0)
    assert tenant.bloq.counters().refreshes >= 3


def test_a_revoked_refresh_token_costs_one_more_mint_and_no_failed_call(
    settle: Settle, kind: DriverKind, clock: Clock
) -> None:
    tenant = settle(clock, clock=clock)
    run_to_end(kind, tenant.list_nodes)
    tenant.bloq.revoke_refresh_tokens()
    clock.now += 3600
    assert run_to_end(kind, tenant.list_nodes, tenant.list_nodes) == [[], []]
    assert tenant.cost == (1, 2, 0)
    assert tenant.bloq.counters().refreshes_refused == 1


def test_a_revoked_access_token_costs_one_refresh_and_no_failed_call(
    settle: Settle, kind: DriverKind
) -> None:
    tenant = settle()
    run_to_end(kind, tenant.list_nodes)
    tenant.bloq.revoke_access_tokens()
    assert run_to_end(kind, tenant.list_nodes) == [[]]
    assert tenant.cost == (1, 1, 1)
    assert tenant.bloq.counters().refreshes == 1


@pytest.mark.parametrize("status", [401, 403])
def test_an_expiry_that_only_the_service_knows_of_is_survived(
    settle: Settle, kind: DriverKind, status: int
) -> None:
    tenant = settle(expired_status=status, expiry_body="plain")
    run_to_end(kind, tenant.list_nodes)
    tenant.bloq.advance_clock(4000)
    assert run_to_end(kind, tenant.list_nodes) == [[]]
    assert tenant.bloq.counters().mints == 1


def test_rotated_keys_cost_one_more_reading_and_one_more_mint_and_no_failed_call(
    settle: Settle, kind: DriverKind
) -> None:
    tenant = settle(key_deletion_kills_access=True)
    run_to_end(kind, tenant.list_nodes)
    tenant.rotate()
    assert run_to_end(kind, tenant.list_nodes, tenant.list_nodes) == [[], []]
    assert tenant.cost == (2, 2, 1)
    assert tenant.provider.key_version == 8


def test_deleted_keys_that_the_source_still_holds_are_rejected_after_one_more_reading(
    settle: Settle, kind: DriverKind
) -> None:
    tenant = settle()
    keys = tenant.source.reading.keys
    tenant.bloq.delete_client_keys(keys.client_id)
    with pytest.raises(BloqClientKeysRejected, match=keys.client_id) as refusal:
        run_to_end(kind, tenant.list_nodes)
    assert tenant.source.loads == 2
    assert tenant.bloq.counters().mints_refused == 1
    assert keys.client_secret.reveal() not in repr(refusal.value)


@pytest.mark.parametrize("hours", [-10, 10])
def test_a_worker_whose_wall_clock_is_ten_hours_wrong_works(
    settle: Settle, kind: DriverKind, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    right = time.time
    tenant = settle(clock=right)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: right() + hours * 3600)
        assert run_to_end(kind, *[tenant.list_nodes] * 5) == [[]] * 5
    assert tenant.cost == (1, 1, 0)
    assert tenant.bloq.counters().refreshes == 0


@pytest.mark.parametrize(
    "options",
    [{"opaque_tokens": True}, {"omitted_claims": frozenset({"iat"})}, {"omitted_claims": frozenset({"exp"})}],
    ids=["opaque", "no iat", "no exp"],
)
def test_a_token_without_readable_times_works(
    settle: Settle, kind: DriverKind, options: dict[str, Any]
) -> None:
    tenant = settle(**options)
    assert run_to_end(kind, *[tenant.list_nodes] * 3) == [[]] * 3
    assert tenant.cost == (1, 1, 0)


def test_a_refresh_token_that_rotates_is_followed(settle: Settle, kind: DriverKind, clock: Clock) -> None:
    tenant = settle(clock, clock=clock, rotate_refresh=True)
    for _ in range(4):
        assert run_to_end(kind, tenant.list_nodes) == [[]]
        clock.now += 3600
    assert tenant.cost == (1, 1, 0)
    assert tenant.bloq.counters().refreshes_refused == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts", retry_after=0),
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts", retry_after=0, retry_after_form="date"),
        Fault(kind=FaultKind.STATUS, service="accounts", status=503),
        Fault(kind=FaultKind.HTML, service="accounts", status=502),
        Fault(kind=FaultKind.RESET, service="accounts"),
        Fault(kind=FaultKind.LOST_RESPONSE, service="accounts"),
        Fault(kind=FaultKind.STALL_HEADERS, service="accounts"),
        Fault(kind=FaultKind.STALL_BODY, service="accounts"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.retry_after_form}",
)
def test_a_needed_token_is_asked_for_again_when_accounts_stumbles(
    settle: Settle, kind: DriverKind, fault: Fault
) -> None:
    tenant = settle()
    tenant.bloq.add_fault(fault)
    # Only what stalls waits for the end of the timeout.
    network = Network(timeout=1.0) if "stall" in fault.kind else PATIENT
    assert run_to_end(kind, tenant.list_nodes, network=network) == [[]]
    assert tenant.source.loads == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.HTML, service="accounts", status=200),
        Fault(kind=FaultKind.TRUNCATED_JSON, service="accounts"),
        Fault(kind=FaultKind.STATUS, service="accounts", status=500),
        Fault(kind=FaultKind.STATUS, service="accounts", status=503, times=None),
        Fault(kind=FaultKind.RESET, service="accounts", times=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_an_accounts_that_gives_no_token_is_an_error_without_its_body(
    settle: Settle, kind: DriverKind, fault: Fault
) -> None:
    tenant = settle()
    tenant.bloq.add_fault(fault)
    with pytest.raises(BloqUnavailable, match=f"POST {tenant.bloq.accounts_url}/auth/token ") as failure:
        run_to_end(kind, tenant.list_nodes)
    assert failure.value.retryable
    for part in ("accessToken", "eyJ", "<html", tenant.source.reading.keys.client_secret.reveal()):
        assert part not in str(failure.value)
    tenant.bloq.clear_faults()
    assert run_to_end(kind, tenant.list_nodes) == [[]]
