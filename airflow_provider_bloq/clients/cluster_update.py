"""Bringing a cluster to what is wanted: what is still to be asked for, decided by how it is now."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.clients.clusters import LARGEST, SMALLEST, ClustersApi
from airflow_provider_bloq.clients.limits import require_whole_number
from airflow_provider_bloq.clients.models import STOPPED, Cluster
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqNotFound, BloqUpdateNotDone

__all__ = ["Change", "Wanted", "abort_update", "change_for", "update"]


@dataclass(frozen=True, slots=True)
class Wanted:
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
            require_whole_number("capacity", self.capacity, least=SMALLEST, most=LARGEST)
        if (self.capacity, self.service_id, self.alias) == (None, None, None):
            raise BloqConfigurationError.of(
                "capacity", "neither it nor service_id nor alias is given", "Say what is to be changed."
            )


@dataclass(frozen=True, slots=True)
class Change:
    """What has to be asked for.

    :param capacity: Number of members to ask for; None for no request. The service wants it with each.
    :param service_id: Service to ask for along with it.
    :param alias: Second name to ask for.
    """

    capacity: int | None = None
    service_id: str | None = None
    alias: str | None = None


def change_for(cluster: Cluster, wanted: Wanted) -> Change:
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
        return Change(alias=alias)
    asked = capacity if wanted.capacity is None else wanted.capacity
    if not isinstance(asked, int):
        raise BloqConfigurationError.of(
            "capacity", f"{cluster.id} does not tell its own, and each change names one", "Give it."
        )
    return Change(asked, service_id, alias)


def update(api: ClustersApi, cluster_id: str, wanted: Wanted) -> Flow[Change]:
    """Ask for what is still missing; a flow. To run it again does no harm.

    :param api: Reads and changes clusters.
    :param cluster_id: The cluster's id.
    :param wanted: What it is to become.
    :return: What was asked for.
    """
    change = change_for((yield from api.one(cluster_id)), wanted)
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
