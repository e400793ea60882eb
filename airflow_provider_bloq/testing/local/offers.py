"""Chains and services of Nodes: what can be ordered.

``/chains`` stands in the documents; ``/chains/nodes``, ``/chains/cluster`` and ``/services/*`` (cluster in
the singular) are what the official client calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from airflow_provider_bloq.testing.local.authentication import ANY_ACCESS, require_admin, require_grant
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.catalogue import OfferKind
from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.views import chain_views, offer_view

__all__ = ["OffersApi"]


@dataclass(frozen=True, slots=True)
class OffersApi:
    """The routes that list and disable what can be ordered."""

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
        """Say that the service is up."""
        return web.json_response({"status": "ok"})

    async def node_chains(self, request: web.Request) -> web.Response:
        """List the chains that nodes run."""
        return web.json_response(chain_views(self.backend.catalogue.of_kind("nodes")))

    async def cluster_chains(self, request: web.Request) -> web.Response:
        """List the chains that clusters run."""
        return web.json_response(chain_views(self.backend.catalogue.of_kind("cluster")))

    async def node_services(self, request: web.Request) -> web.Response:
        """List the services that nodes are made from."""
        return self._services(request, "nodes")

    async def cluster_services(self, request: web.Request) -> web.Response:
        """List the services that clusters are made from."""
        return self._services(request, "cluster")

    async def disable(self, request: web.Request) -> web.Response:
        """Disable a service of clusters; for administrators."""
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
