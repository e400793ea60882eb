"""Clusters: create, list, read, update and delete them."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.creation import Creation
from airflow_provider_bloq.clients.endpoint import Endpoint
from airflow_provider_bloq.clients.limits import require_choice, require_whole_number
from airflow_provider_bloq.clients.machines import MachinesApi
from airflow_provider_bloq.clients.models import Cluster
from airflow_provider_bloq.clients.operation import RunsAsync, RunsBlocking, operation

__all__ = ["LARGEST", "SMALLEST", "AsyncClustersClient", "ClustersApi", "ClustersClient"]

#: How many members a cluster may have.
SMALLEST, LARGEST = 2, 10


class ClustersApi(MachinesApi[Cluster]):
    """The endpoints of clusters.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api, and Bloq's
    command-line client, which is ahead of it.
    """

    # In these two the service writes "cluster", in all others "clusters".
    CHAINS = Endpoint("GET", "/chains/cluster", repeatable=True)
    SERVICES = Endpoint("GET", "/services/cluster", repeatable=True)
    LIST = Endpoint("GET", "/users/me/clusters", repeatable=True)
    CREATE = Endpoint("POST", "/users/me/clusters", repeatable=False)
    GET = Endpoint("GET", "/users/me/clusters/{id}", repeatable=True)
    DELETE = Endpoint("DELETE", "/users/me/clusters/{id}", repeatable=True)
    UPDATE = Endpoint("PATCH", "/users/me/clusters/{id}", repeatable=True)
    ABORT_UPDATE = Endpoint("DELETE", "/users/me/clusters/{id}/updatingService", repeatable=True)
    ALIAS = Endpoint("POST", "/users/me/clusters/{id}/alias", repeatable=True)
    AUTH_TYPES: ClassVar[tuple[str, ...]] = ("basic", "jwt", "none")
    MODEL = Cluster

    @operation
    def create(
        self,
        service_id: str,
        auth_type: str = "jwt",
        *,
        capacity: int = SMALLEST,
        alias: str | None = None,
        serialised: bool = False,
    ) -> Flow[Cluster]:
        """Create a cluster.

        :param service_id: What to create: an id out of ``services()``.
        :param auth_type: ``jwt``, ``basic`` or ``none``.
        :param capacity: Number of members, 2 to 10.
        :param alias: A second name for it.
        :param serialised: As for nodes: :meth:`airflow_provider_bloq.clients.nodes.NodesApi.create`.
        :raises BloqQuotaExceeded: The account runs as many as its plan allows.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and what came of it cannot be told.
        """
        order = self.order(service_id, auth_type, capacity=capacity, alias=alias)
        return (yield from Creation(api=self, order=order, serialised=serialised).run())

    @classmethod
    def order(cls, service_id: str, auth_type: str, *, capacity: int, alias: str | None) -> dict[str, Any]:
        """Return the body of a create; parameters as for :meth:`create`.

        :raises BloqConfigurationError: An argument cannot be right.
        """
        require_choice("auth_type", auth_type, cls.AUTH_TYPES)
        require_whole_number("capacity", capacity, least=SMALLEST, most=LARGEST)
        order: dict[str, Any] = {"serviceId": service_id, "authType": auth_type, "capacity": capacity}
        return order if alias is None else {**order, "alias": alias}

    @operation
    def update(self, id: str, *, capacity: int, service_id: str | None = None) -> Flow[None]:  # noqa: A002
        """Change the number of members and, if given, the service.

        A change of service takes time; until it is through, the cluster has an ``updatingService``.

        :param id: The cluster's id.
        :param capacity: Number of members, 2 to 10. The service wants it each time.
        :param service_id: Another service to move to.
        """
        require_whole_number("capacity", capacity, least=SMALLEST, most=LARGEST)
        body: dict[str, Any] = {"capacity": capacity}
        if service_id is not None:
            body["serviceId"] = service_id
        yield from self.call(self.UPDATE, body=body, id=id)

    @operation
    def abort_update(self, id: str) -> Flow[None]:  # noqa: A002
        """Stop a change of service that is under way.

        :param id: The cluster's id.
        :raises BloqNotFound: There is no such cluster, or no change is under way (any more).
        """
        yield from self.call(self.ABORT_UPDATE, id=id)

    @operation
    def set_alias(self, id: str, alias: str) -> Flow[None]:  # noqa: A002
        """Give a cluster a second name.

        :param id: The cluster's id.
        :param alias: The name.
        """
        yield from self.call(self.ALIAS, body={"alias": alias}, id=id)


class ClustersClient(RunsBlocking, ClustersApi):
    """:class:`ClustersApi` with operations that block."""


class AsyncClustersClient(RunsAsync, ClustersApi):
    """:class:`ClustersApi` with operations that are awaited."""
