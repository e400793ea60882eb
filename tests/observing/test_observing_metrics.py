"""What is counted: by Airflow's own ``Stats``, under names that are documented and hold no id."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.observability import stats

from airflow_provider_bloq.flow.events import Event, held_back
from airflow_provider_bloq.hooks._telemetry import COUNTED, ServiceNames, measure
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.nodes.conditions import NodeList
from airflow_provider_bloq.polling.shared_polls import shared_polls
from airflow_provider_bloq.testing.local import Fault, FaultKind
from airflow_provider_bloq.testing.stack import LocalStack

DOCUMENTED = Path(__file__).parents[2] / "docs" / "metrics.md"


class Backend:
    """Counts as a StatsD server does."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.timings: dict[str, list[timedelta]] = {}
        self.tags: list[dict[str, Any]] = []

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, Any] | None = None) -> None:
        self.counts[stat] = self.counts.get(stat, 0) + count
        self.tags.append(tags or {})

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, Any] | None = None) -> None:
        self.timings.setdefault(stat, []).append(dt)


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    factory: Any = lambda: made  # noqa: E731
    stats.initialize(factory=factory, export_legacy_names=False)
    yield made
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    stats.initialize(factory=get_stats_factory(), export_legacy_names=False)


def test_tokens_calls_and_refusals_are_counted(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    hook = BloqHook()
    hook.nodes.list()
    stack.bloq.revoke_access_tokens(stack.keys.client_id)
    hook.nodes.list()
    assert backend.counts == {
        "bloq.keys.read": 1,
        "bloq.token.minted": 1,
        "bloq.token.refused.nodes": 1,
        "bloq.token.refreshed": 1,
        "bloq.token.survived": 1,
        "bloq.call.accounts": 2,
        "bloq.call.nodes": 3,
    }
    assert {name: len(taken) for name, taken in backend.timings.items()} == {
        "bloq.call.accounts.duration": 2,
        "bloq.call.nodes.duration": 3,
    }
    assert all(dt > timedelta() for taken in backend.timings.values() for dt in taken)
    assert [tags["answer"] for tags in backend.tags if tags].count("4xx") == 1


def test_the_event_loop_counts_the_same(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    async def act() -> None:
        async with BloqAsyncHook() as hook:
            await hook.nodes.list()

    asyncio.run(act())
    assert backend.counts["bloq.token.minted"] == 1
    assert backend.counts["bloq.call.nodes"] == 1


def test_failures_and_waits_are_counted(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    stack.bloq.add_fault(Fault(kind=FaultKind.STATUS, service="nodes"))
    stack.bloq.add_fault(Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=0))
    BloqHook().nodes.list()
    assert backend.counts["bloq.call.nodes"] == 3
    assert backend.counts["bloq.call.nodes.failed"] == 1
    assert backend.counts["bloq.held_back.service"] == 1
    assert len(backend.timings["bloq.held_back.service.duration"]) == 1


def test_requests_of_other_libraries_are_counted_each_time_they_are_sent(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    hook = BloqHook()
    session = hook.get_conn()
    url = f"{stack.bloq.nodes_url}/users/me/nodes"
    assert session.get(url).status_code == 200
    stack.bloq.revoke_access_tokens(stack.keys.client_id)
    assert session.get(url).status_code == 200
    assert backend.counts["bloq.call.nodes"] == 3
    assert backend.counts["bloq.token.survived"] == 1


def test_a_look_is_counted_once_for_all_who_wait_for_it(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    async def wait(ready: asyncio.Barrier) -> None:
        async with shared_polls().subscribe("bloq_default", NodeList(), interval=3600) as handle:
            await ready.wait()
            await handle.result()
            # Nobody leaves before all have seen it.
            await ready.wait()

    async def act() -> None:
        ready = asyncio.Barrier(3)
        await asyncio.gather(*(wait(ready) for _ in range(3)))

    asyncio.run(act())
    assert (backend.counts["bloq.poll.looks"], backend.counts["bloq.poll.served"]) == (1, 3)
    assert backend.counts["bloq.call.nodes"] == 1


def test_a_metrics_backend_that_fails_breaks_no_call(
    stack: LocalStack, connected: Callable[..., None], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise OSError("no such host")

    monkeypatch.setattr(backend, "incr", failing)
    assert BloqHook().nodes.list() is not None


def test_every_name_is_documented(
    stack: LocalStack, connected: Callable[..., None], backend: Backend
) -> None:
    documented = re.findall(r"`(bloq\.[a-z_.<>]+)`", DOCUMENTED.read_text(encoding="utf-8"))
    patterns = [re.escape(name).replace("<service>", "(accounts|nodes|connect|rpc)") for name in documented]
    test_failures_and_waits_are_counted(stack, connected, backend)
    stack.bloq.revoke_access_tokens(stack.keys.client_id)
    BloqHook().nodes.list()
    measure(held_back(1.0, by_service=False), lambda url: "nodes")
    measure(Event("poll", "", waiters=7), lambda url: "nodes")
    assert backend.counts["bloq.poll.served"] == 7
    used = {*(f"bloq.{name}" for name in COUNTED), *backend.counts, *backend.timings}
    assert [name for name in used if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://accounts.example/auth/token", "accounts"),
        ("https://nodes.example/users/me/nodes", "nodes"),
        ("https://nodes.example", "nodes"),
        ("https://btc.connect.example/api/v1/blocks", "connect"),
        ("https://nodes.example.evil/users", "rpc"),
        ("https://10.0.0.1:8545/", "rpc"),
        ("", "rpc"),
    ],
)
def test_services_are_named_by_their_urls(url: str, name: str) -> None:
    names = ServiceNames(
        {
            "nodes": "https://nodes.example",
            "connect": "https://{chain}.connect.example",
            "accounts": "https://accounts.example",
        }
    )
    assert names.name(url) == name


def test_services_that_share_an_origin_are_told_by_their_paths() -> None:
    names = ServiceNames(
        {"nodes": "https://one.example/nodes/v1", "accounts": "https://one.example/accounts/v1"}
    )
    assert names.name("https://one.example/accounts/v1/auth/token") == "accounts"
    assert names.name("https://one.example/nodes/v1/users/me/nodes") == "nodes"
    assert names.name("https://one.example") == "nodes"
