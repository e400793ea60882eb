"""Operators for Bloq Nodes: create, delete, list and read nodes, and their logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator
from airflow_provider_bloq.operators._create import BloqCreateOperator
from airflow_provider_bloq.operators._results import BloqStoringOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.nodes.client import DeploymentsApi
    from airflow_provider_bloq.polling.conditions import Condition
    from airflow_provider_bloq.triggers.wait import CancellingTrigger

__all__ = [
    "BloqCreateNodeOperator",
    "BloqDeleteNodeOperator",
    "BloqGetNodeOperator",
    "BloqListNodesOperator",
    "BloqNodeLogsOperator",
]


class BloqCreateNodeOperator(BloqCreateOperator):
    """Create a node, wait until it has started, and read its certificate.

    Returns the node as the API describes it, without its user and password but with ``tls_fingerprint``: the SHA-256
    fingerprint of its self-signed certificate. Pass the result as the ``node`` of other operators, which then accept
    this certificate only.

    Retries leave exactly one node; see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`, also for
    the other parameters.

    :param service_id: Id of the service to create, from ``BloqHook.nodes.services()``.
    :param auth_type: How callers authenticate: ``jwt`` (the access token) or ``basic`` (the node's user and password).
    """

    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        from airflow_provider_bloq.nodes.client import NodesApi

        return self.hook.nodes if service is None else NodesApi(**service)

    def order(self) -> dict[str, Any]:
        from airflow_provider_bloq.nodes.client import NodesApi

        return NodesApi.order(self.service_id, self.auth_type)

    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        from airflow_provider_bloq.nodes.conditions import NodeState

        return NodeState(id)

    def trigger_class(self) -> type[CancellingTrigger]:
        from airflow_provider_bloq.triggers.wait import BloqNodeStartTrigger

        return BloqNodeStartTrigger

    def result(self, deployment: Any) -> dict[str, Any]:
        """Return the node without its credentials, and ``tls_fingerprint``."""
        from airflow_provider_bloq.connection.fields import Environment
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.rpc.endpoint import fingerprint_of_new_node

        local = self.hook.settings.environment is Environment.LOCAL
        fingerprint = self.hook.run(fingerprint_of_new_node(deployment, local=local, policy=RetryPolicy()))
        return {**deployment.public(), "tls_fingerprint": fingerprint}


class BloqDeleteNodeOperator(BloqOperator):
    """Delete a node. Succeeds if it is already deleted.

    :param node: Its id, or the result of ``BloqCreateNodeOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "node")

    def __init__(self, *, node: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node

    def execute(self, context: Any) -> None:
        """Delete the node."""
        node_id = _node_id(self.node)
        self.hook.nodes.delete(node_id)
        self.log.info("Deleted %s", node_id)


class BloqListNodesOperator(BloqOperator):
    """List the account's nodes, as the API describes them, without users and passwords.

    :param include_stopped: Whether to include deleted nodes, which stay on Bloq's list.
    :param bloq_conn_id: Id of the connection.
    """

    def __init__(self, *, include_stopped: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include_stopped = include_stopped

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """Return the nodes without their credentials."""
        from airflow_provider_bloq.nodes.models import STOPPED

        nodes = self.hook.nodes.list()
        return [node.public() for node in nodes if self.include_stopped or node.state != STOPPED]


class BloqGetNodeOperator(BloqOperator):
    """Read a node. Returns it as the API describes it, without its user and password.

    :param node: Its id, or the result of ``BloqCreateNodeOperator``.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "node")

    def __init__(self, *, node: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node

    def execute(self, context: Any) -> dict[str, Any]:
        """Return the node without its credentials."""
        return self.hook.nodes.get(_node_id(self.node)).public()


class BloqNodeLogsOperator(BloqStoringOperator):
    """Read the last lines of a node's log.

    Returns the service's response, whose shape is not documented: a list of lines, or an object whose ``data`` is one
    string.

    :param node: Its id, or the result of ``BloqCreateNodeOperator``.
    :param lines: How many lines.
    :param result_path: URL of a file on object storage for logs larger than ``result_limit``; see
        :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`, also for the next two.
    :param result_conn_id: Connection of that storage, unless the URL names it.
    :param result_limit: Largest result, in bytes of JSON, that is returned directly (1 MiB).
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqStoringOperator.template_fields, "node", "lines")

    def __init__(self, *, node: str | Mapping[str, Any], lines: int | str = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.lines = lines

    def execute(self, context: Any) -> Any:
        """Return the log, or the path of the file with it.

        :raises BloqResultTooLarge: The log exceeds ``result_limit``, and there is no ``result_path``.
        """
        from airflow_provider_bloq.arguments import untemplated

        with raise_as_fail_exception():
            destination = self._destination(context)
            log = self.hook.nodes.logs(_node_id(self.node), untemplated(self.lines))
            return self._returned(log, destination)


def _node_id(node: str | Mapping[str, Any]) -> str:
    from airflow_provider_bloq.arguments import node_id_of

    with raise_as_fail_exception():
        return node_id_of(node)
