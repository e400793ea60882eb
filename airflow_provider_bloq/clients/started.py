"""The certificate that a new node shows first, to be trusted from then on."""

from __future__ import annotations

import logging

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.addresses import rpc_url
from airflow_provider_bloq.clients.handshake import shown_fingerprint
from airflow_provider_bloq.clients.models import Node
from airflow_provider_bloq.clients.retry import RetryPolicy
from airflow_provider_bloq.exceptions import BloqError

__all__ = ["first_fingerprint"]

log = logging.getLogger(__name__)


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
