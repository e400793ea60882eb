"""What a test or the admin API can do with a running service. Runs on the event loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_bloq.testing.local.accounts import withdraw_key
from airflow_provider_bloq.testing.local.backend import Backend, CounterSnapshot
from airflow_provider_bloq.testing.local.catalogue import OfferKind
from airflow_provider_bloq.testing.local.connect import ConnectService
from airflow_provider_bloq.testing.local.errors import LocalBloqConfigurationError, LocalBloqNotFound
from airflow_provider_bloq.testing.local.faults import ArmedFault, Fault
from airflow_provider_bloq.testing.local.fleet import LocalCluster, LocalNode
from airflow_provider_bloq.testing.local.provisioner import Provisioner
from airflow_provider_bloq.testing.local.tokens import TokenKind
from airflow_provider_bloq.testing.local.users import Mail

__all__ = [
    "Control",
    "IssuedKeys",
    "LocalAccount",
]


#: Invented: every account has one.
_BILLING_ADDRESS = {"address": "1 Example Street", "zipCode": "60601", "state": "IL", "country": "US"}


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """An account that can log in."""

    id: str
    email: str
    password: str = field(repr=False)
    manager: bool


@dataclass(frozen=True, slots=True)
class IssuedKeys:
    """Client keys with their secret, as the answer to their creation."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Control:
    """Controls a running service. Raises as :class:`LocalBloq` does, whose methods are documented."""

    backend: Backend
    provisioner: Provisioner
    connect: ConnectService

    def create_account(self, email: str, password: str, manager: bool) -> LocalAccount:
        if self.backend.users.find(email) is not None:
            raise LocalBloqConfigurationError([f"email {email} has an account already"])
        user = self.backend.users.add(
            email,
            password,
            now=self.backend.clock.now(),
            billing_address=_BILLING_ADDRESS,
            manager=manager,
            verified=True,
        )
        return LocalAccount(user.id, user.email, password, user.manager)

    def create_client_keys(self, user: str) -> IssuedKeys:
        key = self.backend.users.add_key(self.backend.users.require(user), self.backend.clock.now())
        return IssuedKeys(key.client_id, key.client_secret)

    def delete_client_keys(self, client_id: str) -> None:
        withdraw_key(self.backend, client_id)

    def revoke_refresh_tokens(self, client_id: str | None) -> int:
        return self.backend.tokens.revoke_all(TokenKind.REFRESH, client_id=client_id)

    def revoke_access_tokens(self, client_id: str | None) -> int:
        return self.backend.tokens.revoke_all(TokenKind.ACCESS, TokenKind.ACCOUNT, client_id=client_id)

    def counters(self) -> CounterSnapshot:
        return self.backend.counters.snapshot()

    def reset_counters(self) -> None:
        self.backend.counters.reset()

    def where_seen(self, token: str) -> frozenset[str]:
        return self.backend.counters.where_seen(token)

    def add_fault(self, fault: Fault) -> str:
        return self.backend.faults.add(fault)

    def faults(self) -> list[ArmedFault]:
        return self.backend.faults.listing()

    def clear_faults(self, fault_id: str | None) -> None:
        self.backend.faults.clear(fault_id)

    def advance_clock(self, seconds: float) -> float:
        return self.backend.clock.advance(seconds)

    async def finish_provisioning(self, deployment_id: str | None) -> int:
        now = self.backend.clock.now()
        chosen = [item for item in self._chosen(deployment_id) if item.is_provisioning(now)]
        for deployment in chosen:
            await self.provisioner.finish(deployment)
        return len(chosen)

    def finish_updates(self, cluster_id: str | None) -> int:
        now = self.backend.clock.now()
        chosen = [
            item
            for item in self._chosen(cluster_id)
            if isinstance(item, LocalCluster) and item.update is not None
        ]
        for cluster in chosen:
            cluster.complete_update(now)
        return len(chosen)

    def replace_node_certificate(self, deployment_id: str) -> str:
        return self.provisioner.replace_certificate(deployment_id)

    def node_fingerprint(self, deployment_id: str) -> str:
        return self.provisioner.fingerprint(deployment_id)

    def service_id(self, chain: str, network: str, kind: OfferKind) -> str:
        offer = self.backend.catalogue.by_chain(kind, chain, network)
        if offer is None:
            raise LocalBloqNotFound(f"service of kind {kind} for {chain} {network}")
        return offer.id

    def disable_service(self, service_id: str) -> None:
        self.backend.catalogue.disable(service_id)

    def create_connect_key(self, chain: str) -> str:
        return self.connect.create_key(chain)

    def delete_connect_key(self, key: str) -> None:
        self.connect.delete_key(key)

    def stream_connections(self) -> int:
        return self.connect.sessions.count()

    def drop_streams(self) -> int:
        return self.connect.sessions.drop()

    def hold_stream_events(self) -> None:
        self.connect.sessions.hold()

    def release_stream_events(self) -> None:
        self.connect.sessions.release()

    def outbox(self) -> list[Mail]:
        return list(self.backend.users.outbox)

    def _chosen(self, deployment_id: str | None) -> list[LocalNode | LocalCluster]:
        if deployment_id is None:
            return self.backend.fleet.everything()
        found = self.backend.fleet.node(deployment_id) or self.backend.fleet.cluster(deployment_id)
        if found is None:
            raise LocalBloqNotFound(f"node or cluster {deployment_id}")
        return [found]
