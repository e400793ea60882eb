"""Operators for Bloq Nodes: create, delete and list nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_bloq.operators.base import BloqOperator

__all__ = ["BloqCreateNodeOperator", "BloqDeleteNodeOperator", "BloqListNodesOperator"]


class BloqCreateNodeOperator(BloqOperator):
    """Create a node, wait until it has started, and read the certificate it shows.

    Returns the node as the API describes it, without its user and password, and with
    ``tls_fingerprint``: the SHA-256 fingerprint of its self-signed certificate. Hand the result on as
    the ``node`` of other operators, which then talk to a server with this certificate only.

    Where the answer of the create is lost, the task fails for good, naming the nodes that may have come
    of it: a retry could make a second one. See ``serialised``. So it does, naming the node, where the node
    does not start.

    :param service_id: What to create: an id out of ``BloqHook.nodes.services()``.
    :param auth_type: How the node will know its callers: ``jwt`` (the access token) or ``basic`` (a user
        and password of its own).
    :param serialised: Set it only if nobody else creates nodes of this service at the same time (such as
        in a pool of one slot): where the answer is lost, a lone new node is then taken for this one.
    :param wait: Whether to wait until the node has started.
    :param poll_interval: Seconds between two looks at its state.
    :param wait_timeout: Seconds to wait for its start.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "service_id", "auth_type")

    def __init__(
        self,
        *,
        service_id: str,
        auth_type: str = "jwt",
        serialised: bool = False,
        wait: bool = True,
        poll_interval: float = 10.0,
        wait_timeout: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service_id = service_id
        self.auth_type = auth_type
        self.serialised = serialised
        self.wait = wait
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout

    def execute(self, context: Any) -> dict[str, Any]:
        """Create the node.

        :return: The node without its credentials, and ``tls_fingerprint``.
        """
        from airflow_provider_bloq.clients.retry import RetryPolicy
        from airflow_provider_bloq.clients.started import first_fingerprint, until_started
        from airflow_provider_bloq.settings.environment import Environment

        hook = self.hook
        node = hook.nodes.create(self.service_id, self.auth_type, serialised=self.serialised)
        self.log.info("Created %s (%s %s)", node.id, node.chain, node.network)
        if self.wait:
            node = hook.run(
                until_started(hook.nodes, node, poll_interval=self.poll_interval, timeout=self.wait_timeout)
            )
        local = hook.settings.environment is Environment.LOCAL
        fingerprint = hook.run(first_fingerprint(node, local=local, policy=RetryPolicy()))
        return {**node.public(), "tls_fingerprint": fingerprint}


class BloqDeleteNodeOperator(BloqOperator):
    """Delete a node for good. That it is deleted already is no error.

    :param node: Its id, or what ``BloqCreateNodeOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "node")

    def __init__(self, *, node: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node

    def execute(self, context: Any) -> None:
        """Delete the node."""
        from airflow_provider_bloq.hooks.failures import failing_at_once
        from airflow_provider_bloq.hooks.wiring import node_id_of

        with failing_at_once():
            node_id = node_id_of(self.node)
        self.hook.nodes.delete(node_id)
        self.log.info("Deleted %s", node_id)


class BloqListNodesOperator(BloqOperator):
    """List the account's nodes, each as the API describes it, without its user and password.

    :param include_stopped: Whether deleted nodes, which stay in Bloq's list, are listed as well.
    :param bloq_conn_id: Id of the connection.
    """

    def __init__(self, *, include_stopped: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_stopped = include_stopped

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """List the nodes.

        :return: The nodes without their credentials.
        """
        from airflow_provider_bloq.clients.models import STOPPED

        nodes = self.hook.nodes.list()
        return [node.public() for node in nodes if self.include_stopped or node.state != STOPPED]
