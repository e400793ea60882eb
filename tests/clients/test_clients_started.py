"""Reading the certificate that a new node shows first."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from airflow_provider_bloq.exceptions import BloqCertificateError, BloqUnavailable
from airflow_provider_bloq.flow.effects import Send
from airflow_provider_bloq.flow.retry import NO_RETRIES, RetryPolicy
from airflow_provider_bloq.nodes.models import Node
from airflow_provider_bloq.rpc.endpoint import fingerprint_of_new_node
from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
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


def fingerprint(bloq: BothWays, node: Node) -> str | None:
    seen: str | None = bloq.run(fingerprint_of_new_node(node, local=True, policy=NO_RETRIES))
    return seen


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


def test_a_node_that_breaks_off_the_handshake_is_tried_again() -> None:
    node = Node.from_json({"id": "node-1", "chain": "eth", "ip": "127.0.0.1"})
    flow = fingerprint_of_new_node(node, local=True, policy=RetryPolicy())
    failures = [
        BloqUnavailable("The connection was reset.", acted=True, method="HEAD", url="https://127.0.0.1"),
        BloqCertificateError("Not pinned.", fingerprint="ab" * 32, method="HEAD", url="https://127.0.0.1"),
    ]
    assert result_of(flow, failures) == "ab" * 32


def result_of(flow: Generator[Any, Any, str | None], failures: list[Exception]) -> str | None:
    """Run a flow whose requests fail one after the other."""
    try:
        effect = next(flow)
        while True:
            effect = flow.throw(failures.pop(0)) if isinstance(effect, Send) else flow.send(None)
    except StopIteration as end:
        result: str | None = end.value
        return result
