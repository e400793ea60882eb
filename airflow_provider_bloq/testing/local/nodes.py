"""The routes of Nodes for single nodes, and for the chains and services that can be ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, require_admin, require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.catalogue import LEGACY_IMAGES, OfferKind, ServiceOffer
from airflow_provider_bloq.testing.local.fleet import AuthType, LocalNode, running
from airflow_provider_bloq.testing.local.inbound import json_object
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.provisioner import Provisioner
from airflow_provider_bloq.testing.local.views import chain_views, log_response, node_view, offer_view

__all__ = [
    "NodesRoutes",
    "OffersRoutes",
]


@dataclass(frozen=True, slots=True)
class OffersRoutes:
    """The routes of chains and services.

    ``/chains`` is documented; the official client calls ``/chains/nodes``, ``/chains/cluster`` and
    ``/services/*``.
    """

    backend: Backend

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.health),
            web.get("/status", self.health),
            web.get("/chains", self.node_chains),
            web.get("/chains/nodes", self.node_chains),
            web.get("/chains/cluster", self.cluster_chains),
            web.get("/services", self.node_services),
            web.get("/services/nodes", self.node_services),
            web.get("/services/cluster", self.cluster_services),
            web.delete("/services/cluster/{id}", self.disable),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """Report that the service is up."""
        return web.json_response({"status": "ok"})

    async def node_chains(self, request: web.Request) -> web.Response:
        """List the chains that nodes run."""
        return web.json_response(chain_views(self.backend.catalogue.of_kind("nodes")))

    async def cluster_chains(self, request: web.Request) -> web.Response:
        """List the chains that clusters run."""
        return web.json_response(chain_views(self.backend.catalogue.of_kind("cluster")))

    async def node_services(self, request: web.Request) -> web.Response:
        """List the services for nodes."""
        return self._services(request, "nodes")

    async def cluster_services(self, request: web.Request) -> web.Response:
        """List the services for clusters."""
        return self._services(request, "cluster")

    async def disable(self, request: web.Request) -> web.Response:
        """Disable a service for clusters; for administrators."""
        require_admin(self.backend, request)
        service_id = request.match_info["id"]
        if all(offer.id != service_id for offer in self.backend.catalogue.of_kind("cluster")):
            raise ApiProblem(404, "ServiceNotFound", "There is no such service")
        self.backend.catalogue.disable(service_id)
        return web.Response(status=204)

    def _services(self, request: web.Request, kind: OfferKind) -> web.Response:
        if self.backend.options.services_need_token:
            require_grant(self.backend, request, ANY_ACCESS)
        return web.json_response([offer_view(offer) for offer in self.backend.catalogue.of_kind(kind)])


@dataclass(frozen=True, slots=True)
class _Order:
    offer: ServiceOffer
    auth_type: AuthType
    image: str | None = None


@dataclass(frozen=True, slots=True)
class NodesRoutes:
    """The routes of single nodes."""

    backend: Backend
    provisioner: Provisioner

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/users/me/nodes", self.create),
            web.get("/users/me/nodes", self.list_own),
            web.get("/nodes", self.list_all),
            web.get("/users/me/nodes/{id}", self.show),
            web.delete("/users/me/nodes/{id}", self.delete),
            web.get("/users/me/nodes/{id}/logs", self.logs),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Create a node; answers when the node has started, or at once if provisioning takes time."""
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        order = self._order(await json_object(request))
        quota = self.backend.options.node_quota
        if quota is not None and running(self.backend.fleet.nodes(owner_id)) >= quota:
            raise ApiProblem(403, "LimitExceeded", "The maximum number of simultaneous nodes is reached")
        node = await self.provisioner.create_node(owner_id, order.offer, order.auth_type, order.image)
        return web.json_response(self._view(node), status=self.backend.options.create_status)

    async def list_own(self, request: web.Request) -> web.Response:
        """List the caller's nodes, stopped ones included."""
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        return web.json_response([self._view(node) for node in self.backend.fleet.nodes(owner_id)])

    async def list_all(self, request: web.Request) -> web.Response:
        """List all users' nodes; for administrators."""
        require_admin(self.backend, request)
        return web.json_response([self._view(node) for node in self.backend.fleet.nodes()])

    async def show(self, request: web.Request) -> web.Response:
        """Show one of the caller's nodes."""
        return web.json_response(self._view(self._node(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """Stop one of the caller's nodes; it stays in the list."""
        node = self._node(request)
        if node.stopped_at is None:
            await self.provisioner.stop(node)
            return web.Response(status=204)
        if self.backend.options.repeated_delete_status == 404:
            raise _no_such_node()
        return web.Response(status=204)

    async def logs(self, request: web.Request) -> web.Response:
        """Show the last lines of the log of one of the caller's nodes."""
        return log_response(self._node(request).log, request, self.backend.options)

    def _node(self, request: web.Request) -> LocalNode:
        owner_id = require_grant(self.backend, request, ANY_ACCESS).user_id
        node = self.backend.fleet.node(request.match_info["id"], owner_id)
        if node is None:
            raise _no_such_node()
        return node

    def _order(self, body: dict[str, Any]) -> _Order:
        if self.backend.options.legacy_create and "serviceId" not in body and "image" in body:
            return self._legacy_order(body)
        offer = self.backend.catalogue.orderable("nodes", str(body.get("serviceId")))
        match body.get("authType"):
            case "basic" | "jwt" as auth_type:
                if offer is None:
                    raise ApiProblem(404, "ServiceNotFound", "There is no such service, or it is disabled")
                return _Order(offer, auth_type)
            case _:
                raise ApiProblem(400, "InvalidAuthType", "authType must be basic or jwt")

    def _legacy_order(self, body: dict[str, Any]) -> _Order:
        image = str(body["image"])
        chain, network = LEGACY_IMAGES.get(image, ("", ""))
        offer = self.backend.catalogue.by_chain("nodes", chain, network)
        if offer is None:
            raise ApiProblem(404, "ImageNotFound", "There is no such image")
        return _Order(offer, "jwt" if body.get("jwt") is True else "basic", image)

    def _view(self, node: LocalNode) -> dict[str, Any]:
        return node_view(node, self.backend.clock.now(), self.backend.options.provisioning_state)


def _no_such_node() -> ApiProblem:
    return ApiProblem(404, "NodeNotFound", "There is no such node")
