"""The JSON objects of Accounts and Nodes, as in Bloq's documentation and clients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.catalogue import ServiceOffer
from airflow_provider_bloq.testing.local.clock import iso
from airflow_provider_bloq.testing.local.fleet import LocalCluster, LocalDeployment, LocalNode, RpcAuth
from airflow_provider_bloq.testing.local.inbound import positive_integer
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.users import BILLING_FIELDS, AccountEvent, ClientKey, User

__all__ = [
    "chain_views",
    "cluster_view",
    "event_view",
    "key_view",
    "log_response",
    "node_view",
    "offer_view",
    "user_view",
]


_INSTANCE_TYPE = "t2.large"


def user_view(user: User) -> dict[str, Any]:
    """Return an account as in ``GET /users/me``."""
    return {
        "id": user.id,
        "email": user.email,
        "displayName": user.display_name,
        "entityType": "individual",
        "billingAddress": {name: user.billing_address.get(name, "") for name in BILLING_FIELDS},
        "verifiedAt": iso(user.verified_at) if user.verified_at is not None else None,
        "createdAt": iso(user.created_at),
        "updatedAt": iso(user.updated_at),
    }


def key_view(key: ClientKey) -> dict[str, Any]:
    """Return a client key as in lists, without its secret."""
    return {"id": key.client_id, "createdAt": iso(key.created_at)}


def event_view(event: AccountEvent, user_id: str) -> dict[str, Any]:
    """Return one of the daily events."""
    return {
        "id": event.id,
        "user": user_id,
        "service": event.service,
        "serviceData": {},
        "input": {"method": event.method, "path": event.path},
        "output": {
            "startTime": iso(event.started_at),
            "endTime": iso(event.ended_at),
            "httpStatusCode": event.status,
            "bytesOut": event.bytes_out,
        },
        "createdAt": iso(event.ended_at),
    }


def chain_views(offers: Iterable[ServiceOffer]) -> list[dict[str, Any]]:
    """Return the chains of some offers, each once."""
    distinct = dict.fromkeys((offer.chain, offer.network, offer.software) for offer in offers)
    return [
        {"chain": chain, "network": network, "software": software} for chain, network, software in distinct
    ]


def offer_view(offer: ServiceOffer) -> dict[str, Any]:
    """Return a service that can be ordered."""
    view: dict[str, Any] = {
        "id": offer.id,
        "chain": offer.chain,
        "network": offer.network,
        "metadata": _service_data(offer),
        "vendor": {"region": offer.region},
    }
    if offer.disabled:
        view["disabled"] = True
    return view


def node_view(node: LocalNode, now: float, provisioning_state: str) -> dict[str, Any]:
    """Return a node; one created with the create body of 2019 also has the fields of that time."""
    view = {
        **_common_view(node, now, provisioning_state),
        "ip": node.address,
        "ttl": None,
        "userPlanData": {},
        "instance": _instance_view(node),
        "vendor": {"region": node.offer.region},
    }
    if node.image is not None:
        view |= {
            "image": node.image,
            "version": node.offer.software,
            "nodeUser": node.auth.user or "-",
            "nodePass": node.auth.password or "-",
            "startedAt": iso(node.created_at),
        }
    return view


def cluster_view(
    cluster: LocalCluster, now: float, provisioning_state: str, owner: User | None = None
) -> dict[str, Any]:
    """Return a cluster.

    :param owner: The user for the object with e-mail address that administrators see; None for the id alone.
    """
    view = _common_view(cluster, now, provisioning_state)
    view |= {
        "name": cluster.name,
        "alias": cluster.alias,
        "domain": cluster.address,
        "capacity": cluster.capacity,
        "healthCount": cluster.healthy(view["state"]),
        "region": cluster.offer.region,
    }
    if cluster.update is not None:
        view["updatingService"] = cluster.update.offer.id
    if owner is not None:
        view["user"] = {"id": owner.id, "email": owner.email, "displayName": owner.display_name}
    return view


def _common_view(deployment: LocalDeployment, now: float, provisioning_state: str) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": deployment.id,
        "user": deployment.owner_id,
        "chain": deployment.offer.chain,
        "network": deployment.offer.network,
        "state": deployment.state(now, provisioning_state),
        "service": deployment.offer.id,
        "serviceData": _service_data(deployment.offer),
        "auth": _auth_view(deployment.auth),
        "createdAt": iso(deployment.created_at),
        "updatedAt": iso(deployment.updated_at),
    }
    if deployment.stopped_at is not None:
        view["stoppedAt"] = iso(deployment.stopped_at)
    return view


def _instance_view(node: LocalNode) -> dict[str, Any]:
    # Invented from the ids of node and offer: there is no machine at Amazon.
    return {
        "vendor": "aws",
        "id": f"i-{node.id[-12:]}",
        "imageId": f"ami-{node.offer.id[-12:]}",
        "type": _INSTANCE_TYPE,
    }


def _service_data(offer: ServiceOffer) -> dict[str, Any]:
    return {"software": offer.software, "performance": offer.performance, "amiPrefix": offer.chain}


def _auth_view(auth: RpcAuth) -> dict[str, Any]:
    if auth.type == "basic":
        return {"type": "basic", "user": auth.user, "pass": auth.password}
    return {"type": auth.type}


# Number of lines if the request has none, as the official client requests.
_DEFAULT_LINES = "100"
# The official client sends the User-Agent of its HTTP library.
_OFFICIAL_CLIENT = "node-fetch/"


def log_response(log: Iterable[str], request: web.Request, options: LocalBloqOptions) -> web.Response:
    """Return the answer with the last lines of a log, as many as ``lines`` in the query.

    Bloq does not document the format. The official client reads only ``{"data": "<text>"}``; the ``/logs`` of a
    node is a list of lines.

    :raises ApiProblem: ``lines`` is not a positive whole number (400).
    """
    wanted = positive_integer(request.query.get("lines", _DEFAULT_LINES), "lines")
    lines = list(log)[-wanted:]
    shape = options.logs_shape
    if shape == "by-client":
        is_official = request.headers.get("User-Agent", "").startswith(_OFFICIAL_CLIENT)
        shape = "text" if is_official else "lines"
    return web.json_response({"data": "\n".join(lines)} if shape == "text" else lines)
