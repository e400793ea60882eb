"""What the API does with nodes and with clusters alike."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_bloq.exceptions import (
    BloqApiError,
    BloqConfigurationError,
    BloqNotFound,
    BloqUnavailable,
    BloqUpdateNotDone,
)
from airflow_provider_bloq.flow.effects import Flow, RunsAsync, RunsBlocking, mask, operation
from airflow_provider_bloq.flow.service import Endpoint, Service
from airflow_provider_bloq.nodes.creation import Creation, Order
from airflow_provider_bloq.nodes.models import STOPPED, Cluster, Deployment, Node, Offer
from airflow_provider_bloq.validation import require_choice, require_whole_number

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

#: How a delete of what is stopped already may be answered: which it is, is not documented.
_OF_STOPPED = frozenset({400, 404, 409, 410})


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """All of the account at one moment.

    :param machines: Those that were deleted (``stopped``) included.
    :param served_at: The moment, in epoch seconds by the service's clock; None where it does not say.
    """

    machines: list[M]
    served_at: float | None


class DeploymentsApi(Service, Generic[M]):
    """The endpoints that nodes and clusters have in common.

    Every operation raises :class:`~airflow_provider_bloq.exceptions.BloqApiError` where the service
    answers with an error or not at all, and :class:`~airflow_provider_bloq.exceptions.BloqAuthError`
    where no usable token can be had.
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
        return [Offer.from_json(item) for item in _list_of(self.CHAINS, (yield from self.call(self.CHAINS)))]

    @operation
    def services(self) -> Flow[list[Offer]]:
        """List the services on offer; their ids go to ``create``."""
        return [
            Offer.from_json(item) for item in _list_of(self.SERVICES, (yield from self.call(self.SERVICES)))
        ]

    @operation
    def list(self) -> Flow[builtins.list[M]]:
        """List all of the account, those that were deleted (``stopped``) included."""
        return (yield from self.listing()).machines

    @operation
    def get(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """Read one.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        return (yield from self.one(id))

    @operation
    def delete(self, id: str) -> Flow[None]:  # noqa: A002 - the field's own name
        """Delete one for good. It stays in the list as ``stopped``; deleting that again is no error.

        :param id: Its id, as Bloq gave it.
        :raises BloqNotFound: There is none of this id in this account.
        """
        try:
            yield from self.call(self.DELETE, id=id)
        except BloqApiError as error:
            if error.status not in _OF_STOPPED:
                raise
            # Also the answer to a second request, sent because the first one's answer was lost.
            machines = (yield from self.listing()).machines
            if not any(machine.id == id.strip() and machine.state == STOPPED for machine in machines):
                raise

    @property
    def create_url(self) -> str:
        """The URL of the create."""
        return self.CREATE.url(self.url, {})

    def post(self, order: Order, *, before_each: Callable[[], Flow[None]]) -> Flow[M]:
        """Ask for a new one, whatever was asked for before; see :class:`.creation.Creation`. A flow.

        :param order: What to create.
        :param before_each: Makes a flow to run right before each time that the request is sent.
        """
        answer = yield from self.ask(self.CREATE, {}, body=dict(order), before_each=before_each)
        return (yield from self._read(answer.content))

    def listing(self) -> Flow[Listing[M]]:
        """As :meth:`list`, with the time of the list. A flow."""
        answer = yield from self.ask(self.LIST, {})
        machines = [self.MODEL.from_json(item) for item in _list_of(self.LIST, answer.content)]
        yield from mask(*(machine.auth.password for machine in machines if machine.auth is not None))
        return Listing(machines, answer.served_at)

    def one(self, id: str) -> Flow[M]:  # noqa: A002 - the field's own name
        """As :meth:`get`. A flow."""
        return (yield from self._read((yield from self.call(self.GET, id=id))))

    def _read(self, item: Any) -> Flow[M]:
        machine = self.MODEL.from_json(item)
        if machine.auth is not None:
            yield from mask(machine.auth.password)
        return machine


def _list_of(endpoint: Endpoint, answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise BloqUnavailable(
            f"{endpoint.method} {endpoint.path} gave something that is no list.", method=endpoint.method
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

        :param service_id: What to create: an id out of ``services()``.
        :param auth_type: How the node will know its callers: ``jwt`` (the access token) or ``basic``
            (a user and password of its own).
        :param exclusive_creates: Set it only if nobody else creates nodes of this service at the same time:
            where the answer is lost, a lone new node is then taken for the one created here.
        :raises BloqQuotaExceeded: The account runs as many nodes as its plan allows.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and what came of it cannot be told.
        """
        order = self.order(service_id, auth_type)
        return (yield from Creation(api=self, order=order, exclusive_creates=exclusive_creates).run())

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


#: How many members a cluster may have.
MIN_CAPACITY, MAX_CAPACITY = 2, 10


class ClustersApi(DeploymentsApi[Cluster]):
    """The endpoints of clusters.

    Source: https://docs.bloq.com/advanced-documentation/technical-reference/nodes-api, and Bloq's
    command-line client, which is ahead of it.
    """

    # In these two the service writes "cluster", in all others "clusters".
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

        :param service_id: What to create: an id out of ``services()``.
        :param auth_type: ``jwt``, ``basic`` or ``none``.
        :param capacity: Number of members, 2 to 10.
        :param alias: A second name for it.
        :param exclusive_creates: As for nodes: :meth:`airflow_provider_bloq.nodes.client.NodesApi.create`.
        :raises BloqQuotaExceeded: The account runs as many as its plan allows.
        :raises BloqNotFound: There is no such service.
        :raises BloqAmbiguousCreate: The answer was lost, and what came of it cannot be told.
        """
        order = self.order(service_id, auth_type, capacity=capacity, alias=alias)
        return (yield from Creation(api=self, order=order, exclusive_creates=exclusive_creates).run())

    @classmethod
    def order(cls, service_id: str, auth_type: str, *, capacity: int, alias: str | None) -> dict[str, Any]:
        """Return the body of a create; parameters as for :meth:`create`.

        :raises BloqConfigurationError: An argument cannot be right.
        """
        require_choice("auth_type", auth_type, cls.AUTH_TYPES)
        require_whole_number("capacity", capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
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
        require_whole_number("capacity", capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
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


@dataclass(frozen=True, slots=True)
class ClusterUpdate:
    """What a cluster is to become; None where it may stay as it is.

    :param capacity: Number of members.
    :param service_id: Its service.
    :param alias: Its second name.
    :raises BloqConfigurationError: Nothing is wanted, or a capacity that cannot be.
    """

    capacity: int | None = None
    service_id: str | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None:
            require_whole_number("capacity", self.capacity, least=MIN_CAPACITY, most=MAX_CAPACITY)
        if (self.capacity, self.service_id, self.alias) == (None, None, None):
            raise BloqConfigurationError.of(
                "capacity", "neither it nor service_id nor alias is given", "Say what is to be changed."
            )


@dataclass(frozen=True, slots=True)
class ClusterChanges:
    """What has to be asked for.

    :param capacity: Number of members to ask for; None for no request. The service wants it with each.
    :param service_id: Service to ask for along with it.
    :param alias: Second name to ask for.
    """

    capacity: int | None = None
    service_id: str | None = None
    alias: str | None = None


def remaining_changes(cluster: Cluster, wanted: ClusterUpdate) -> ClusterChanges:
    """Decide what has to be asked for. What is there, or on its way, is not asked for again.

    :raises BloqConfigurationError: The cluster does not tell its capacity, and none is wanted.
    :raises BloqUpdateNotDone: The cluster was stopped.
    """
    if cluster.state == STOPPED:
        raise BloqUpdateNotDone(f"{cluster.id} was stopped, which is its end.", cluster_id=cluster.id)
    capacity = cluster.shown.get("capacity")
    heading_for = cluster.shown.get("updatingService") or cluster.service
    service_id = wanted.service_id if wanted.service_id not in (None, heading_for) else None
    alias = wanted.alias if wanted.alias not in (None, cluster.shown.get("alias")) else None
    if service_id is None and wanted.capacity in (None, capacity):
        return ClusterChanges(alias=alias)
    asked = capacity if wanted.capacity is None else wanted.capacity
    if not isinstance(asked, int):
        raise BloqConfigurationError.of(
            "capacity", f"{cluster.id} does not tell its own, and each change names one", "Give it."
        )
    return ClusterChanges(asked, service_id, alias)


def update(api: ClustersApi, cluster_id: str, wanted: ClusterUpdate) -> Flow[ClusterChanges]:
    """Ask for what is still missing; a flow. To run it again does no harm.

    :param api: Reads and changes clusters.
    :param cluster_id: The cluster's id.
    :param wanted: What it is to become.
    :return: What was asked for.
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
    """Stop a change of service, if one is under way; a flow. That none is, is no error.

    :param api: Reads and changes clusters.
    :param cluster_id: The cluster's id.
    :param only_to: Stop it only if it leads to this service; None for any.
    :return: The cluster afterwards.
    """
    cluster = yield from api.one(cluster_id)
    heading_for = cluster.shown.get("updatingService")
    if heading_for is None or only_to not in (None, heading_for):
        return cluster
    try:
        yield from ClustersApi.abort_update.flow(api, cluster_id)
    except BloqNotFound:
        # It may have come to its end in between, or the first answer was lost; the cluster itself tells.
        cluster = yield from api.one(cluster_id)
        if cluster.shown.get("updatingService") == heading_for:
            raise
        return cluster
    return (yield from api.one(cluster_id))
