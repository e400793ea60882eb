"""Client for nodes and clusters, and updates of a cluster that may safely be repeated."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_bloq.arguments import require_choice, require_whole_number
from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqNotFound,
    BloqUnavailable,
    BloqUpdateNotDone,
)
from airflow_provider_bloq.flow.effects import Flow, RunsAsync, RunsBlocking, mask, operation
from airflow_provider_bloq.flow.service import Endpoint, Service
from airflow_provider_bloq.nodes.create_once import Creation, Order
from airflow_provider_bloq.nodes.models import STOPPED, Cluster, Deployment, Node, Offer

__all__ = [
    "MAX_CAPACITY",
    "MIN_CAPACITY",
    "AsyncClustersClient",
    "AsyncNodesClient",
    "ClusterChanges",
    "ClusterUpdate",
    "ClustersApi",
    "ClustersClient",
    "DeploymentsApi",
    "Listing",
    "NodesApi",
    "NodesClient",
    "abort_update",
    "remaining_changes",
    "update",
]


M = TypeVar("M", bound=Deployment)

#: Possible answers to the delete of something that is already stopped; Bloq does not document which.
_ALREADY_STOPPED = frozenset({400, 404, 409, 410})


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """All nodes or all clusters of the account.

    :param deployments: The nodes or clusters, including deleted ones (``stopped``).
    :param served_at: When the list was made, in epoch seconds by the service's clock; None if the service does not say.
    """

    deployments: list[M]
    served_at: float | None


class DeploymentsApi(Service, Generic[M]):
    """The endpoints that nodes and clusters have in common.

    Every operation raises :class:`~airflow_provider_bloq.exceptions.BloqApiError` if the service answers with an error
    or not at all, and :class:`~airflow_provider_bloq.exceptions.BloqAuthError` if there is no usable token.
    """

    CHAINS: ClassVar[Endpoint]
    SERVICES: ClassVar[Endpoint]
    LIST: ClassVar[Endpoint]
    CREATE: ClassVar[Endpoint]
    GET: ClassVar[Endpoint]
    DELETE: ClassVar[Endpoint]
    MODEL: type[M]

    @operation
    def chains(self) -> Flow[list[Offer]]:
        """List the chains, networks and software on offer."""
        return (yield from self._offers(self.CHAINS))

    @operation
    def services(self) -> Flow[list[Offer]]:
        """List the services on offer; their ids go to ``create``."""
        return (yield from self._offers(self.SERVICES))

    @operation
    def list(self) -> Flow[builtins.list[M]]:
        """List all of the account, including deleted ones (``stopped``)."""
        return (yield from self.listing()).deployments

    @operation
    def get(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """Read one.

        :raises BloqNotFound: The account has none with this id.
        """
        return (yield from self.one(id))

    @operation
    def delete(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Delete one for good. It stays on the list as ``stopped``; deleting it again succeeds.

        :raises BloqNotFound: The account has none with this id.
        """
        try:
            yield from self.call(self.DELETE, id=id)
        except BloqApiError as error:
            if error.status not in _ALREADY_STOPPED:
                raise
            # This may answer a second request, sent because the answer to the first was lost.
            listing = yield from self.listing()
            if not any(one.id == id.strip() and one.state == STOPPED for one in listing.deployments):
                raise

    @property
    def create_url(self) -> str:
        """The URL of the create."""
        return self.CREATE.url(self.url, {})

    def post(self, order: Order, *, before_each: Callable[[], Flow[None]]) -> Flow[M]:
        """Send a create, without regard to earlier ones; see :class:`.creation.Creation`. A flow.

        :param order: Body of the request, from ``order()``.
        :param before_each: Returns a flow to run right before each time the request is sent.
        """
        answer = yield from self.ask(self.CREATE, {}, body=dict(order), before_each=before_each)
        return (yield from self._read(answer.content))

    def listing(self) -> Flow[Listing[M]]:
        """Like :meth:`list`, with the time of the list. A flow."""
        answer = yield from self.ask(self.LIST, {})
        deployments = [self.MODEL.from_json(item) for item in _require_list(self.LIST, answer.content)]
        yield from mask(*(one.auth.password for one in deployments if one.auth is not None))
        return Listing(deployments, answer.served_at)

    def one(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """Like :meth:`get`. A flow."""
        return (yield from self._read((yield from self.call(self.GET, id=id))))

    def _read(self, item: Any) -> Flow[M]:
        deployment = self.MODEL.from_json(item)
        if deployment.auth is not None:
            yield from mask(deployment.auth.password)
        return deployment

    def _offers(self, endpoint: Endpoint) -> Flow[builtins.list[Offer]]:
        items = _require_list(endpoint, (yield from self.call(endpoint)))
        return [Offer.from_json(item) for item in items]


def _require_list(endpoint: Endpoint, answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise BloqUnavailable(
            f"{endpoint.method} {endpoint.path} did not return a list.", method=endpoint.method
        )
    return answer


class NodesApi(DeploymentsApi[Node]):
    """The endpoints of single nodes.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api
    """

    CHAINS = Endpoint("GET", "/chains/nodes", idempotent=True)
    SERVICES = Endpoint("GET", "/services/nodes", idempotent=True)
    LIST = Endpoint("GET", "/users/me/nodes", idempotent=True)
    CREATE = Endpoint("POST", "/users/me/nodes", idempotent=False)
    GET = Endpoint("GET", "/users/me/nodes/{id}", idempotent=True)
    DELETE = Endpoint("DELETE", "/users/me/nodes/{id}", idempotent=True)
    LOGS = Endpoint("GET", "/users/me/nodes/{id}/logs", idempotent=True)
    AUTH_TYPES: ClassVar[tuple[str, ...]] = ("basic", "jwt")
    MODEL = Node

    @operation
    def create(
        self, service_id: str, auth_type: str = "jwt", *, exclusive_creates: bool = False
    ) -> Flow[Node]:
        """Create a node.

        :param service_id: What to create: an id from ``services()``.
        :param auth_type: How the node authenticates callers: ``jwt`` (the access token) or ``basic`` (user and
            password).
        :param exclusive_creates: Set it only if nobody else creates nodes of this service at the same time:
            if the answer is lost, a lone new node is then taken for the one created here.
        :raises BloqQuotaExceeded: The account has reached the limit of its plan.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and the outcome is unknown.
        """
        order = self.order(service_id, auth_type)
        return (yield from Creation(api=self, order=order, exclusive_creates=exclusive_creates).run())

    @classmethod
    def order(cls, service_id: str, auth_type: str) -> dict[str, Any]:
        """Return the body of a create; parameters as for :meth:`create`.

        :raises BloqConfigurationError: An argument is invalid.
        """
        require_choice("auth_type", auth_type, cls.AUTH_TYPES)
        return {"serviceId": service_id, "authType": auth_type}

    @operation
    def logs(self, id: str, lines: int = 100) -> Flow[Any]:  # noqa: A002 - the field's own name
        """Read the last lines of a node's log.

        :param id: Id of the node.
        :param lines: Number of lines.
        :return: The JSON that the service returns; its form is not documented, probably a list of lines.
        """
        require_whole_number("lines", lines, least=1)
        return (yield from self.call(self.LOGS, query={"lines": lines}, id=id))


class NodesClient(RunsBlocking, NodesApi):
    """:class:`NodesApi` with operations that block."""


class AsyncNodesClient(RunsAsync, NodesApi):
    """:class:`NodesApi` with operations that are awaited."""


#: Smallest and largest number of members of a cluster.
MIN_CAPACITY, MAX_CAPACITY = 2, 10


class ClustersApi(DeploymentsApi[Cluster]):
    """The endpoints of clusters.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api, and Bloq's command-line client,
    which knows more endpoints.
    """

    # These two paths have "cluster", all others "clusters".
    CHAINS = Endpoint("GET", "/chains/cluster", idempotent=True)
    SERVICES = Endpoint("GET", "/services/cluster", idempotent=True)
    LIST = Endpoint("GET", "/users/me/clusters", idempotent=True)
    CREATE = Endpoint("POST", "/users/me/clusters", idempotent=False)
    GET = Endpoint("GET", "/users/me/clusters/{id}", idempotent=True)
    DELETE = Endpoint("DELETE", "/users/me/clusters/{id}", idempotent=True)
    UPDATE = Endpoint("PATCH", "/users/me/clusters/{id}", idempotent=True)
    ABORT_UPDATE = Endpoint("DELETE", "/users/me/clusters/{id}/updatingService", idempotent=True)
    ALIAS = Endpoint("POST", "/users/me/clusters/{id}/alias", idempotent=True)
    AUTH_TYPES: ClassVar[tuple[str, ...]] = ("basic", "jwt", "none")
    MODEL = Cluster

    @operation
    def create(
        self,
        service_id: str,
        auth_type: str = "jwt",
        *,
        capacity: int = MIN_CAPACITY,
        alias: str | None = None,
        exclusive_creates: bool = False,
    ) -> Flow[Cluster]:
        """Create a cluster.

        :param service_id: What to create: an id from ``services()``.
        :param auth_type: ``jwt``, ``basic`` or ``none``.
        :param capacity: Number of members, 2 to 10.
        :param alias: A second name for it.
        :param exclusive_creates: As for nodes: :meth:`airflow_provider_bloq.nodes.client.NodesApi.create`.
        :raises BloqQuotaExceeded: The account has reached the limit of its plan.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and the outcome is unknown.
        """
        order = self.order(service_id, auth_type, capacity=capacity, alias=alias)
        return (yield from Creation(api=self, order=order, exclusive_creates=exclusive_creates).run())

    @classmethod
    def order(cls, service_id: str, auth_type: str, *, capacity: int, alias: str | None) -> dict[str, Any]:
        """Return the body of a create; parameters as for :meth:`create`.

        :raises BloqConfigurationError: An argument is invalid.
        """
        require_choice("auth_type", auth_type, cls.AUTH_TYPES)
        require_whole_number("capacity", capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
        order: dict[str, Any] = {"serviceId": service_id, "authType": auth_type, "capacity": capacity}
        return order if alias is None else {**order, "alias": alias}

    @operation
    def update(self, id: str, *, capacity: int, service_id: str | None = None) -> Flow[None]:  # noqa: A002
        """Change the number of members and, if given, the service.

        A change of service takes time; the cluster has an ``updatingService`` until it is complete.

        :param capacity: Number of members, 2 to 10; required by the API.
        :param service_id: The new service.
        """
        require_whole_number("capacity", capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
        body: dict[str, Any] = {"capacity": capacity}
        if service_id is not None:
            body["serviceId"] = service_id
        yield from self.call(self.UPDATE, body=body, id=id)

    @operation
    def abort_update(self, id: str) -> Flow[None]:  # noqa: A002
        """Abort a change of service.

        :raises BloqNotFound: There is no such cluster, or no change is in progress.
        """
        yield from self.call(self.ABORT_UPDATE, id=id)

    @operation
    def set_alias(self, id: str, alias: str) -> Flow[None]:  # noqa: A002
        """Give a cluster a second name."""
        yield from self.call(self.ALIAS, body={"alias": alias}, id=id)


class ClustersClient(RunsBlocking, ClustersApi):
    """:class:`ClustersApi` with operations that block."""


class AsyncClustersClient(RunsAsync, ClustersApi):
    """:class:`ClustersApi` with operations that are awaited."""


@dataclass(frozen=True, slots=True)
class ClusterUpdate:
    """The wanted settings of a cluster; None for those that may stay as they are.

    :raises BloqConfigurationError: Nothing is given, or the capacity is out of range.
    """

    capacity: int | None = None
    service_id: str | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None:
            require_whole_number("capacity", self.capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
        if (self.capacity, self.service_id, self.alias) == (None, None, None):
            raise BloqConfigurationError.of(
                "capacity", "neither it nor service_id nor alias is given", "Give at least one of them."
            )


@dataclass(frozen=True, slots=True)
class ClusterChanges:
    """The requests that an update still needs.

    :param capacity: Number of members to request; None if neither capacity nor service changes.
    :param service_id: Service to request along with the capacity.
    :param alias: Second name to request.
    """

    capacity: int | None = None
    service_id: str | None = None
    alias: str | None = None


def remaining_changes(cluster: Cluster, wanted: ClusterUpdate) -> ClusterChanges:
    """Return the changes that are neither made nor in progress.

    :raises BloqConfigurationError: A capacity is needed, but neither the cluster nor the update has one.
    :raises BloqUpdateNotDone: The cluster was stopped.
    """
    if cluster.state == STOPPED:
        raise BloqUpdateNotDone(f"{cluster.id} was stopped for good.", cluster_id=cluster.id)
    capacity = cluster.shown.get("capacity")
    moving_to = cluster.shown.get("updatingService") or cluster.service
    service_id = wanted.service_id if wanted.service_id not in (None, moving_to) else None
    alias = wanted.alias if wanted.alias not in (None, cluster.shown.get("alias")) else None
    if service_id is None and wanted.capacity in (None, capacity):
        return ClusterChanges(alias=alias)
    requested = capacity if wanted.capacity is None else wanted.capacity
    if not isinstance(requested, int):
        raise BloqConfigurationError.of(
            "capacity", f"the API requires one, and {cluster.id} does not report its own", "Give it."
        )
    return ClusterChanges(requested, service_id, alias)


def update(api: ClustersApi, cluster_id: str, wanted: ClusterUpdate) -> Flow[ClusterChanges]:
    """Request the changes that are still missing; a flow. Running it again is safe.

    :return: The changes that were requested.
    """
    change = remaining_changes((yield from api.one(cluster_id)), wanted)
    if change.alias is not None:
        yield from ClustersApi.set_alias.flow(api, cluster_id, change.alias)
    if change.capacity is not None:
        yield from ClustersApi.update.flow(
            api, cluster_id, capacity=change.capacity, service_id=change.service_id
        )
    return change


def abort_update(api: ClustersApi, cluster_id: str, *, only_to: str | None = None) -> Flow[Cluster]:
    """Abort a change of service, if one is in progress; a flow.

    :param only_to: Abort it only if it leads to this service; None for any.
    :return: The cluster afterwards.
    """
    cluster = yield from api.one(cluster_id)
    moving_to = cluster.shown.get("updatingService")
    if moving_to is None or only_to not in (None, moving_to):
        return cluster
    try:
        yield from ClustersApi.abort_update.flow(api, cluster_id)
    except BloqNotFound:
        # The change may have ended in between, or the first answer was lost.
        cluster = yield from api.one(cluster_id)
        if cluster.shown.get("updatingService") == moving_to:
            raise
        return cluster
    return (yield from api.one(cluster_id))
