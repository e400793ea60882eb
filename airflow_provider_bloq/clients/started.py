"""Waiting until a node that was just created can be used."""

from __future__ import annotations

import logging

from airflow_provider_bloq.auth.flow import Flow, sleep
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.addresses import rpc_url
from airflow_provider_bloq.clients.handshake import shown_fingerprint
from airflow_provider_bloq.clients.models import STARTED, STOPPED, Node
from airflow_provider_bloq.clients.nodes import NodesApi
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.exceptions import BloqError, BloqNotStarted

__all__ = ["first_fingerprint", "until_started"]

log = logging.getLogger(__name__)


def until_started(api: NodesApi, node: Node, *, poll_interval: float, timeout: float) -> Flow[Node]:
    """Read a node again and again until it is started; a flow.

    Which states lie between is not documented, so any but ``started`` and ``stopped`` means "not yet".

    :param api: Reads the node.
    :param node: The node as it was last seen.
    :param poll_interval: Seconds between two looks.
    :param timeout: Seconds to wait in all.
    :raises BloqNotStarted: It has not started in time, was stopped meanwhile, or cannot be read any more.
    """
    waited = 0.0
    while node.state != STARTED:
        if node.state == STOPPED:
            raise _not_started(node, "was stopped before it had started")
        if waited >= timeout:
            raise _not_started(node, f"has not started in {timeout:.0f} s; its state is {node.state!r}")
        yield from sleep(poll_interval)
        waited += poll_interval
        try:
            node = yield from NodesApi.get.flow(api, node.id)
        except BloqError as failure:
            if not failure.retryable:
                raise _not_started(node, f"could not be read while it started: {failure}") from failure
            log.warning("%s could not be read, it is waited for on: %s", node.id, failure)
    return node


def _not_started(node: Node, what: str) -> BloqNotStarted:
    # Not an error to retry the task for: that would create a second node beside this one.
    return BloqNotStarted(f"{node.id} {what}. Look what became of it, and delete it.", node_id=node.id)


def first_fingerprint(node: Node, *, local: bool, policy: RetryPolicy) -> Flow[str | None]:
    """Read the certificate that a new node shows, to be trusted from then on; a flow.

    Nothing is sent to the node: the handshake ends before the first header.

    :param node: The node.
    :param local: As for :func:`~airflow_provider_bloq.clients.addresses.rpc_url`.
    :param policy: As for :func:`~airflow_provider_bloq.clients.handshake.shown_fingerprint`.
    :return: SHA-256 fingerprint in lower-case hex; None where it could not be read.
    """
    try:
        return (yield from shown_fingerprint(Origin.of(rpc_url(node, local=local)), policy))
    except BloqError as problem:
        # The node is there all the same: its id must reach the task that will delete it.
        log.warning("The certificate of %s could not be read, so it is not pinned: %s", node.id, problem)
    return None
