"""Waiting for a new node, and reading the certificate that it shows first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_bloq.clients.models import Node
from airflow_provider_bloq.clients.retry import IMPATIENT
from airflow_provider_bloq.clients.started import first_fingerprint, until_started
from airflow_provider_bloq.exceptions import BloqNotFound, BloqNotStarted
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq, LocalBloqOptions
from tests.clients.both_ways import BothWays, OpenClients


@pytest.fixture(scope="module")
def slow_service() -> Iterator[LocalBloq]:
    """A service whose nodes take an hour, unless they are told to be ready."""
    options = LocalBloqOptions(upstreams={}, provision_seconds=3600.0, provisioning_state="syncing")
    with LocalBloq(options) as running:
        yield running


@pytest.fixture
def slow(slow_service: LocalBloq, open_clients: OpenClients) -> BothWays:
    return open_clients(slow_service)


@pytest.fixture
def node(slow_service: LocalBloq, slow: BothWays) -> Node:
    """A node that is not ready yet."""
    made: Node = slow.nodes.create(slow_service.service_id("btc"))
    assert made.state == "syncing"
    return made


def wait(bloq: BothWays, node: Node, timeout: float = 60.0) -> Node:
    started: Node = bloq.run(until_started(bloq.nodes.api, node, poll_interval=10.0, timeout=timeout))
    return started


def fingerprint(bloq: BothWays, node: Node) -> str | None:
    seen: str | None = bloq.run(first_fingerprint(node, local=True, policy=IMPATIENT))
    return seen


def test_any_state_but_the_known_ones_means_not_yet(
    slow_service: LocalBloq, slow: BothWays, node: Node
) -> None:
    def ready_after_three() -> None:
        if len(slow.pauses) == 3:
            slow_service.finish_provisioning(node.id)

    slow.in_pauses = ready_after_three
    assert wait(slow, node).state == "started"
    assert slow.pauses == [10.0, 10.0, 10.0]


def test_a_node_that_has_started_is_not_asked_for(
    slow_service: LocalBloq, slow: BothWays, node: Node
) -> None:
    slow_service.finish_provisioning(node.id)
    started = slow.nodes.get(node.id)
    slow_service.reset_counters()
    assert wait(slow, started) is started
    assert slow_service.counters().calls == {}


def test_waiting_ends_with_its_time(slow: BothWays, node: Node) -> None:
    with pytest.raises(BloqNotStarted, match="has not started in 30 s; its state is 'syncing'") as late:
        wait(slow, node, timeout=30.0)
    assert late.value.node_id == node.id
    assert slow.pauses == [10.0, 10.0, 10.0]


def test_a_look_that_fails_for_now_does_not_lose_the_node(
    slow_service: LocalBloq, slow: BothWays, node: Node
) -> None:
    slow_service.add_fault(Fault(kind=FaultKind.STATUS, status=500, service="nodes", method="GET"))

    def ready_after_two() -> None:
        if len(slow.pauses) == 2:
            slow_service.finish_provisioning(node.id)

    slow.in_pauses = ready_after_two
    assert wait(slow, node).state == "started"


def test_a_node_that_cannot_be_read_any_more_is_named(
    slow_service: LocalBloq, slow: BothWays, node: Node
) -> None:
    fault = slow_service.add_fault(
        Fault(kind=FaultKind.STATUS, status=404, service="nodes", method="GET", times=None)
    )
    with pytest.raises(BloqNotStarted, match=node.id) as lost:
        wait(slow, node)
    slow_service.clear_faults(fault)
    assert isinstance(lost.value.__cause__, BloqNotFound)


def test_a_node_that_was_deleted_meanwhile_is_not_waited_for(slow: BothWays, node: Node) -> None:
    slow.nodes.delete(node.id)
    with pytest.raises(BloqNotStarted, match="was stopped"):
        wait(slow, node)
    assert slow.pauses == [10.0]


def test_the_first_certificate_is_read_and_nothing_is_sent(
    slow_service: LocalBloq, slow: BothWays, node: Node
) -> None:
    slow_service.finish_provisioning(node.id)
    slow_service.reset_counters()
    assert fingerprint(slow, node) == slow_service.node_fingerprint(node.id)
    assert slow_service.counters().calls == {}


def test_a_certificate_that_cannot_be_read_is_a_warning_only(
    slow: BothWays, caplog: pytest.LogCaptureFixture
) -> None:
    # The id of the node must reach the task that will delete it.
    for chain, address in (
        ("eth", "127.0.0.1:1"),
        ("eth", None),
        ("eth", "169.254.169.254"),
        ("solana", "127.0.0.1"),
    ):
        assert fingerprint(slow, Node.from_json({"id": "node-1", "chain": chain, "ip": address})) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    assert all("node-1" in record.message for record in caplog.records)
