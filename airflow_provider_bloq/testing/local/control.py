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
        """Open a verified account.

        :raises LocalBloqConfigurationError: There is one of that e-mail address already.
        """
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
        """Make client keys for a user, given by id or e-mail address.

        :raises LocalBloqNotFound: There is no such user.
        """
        key = self.backend.users.add_key(self.backend.users.require(user), self.backend.clock.now())
        return IssuedKeys(key.client_id, key.client_secret)

    def delete_client_keys(self, client_id: str) -> None:
        """Delete client keys as their owner would.

        :raises LocalBloqNotFound: There are no such keys.
        """
        withdraw_key(self.backend, client_id)

    def revoke_refresh_tokens(self, client_id: str | None) -> int:
        """End live refresh tokens, all or those of one client key; returns how many."""
        return self.backend.tokens.revoke_all(TokenKind.REFRESH, client_id=client_id)

    def revoke_access_tokens(self, client_id: str | None) -> int:
        """End live access tokens: those of one client key, or all, accounts' included; returns how many."""
        return self.backend.tokens.revoke_all(TokenKind.ACCESS, TokenKind.ACCOUNT, client_id=client_id)

    def counters(self) -> CounterSnapshot:
        """Return the counts as they stand."""
        return self.backend.counters.snapshot()

    def reset_counters(self) -> None:
        """Begin to count anew."""
        self.backend.counters.reset()

    def where_seen(self, token: str) -> frozenset[str]:
        """Return the listeners that a bearer token arrived at."""
        return self.backend.counters.where_seen(token)

    def add_fault(self, fault: Fault) -> str:
        """Put a fault in force and return its id."""
        return self.backend.faults.add(fault)

    def faults(self) -> list[ArmedFault]:
        """Return the faults that have not been cleared."""
        return self.backend.faults.listing()

    def clear_faults(self, fault_id: str | None) -> None:
        """Take one fault, or all, out of force.

        :raises LocalBloqNotFound: There is no such fault.
        """
        self.backend.faults.clear(fault_id)

    def advance_clock(self, seconds: float) -> float:
        """Move the service's clock and return its new time."""
        return self.backend.clock.advance(seconds)

    async def finish_provisioning(self, deployment_id: str | None) -> int:
        """End the provisioning of one, or all, nodes and clusters now; returns how many there were.

        :raises LocalBloqNotFound: There is no such node or cluster.
        """
        now = self.backend.clock.now()
        chosen = [item for item in self._chosen(deployment_id) if item.is_provisioning(now)]
        for deployment in chosen:
            await self.provisioner.finish(deployment)
        return len(chosen)

    def finish_updates(self, cluster_id: str | None) -> int:
        """Complete the service update of one, or all, clusters now; returns how many there were.

        :raises LocalBloqNotFound: There is no such cluster.
        """
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
        """Give a running node or cluster a new certificate and return its fingerprint.

        :raises LocalBloqNotFound: No such node or cluster runs.
        """
        return self.provisioner.replace_certificate(deployment_id)

    def node_fingerprint(self, deployment_id: str) -> str:
        """Return the fingerprint of the certificate that a running node or cluster shows.

        :raises LocalBloqNotFound: No such node or cluster runs.
        """
        return self.provisioner.fingerprint(deployment_id)

    def service_id(self, chain: str, network: str, kind: OfferKind) -> str:
        """Return the id of the first service for a chain.

        :raises LocalBloqNotFound: There is none.
        """
        offer = self.backend.catalogue.by_chain(kind, chain, network)
        if offer is None:
            raise LocalBloqNotFound(f"service of kind {kind} for {chain} {network}")
        return offer.id

    def disable_service(self, service_id: str) -> None:
        """Take a service off the market.

        :raises LocalBloqNotFound: There is no such service.
        """
        self.backend.catalogue.disable(service_id)

    def create_connect_key(self, chain: str) -> str:
        """Make a path key for Connect's JSON-RPC of a chain.

        :raises LocalBloqNotFound: Connect has no JSON-RPC of that chain.
        """
        return self.connect.create_key(chain)

    def delete_connect_key(self, key: str) -> None:
        """Delete a path key of Connect.

        :raises LocalBloqNotFound: There is no such key.
        """
        self.connect.delete_key(key)

    def stream_connections(self) -> int:
        """Return how many connections of Connect's stream are open."""
        return self.connect.sessions.count()

    def drop_streams(self) -> int:
        """Cut all connections of Connect's stream without a word; returns how many there were."""
        return self.connect.sessions.drop()

    def hold_stream_events(self) -> None:
        """Keep the stream's events back."""
        self.connect.sessions.hold()

    def release_stream_events(self) -> None:
        """Let go of the events that were kept back."""
        self.connect.sessions.release()

    def outbox(self) -> list[Mail]:
        """Return the verification mails that Bloq would have sent."""
        return list(self.backend.users.outbox)

    def _chosen(self, deployment_id: str | None) -> list[LocalNode | LocalCluster]:
        if deployment_id is None:
            return self.backend.fleet.everything()
        found = self.backend.fleet.node(deployment_id) or self.backend.fleet.cluster(deployment_id)
        if found is None:
            raise LocalBloqNotFound(f"node or cluster {deployment_id}")
        return [found]
