"""The cluster routes of Nodes: create, list, show, update, alias, delete, logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, get_args

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, require_admin, require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.fleet import AuthType, LocalCluster, ServiceUpdate, running
from airflow_provider_bloq.testing.local.inbound import digits, json_object, text_field
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.provisioner import Provisioner
from airflow_provider_bloq.testing.local.views import cluster_view, log_response

__all__ = [
    "ClustersRoutes",
]


_LEAST_CAPACITY = 2
_LARGEST_CAPACITY = 10


@dataclass(frozen=True, slots=True)
class ClustersRoutes:
    """The routes of clusters."""

    backend: Backend
    provisioner: Provisioner

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        own = "/users/me/clusters"
        return [
            web.post(own, self.create),
            web.get(own, self.list_own),
            web.get("/clusters", self.list_all),
            web.delete("/clusters/{id}", self.delete_any),
            web.get(own + "/{id}", self.show),
            web.patch(own + "/{id}", self.update),
            web.delete(own + "/{id}/updatingService", self.abort_update),
            web.post(own + "/{id}/alias", self.set_alias),
            web.delete(own + "/{id}", self.delete),
            web.get(own + "/{id}/logs", self.logs),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Create a cluster."""
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        body = await json_object(request)
        auth_type = _auth_type(body)
        capacity = _capacity(body)
        alias = text_field(body, "alias") if body.get("alias") is not None else None
        offer = self.backend.catalogue.orderable("cluster", str(body.get("serviceId")))
        if offer is None:
            raise ApiProblem(404, "ServiceNotFound", "There is no such service, or it is disabled")
        quota = self.backend.options.cluster_quota
        if quota is not None and running(self.backend.fleet.clusters(owner_id)) >= quota:
            raise ApiProblem(403, "LimitExceeded", "The maximum number of simultaneous clusters is reached")
        cluster = await self.provisioner.create_cluster(owner_id, offer, auth_type, capacity, alias)
        return web.json_response(self._view(cluster), status=self.backend.options.create_status)

    async def list_own(self, request: web.Request) -> web.Response:
        """List the caller's clusters, stopped ones included."""
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        return web.json_response([self._view(cluster) for cluster in self.backend.fleet.clusters(owner_id)])

    async def list_all(self, request: web.Request) -> web.Response:
        """List all users' clusters with their owners; for administrators."""
        require_admin(self.backend, request)
        return web.json_response(
            [self._view(cluster, for_admin=True) for cluster in self.backend.fleet.clusters()]
        )

    async def show(self, request: web.Request) -> web.Response:
        """Show one of the caller's clusters."""
        return web.json_response(self._view(self._cluster(request)))

    async def update(self, request: web.Request) -> web.Response:
        """Change the capacity and, if the body has a service, start an update to it."""
        cluster = self._running_cluster(request)
        body = await json_object(request)
        now = self.backend.clock.now()
        capacity = _capacity(body) if "capacity" in body else cluster.capacity
        service_id = body.get("serviceId")
        if service_id is not None:
            offer = self.backend.catalogue.orderable("cluster", str(service_id))
            if offer is None:
                raise ApiProblem(404, "ServiceNotFound", "There is no such service, or it is disabled")
            if (offer.chain, offer.network) != (cluster.offer.chain, cluster.offer.network):
                raise ApiProblem(400, "InvalidService", "The service is for another chain or network")
            seconds = self.backend.options.update_seconds
            cluster.update = ServiceUpdate(offer, None if seconds is None else now + seconds)
        cluster.capacity = capacity
        cluster.updated_at = now
        return web.json_response(self._view(cluster))

    async def abort_update(self, request: web.Request) -> web.Response:
        """Cancel the running service update."""
        cluster = self._running_cluster(request)
        cluster.settle(self.backend.clock.now())
        if cluster.update is None:
            raise ApiProblem(404, "NoUpdateRunning", "No service update is running")
        cluster.update = None
        cluster.updated_at = self.backend.clock.now()
        return web.Response(status=204)

    async def set_alias(self, request: web.Request) -> web.Response:
        """Change the cluster's alias."""
        cluster = self._running_cluster(request)
        cluster.alias = text_field(await json_object(request), "alias")
        cluster.updated_at = self.backend.clock.now()
        return web.json_response(self._view(cluster))

    async def delete(self, request: web.Request) -> web.Response:
        """Stop one of the caller's clusters; it stays in the list."""
        return await self._stop(self._cluster(request))

    async def delete_any(self, request: web.Request) -> web.Response:
        """Stop any user's cluster; for administrators."""
        require_admin(self.backend, request)
        cluster = self.backend.fleet.cluster(request.match_info["id"])
        if cluster is None:
            raise _no_such_cluster()
        return await self._stop(cluster)

    async def logs(self, request: web.Request) -> web.Response:
        """Show the last lines of the log of one of the caller's clusters."""
        return log_response(self._cluster(request).log, request, self.backend.options)

    async def _stop(self, cluster: LocalCluster) -> web.Response:
        if cluster.stopped_at is None:
            await self.provisioner.stop(cluster)
        elif self.backend.options.repeated_delete_status == 404:
            raise _no_such_cluster()
        return web.Response(status=204)

    def _cluster(self, request: web.Request) -> LocalCluster:
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        cluster = self.backend.fleet.cluster(request.match_info["id"], owner_id)
        if cluster is None:
            raise _no_such_cluster()
        return cluster

    def _running_cluster(self, request: web.Request) -> LocalCluster:
        cluster = self._cluster(request)
        if cluster.stopped_at is not None:
            raise _no_such_cluster()
        return cluster

    def _view(self, cluster: LocalCluster, *, for_admin: bool = False) -> dict[str, Any]:
        now = self.backend.clock.now()
        cluster.settle(now)
        owner = self.backend.users.find(cluster.owner_id) if for_admin else None
        return cluster_view(cluster, now, self.backend.options.provisioning_state, owner)


def _auth_type(body: dict[str, Any]) -> AuthType:
    wanted = body.get("authType")
    for known in get_args(AuthType):
        if wanted == known:
            return cast(AuthType, known)
    raise ApiProblem(400, "InvalidAuthType", "authType must be basic, jwt or none")


def _capacity(body: dict[str, Any]) -> int:
    capacity = body.get("capacity")
    if isinstance(capacity, str):
        # Command-line clients may send numbers as text.
        capacity = digits(capacity)
    if type(capacity) is not int or not _LEAST_CAPACITY <= capacity <= _LARGEST_CAPACITY:
        raise ApiProblem(
            400,
            "InvalidCapacity",
            f"capacity must be a whole number from {_LEAST_CAPACITY} to {_LARGEST_CAPACITY}",
        )
    return capacity


def _no_such_cluster() -> ApiProblem:
    return ApiProblem(404, "ClusterNotFound", "There is no such cluster")
