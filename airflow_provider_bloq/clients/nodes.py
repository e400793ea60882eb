"""Nodes: create, list, read and delete them."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.creation import Creation
from airflow_provider_bloq.clients.endpoint import Endpoint
from airflow_provider_bloq.clients.limits import require_choice, require_whole_number
from airflow_provider_bloq.clients.machines import MachinesApi
from airflow_provider_bloq.clients.models import Node
from airflow_provider_bloq.clients.operation import RunsAsync, RunsBlocking, operation

__all__ = ["AsyncNodesClient", "NodesApi", "NodesClient"]


class NodesApi(MachinesApi[Node]):
    """The endpoints of single nodes.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api
    """

    CHAINS = Endpoint("GET", "/chains/nodes", repeatable=True)
    SERVICES = Endpoint("GET", "/services/nodes", repeatable=True)
    LIST = Endpoint("GET", "/users/me/nodes", repeatable=True)
    CREATE = Endpoint("POST", "/users/me/nodes", repeatable=False)
    GET = Endpoint("GET", "/users/me/nodes/{id}", repeatable=True)
    DELETE = Endpoint("DELETE", "/users/me/nodes/{id}", repeatable=True)
    LOGS = Endpoint("GET", "/users/me/nodes/{id}/logs", repeatable=True)
    AUTH_TYPES: ClassVar[tuple[str, ...]] = ("basic", "jwt")
    MODEL = Node

    @operation
    def create(self, service_id: str, auth_type: str = "jwt", *, serialised: bool = False) -> Flow[Node]:
        """Create a node.

        :param service_id: What to create: an id out of ``services()``.
        :param auth_type: How the node will know its callers: ``jwt`` (the access token) or ``basic``
            (a user and password of its own).
        :param serialised: Set it only if nobody else creates nodes of this service at the same time:
            where the answer is lost, a lone new node is then taken for the one created here.
        :raises BloqQuotaExceeded: The account runs as many nodes as its plan allows.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and what came of it cannot be told.
        """
        order = self.order(service_id, auth_type)
        return (yield from Creation(api=self, order=order, serialised=serialised).run())

    @classmethod
    def order(cls, service_id: str, auth_type: str) -> dict[str, Any]:
        """Return the body of a create; parameters as for :meth:`create`.

        :raises BloqConfigurationError: An argument cannot be right.
        """
        require_choice("auth_type", auth_type, cls.AUTH_TYPES)
        return {"serviceId": service_id, "authType": auth_type}

    @operation
    def logs(self, id: str, lines: int = 100) -> Flow[Any]:  # noqa: A002 - the field's own name
        """Read the last lines of a node's log.

        :param id: The node's id.
        :param lines: How many.
        :return: What the service gives; the shape is not documented, a list of lines is likely.
        """
        require_whole_number("lines", lines, least=1)
        return (yield from self.call(self.LOGS, query={"lines": lines}, id=id))


class NodesClient(RunsBlocking, NodesApi):
    """:class:`NodesApi` with operations that block."""


class AsyncNodesClient(RunsAsync, NodesApi):
    """:class:`NodesApi` with operations that are awaited."""
