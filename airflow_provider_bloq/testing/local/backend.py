"""The state of the service, with its counters. Credentials are counted as SHA-256 digests only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from airflow_provider_bloq.testing.local.catalogue import Catalogue
from airflow_provider_bloq.testing.local.clock import ServiceClock
from airflow_provider_bloq.testing.local.faults import FaultPlan
from airflow_provider_bloq.testing.local.fleet import Fleet
from airflow_provider_bloq.testing.local.options import LocalBloqOptions
from airflow_provider_bloq.testing.local.tokens import TokenStore, digest
from airflow_provider_bloq.testing.local.users import UserDirectory

__all__ = [
    "Backend",
    "CounterSnapshot",
    "Counters",
]


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """The counters at one moment.

    :param mints: Access tokens minted from client keys.
    :param mints_refused: Mints refused.
    :param refreshes: Access tokens issued for a refresh token.
    :param refreshes_refused: Refreshes refused.
    :param logins: Logins by password.
    :param logins_refused: Logins refused.
    :param calls: Calls by ``<service> <method> <route template>``.
    :param statuses: Answers by ``<service> <status>``; ``dropped`` if no complete answer was sent.
    :param unauthorized: Answers 401 by service.
    :param rpc_calls: Accepted JSON-RPC calls by node id (``connect:<chain>`` for Connect) and RPC method.
    :param authorizations: Digests of the raw Authorization headers by listener, in order of arrival.
    :param tokens: Digests of the bearer tokens by listener.
    """

    mints: int
    mints_refused: int
    refreshes: int
    refreshes_refused: int
    logins: int
    logins_refused: int
    calls: Mapping[str, int]
    statuses: Mapping[str, int]
    unauthorized: Mapping[str, int]
    rpc_calls: Mapping[str, Mapping[str, int]]
    authorizations: Mapping[str, tuple[str, ...]]
    tokens: Mapping[str, frozenset[str]]

    def as_json(self) -> dict[str, object]:
        """Return the counters as JSON values."""
        return {**asdict(self), "tokens": {name: sorted(seen) for name, seen in self.tokens.items()}}


@dataclass(slots=True)
class Counters:
    """The counters. Used on the event loop only.

    A listener is ``accounts``, ``nodes``, ``connect``, ``connect-rpc``, ``stream`` or the id of a node or
    cluster.
    """

    mints: int = 0
    mints_refused: int = 0
    refreshes: int = 0
    refreshes_refused: int = 0
    logins: int = 0
    logins_refused: int = 0
    _calls: Counter[str] = field(default_factory=Counter)
    _statuses: Counter[str] = field(default_factory=Counter)
    _unauthorized: Counter[str] = field(default_factory=Counter)
    _rpc: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _authorizations: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _tokens: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def arrived(self, listener: str, authorization: str | None) -> None:
        """Count the Authorization header of a request."""
        if authorization is None:
            return
        self._authorizations[listener].append(digest(authorization))
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() == "bearer":
            self._tokens[listener].add(digest(credential.strip()))

    def answered(self, service: str, method: str, template: str, status: int | None) -> None:
        """Count an answer; status None if none was sent."""
        self._calls[f"{service} {method} {template}"] += 1
        self._statuses[f"{service} {'dropped' if status is None else status}"] += 1
        if status == 401:
            self._unauthorized[service] += 1

    def rpc(self, node_id: str, method: str) -> None:
        """Count a JSON-RPC call that the node accepted."""
        self._rpc[node_id][method] += 1

    def where_seen(self, token: str) -> frozenset[str]:
        """Return the listeners that received the bearer token."""
        wanted = digest(token)
        return frozenset(listener for listener, seen in self._tokens.items() if wanted in seen)

    def snapshot(self) -> CounterSnapshot:
        """Return the current counters."""
        return CounterSnapshot(
            mints=self.mints,
            mints_refused=self.mints_refused,
            refreshes=self.refreshes,
            refreshes_refused=self.refreshes_refused,
            logins=self.logins,
            logins_refused=self.logins_refused,
            calls=dict(self._calls),
            statuses=dict(self._statuses),
            unauthorized=dict(self._unauthorized),
            rpc_calls={node: dict(calls) for node, calls in self._rpc.items()},
            authorizations={name: tuple(seen) for name, seen in self._authorizations.items()},
            tokens={name: frozenset(seen) for name, seen in self._tokens.items()},
        )

    def reset(self) -> None:
        """Set all counters to zero."""
        fresh = Counters()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))


@dataclass(frozen=True, slots=True)
class Backend:
    """The state of the service. Used on the event loop only."""

    options: LocalBloqOptions
    clock: ServiceClock
    users: UserDirectory
    tokens: TokenStore
    catalogue: Catalogue
    fleet: Fleet
    faults: FaultPlan
    counters: Counters

    @classmethod
    def fresh(cls, options: LocalBloqOptions) -> Backend:
        """Return the state of a service that has just started."""
        clock = ServiceClock(options.clock)
        return cls(
            options=options,
            clock=clock,
            users=UserDirectory(),
            tokens=TokenStore(options, clock),
            catalogue=Catalogue(),
            fleet=Fleet(),
            faults=FaultPlan(),
            counters=Counters(),
        )
