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
    """Create a node, wait until it has started, and read the certificate it shows.

    Returns the node as the API describes it, without its user and password, and with
    ``tls_fingerprint``: the SHA-256 fingerprint of its self-signed certificate. Hand the result on as
    the ``node`` of other operators, which then talk to a server with this certificate only.

    Retries leave exactly one node: see :class:`~airflow_provider_bloq.operators._create.BloqCreateOperator`,
    which has all parameters.

    :param service_id: What to create: an id out of ``BloqHook.nodes.services()``.
    :param auth_type: How the node will know its callers: ``jwt`` (the access token) or ``basic`` (a user
        and password of its own).
    """

    def api(self, service: dict[str, Any] | None = None) -> DeploymentsApi[Any]:
        """See :meth:`.BloqCreateOperator.api`."""
        from airflow_provider_bloq.nodes.client import NodesApi

        return self.hook.nodes if service is None else NodesApi(**service)

    def order(self) -> dict[str, Any]:
        """See :meth:`.BloqCreateOperator.order`."""
        from airflow_provider_bloq.nodes.client import NodesApi

        return NodesApi.order(self.service_id, self.auth_type)

    def started(self, id: str) -> Condition:  # noqa: A002 - the field's own name
        """See :meth:`.BloqCreateOperator.started`."""
        from airflow_provider_bloq.nodes.conditions import NodeState

        return NodeState(id)

    def trigger_class(self) -> type[CancellingTrigger]:
        """See :meth:`.WaitingOperator.trigger_class`."""
        from airflow_provider_bloq.triggers.wait import BloqNodeStartTrigger

        return BloqNodeStartTrigger

    def result(self, machine: Any) -> dict[str, Any]:
        """Return the node without its credentials, and ``tls_fingerprint``."""
        from airflow_provider_bloq.connection.fields import Environment
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.rpc.endpoint import fingerprint_of_new_node

        local = self.hook.settings.environment is Environment.LOCAL
        fingerprint = self.hook.run(fingerprint_of_new_node(machine, local=local, policy=RetryPolicy()))
        return {**machine.public(), "tls_fingerprint": fingerprint}


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
        node_id = _node_id(self.node)
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
        from airflow_provider_bloq.nodes.models import STOPPED

        nodes = self.hook.nodes.list()
        return [node.public() for node in nodes if self.include_stopped or node.state != STOPPED]


class BloqGetNodeOperator(BloqOperator):
    """Read a node, as the API describes it, without its user and password.

    :param node: Its id, or what ``BloqCreateNodeOperator`` returned.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "node")

    def __init__(self, *, node: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node

    def execute(self, context: Any) -> dict[str, Any]:
        """Read the node.

        :return: The node without its credentials.
        """
        return self.hook.nodes.get(_node_id(self.node)).public()


class BloqNodeLogsOperator(BloqStoringOperator):
    """Read the last lines of a node's log.

    Returns what the service gives. Its documents do not say of which shape that is: a list of lines, or
    an object whose ``data`` is one text.

    :param node: Its id, or what ``BloqCreateNodeOperator`` returned.
    :param lines: How many lines.
    :param result_path: URL of the file on object storage that a log over ``result_limit`` goes to; see
        :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are (1 MiB).
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqStoringOperator.template_fields, "node", "lines")

    def __init__(self, *, node: str | Mapping[str, Any], lines: int | str = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.lines = lines

    def execute(self, context: Any) -> Any:
        """Read the log.

        :return: What the service gives, or the path of the file that has it.
        :raises BloqResultTooLarge: It is over its limit, and there is no ``result_path``.
        """
        from airflow_provider_bloq.validation import untemplated

        with raise_as_fail_exception():
            destination = self._destination(context)
            log = self.hook.nodes.logs(_node_id(self.node), untemplated(self.lines))
            return self._returned(log, destination)


def _node_id(node: str | Mapping[str, Any]) -> str:
    from airflow_provider_bloq.validation import node_id_of

    with raise_as_fail_exception():
        return node_id_of(node)
